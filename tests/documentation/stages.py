"""What the commands of each page find: servers, the application, letters, processes that run."""

import contextlib
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, Operation
from routemq.envelope import Envelope, TaskMessage
from routemq.queues import Keys
from tests.documentation.page_code import STAND_INS, python_of, stand_ins_of
from tests.processes import RunningProcess, clean_environment, running
from tests.servers import HOST, REPOSITORY, Stack, free_port

SMALL = """
from app.controllers.sensor_controller import SensorController
from routemq import Router

router = Router()
router.on("sensors/{device_id}/data", SensorController.process_data, shared=True, worker_count=3)
"""


@dataclass(kw_only=True)
class Stage:
    """A page's project, and servers of its own.

    Attributes:
        words: What the page says → what is meant here.
        before: Called before each command.
    """

    page: str
    project: Path
    stack: Stack
    key_prefix: str = "page:"
    env: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None

    @property
    def environment(self) -> dict[str, str]:
        """The settings of its processes."""
        own = self.stack.environment(key_prefix=self.key_prefix, group="page")
        return own | {"COLUMNS": "200", "EDITOR": "true"} | self.env

    def run_code(self) -> None:
        """Execute the page's Python, which needs what is here."""
        command = [sys.executable, "-m", "tests.documentation.page_code", str(self.project.parent), self.page]
        env = clean_environment(self.environment | {"PYTHONPATH": str(REPOSITORY)})
        run = subprocess.run(
            command, cwd=REPOSITORY, env=env, capture_output=True, encoding="utf-8",
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr

    @contextlib.contextmanager
    def run(self, *argv: str, until: str) -> Iterator[RunningProcess]:
        """Run a process beside the commands."""
        with running(argv, cwd=self.project, env=self.environment, fork=True) as process:
            process.wait_for_output(until)
            yield process

    def shrink(self) -> None:
        """Leave the application one queue: each is a process."""
        (self.project / "app/routers/flaky.py").unlink()
        (self.project / "app/routers/sensors.py").write_text(SMALL, encoding="utf-8")


FEW_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "routemq.testing.pytest_plugin"}
"""pytest begins sooner without those that this repository's own tests use."""

WORKER = ["celery", "-A", "routemq", "worker", "-P", "threads", "--without-mingle", "--without-gossip"]
WORKER = ["celery", "-A", "routemq", "worker", "-P", "threads", "--without-mingle", "--without-gossip"]
LETTER_ID, FINGERPRINT = "0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867", "265eec8fd14d"
"""As the pages name them."""


def letters(stage: Stage) -> Iterator[None]:
    """Some have died, and have died again whenever a command has taken them away."""
    message = TaskMessage(
        id=LETTER_ID, route="sensors/{device_id}/data", queue="sensors.data",
        envelope=Envelope(topic="sensors/d17/data", payload=b'{"temperature": 21.5}', received_at=1790000000.0),
    )  # fmt: skip
    letter = DeadLetter.of(message, reason="invalid", error=ValueError("no sensor"), worker="celery@somewhere")
    old = replace(message, id="of-last-month")
    old_letter = replace(letter, id="of-last-month:0", died_at=time.time() - 30 * 86_400)
    stage.words[FINGERPRINT] = letter.fingerprint
    with stage.stack.store.client() as client:
        store = DeadLetters(client, Keys(stage.key_prefix))

        def bury() -> None:
            store.bury_direct([(letter, message.encode())])
            archived = [ArchivedLetter(old_letter, old.encode())]
            store.import_batch(archived, Operation(actor="test"), file_digest=uuid.uuid4().hex, lines_before=0)

        stage.before = bury
        yield


def backup(stage: Stage) -> Iterator[None]:
    stage.words["/var/lib/redis"] = str(stage.stack.store.directory)
    yield from letters(stage)


def dead_letters(stage: Stage) -> Iterator[None]:
    """A worker tries those that are replayed."""
    with stage.run(*WORKER, until=" ready."):
        yield from letters(stage)


def celery_tasks(stage: Stage) -> Iterator[None]:
    stage.shrink()
    yield


def deployment(stage: Stage) -> Iterator[None]:
    stage.words |= {"/srv/shop": str(stage.project), "/tmp/units": str(stage.project / "units"), ".venv/bin/": ""}
    shutil.copytree(REPOSITORY / "deploy", stage.project / "deploy")
    yield


def flower(stage: Stage) -> Iterator[None]:
    port = free_port()
    stage.words["http://localhost:5555"] = f"http://{HOST}:{port}"
    stage.env |= {"FLOWER_PORT": str(port), "FLOWER_BASIC_AUTH": "admin:secret"}
    with stage.run("celery", "-A", "routemq", "flower", until="Visit me "):
        yield from letters(stage)


def request_response(stage: Stage) -> Iterator[None]:
    """The page's own application answers."""
    given = [f"from {module} import *" for module in (STAND_INS, *stand_ins_of(stage.page))]
    (stage.project / "answers.py").write_text("\n".join([*given, python_of(stage.page)[0].text]), encoding="utf-8")
    stage.env |= {"ROUTEMQ_ROUTERS": "answers", "PYTHONPATH": str(REPOSITORY)}
    with stage.run("routemq", "ingest", until="ingest is ready"), stage.run(*WORKER, until=" ready."):
        stage.run_code()
        yield


def on_one_host(stage: Stage) -> Iterator[None]:
    stage.shrink()
    stage.env["FLOWER_PORT"] = str(free_port())
    stage.run_code()
    yield


def first_steps(stage: Stage) -> Iterator[None]:
    """An empty folder."""
    shutil.rmtree(stage.project / "app")
    stage.env |= {"FLOWER_PORT": str(free_port()), **FEW_PLUGINS}
    yield


def tracing(stage: Stage) -> Iterator[None]:
    stage.shrink()
    stage.env |= {"FLOWER_PORT": str(free_port()), "SENTRY_DSN": ""}
    yield


def nothing_more(_stage: Stage) -> Iterator[None]:
    yield


_STAGES: dict[str, Callable[[Stage], Iterator[None]]] = {
    "README.md": first_steps,
    "docs/backup.md": backup,
    "docs/celery-tasks.md": celery_tasks,
    "docs/dead-letters.md": dead_letters,
    "docs/deployment.md": deployment,
    "docs/flower.md": flower,
    "docs/request-response.md": request_response,
    "docs/running.md": on_one_host,
    "docs/start.md": first_steps,
    "docs/tracing.md": tracing,
}
LIVE = {"docs/request-response.md", "docs/running.md"}
"""Pages whose Python needs its stage."""


def set_up(stage: Stage) -> AbstractContextManager[None]:
    """Set a page's stage until the block ends."""
    return contextlib.contextmanager(_STAGES.get(stage.page, nothing_more))(stage)
