"""`routemq dlq` as its user runs it: real processes on a real store."""

import contextlib
import fcntl
import json
import os
import resource
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
import redis
from click.testing import CliRunner, Result
from routemq_tasks.retention_keeper import RetentionKeeper

from routemq.cli import main
from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, LetterFilter, Operation
from routemq.dead_letters.retention import Retention, SweepError, file_name
from routemq.envelope import Envelope, FailedAttempt, TaskMessage, unacked_record
from routemq.errors import EnvelopeError
from routemq.lifecycle.moves import Moves
from routemq.queues import Keys
from routemq.settings import Settings
from tests.processes import RunningProcess, clean_environment, running, wait_until
from tests.servers import Redis

ROUTE, QUEUE = "sensors/{device_id}/data", "sensors.data"

ROUTERS = """
import pydantic
from routemq import Router

class Reading(pydantic.BaseModel):
    temperature: float

def store(device_id, payload: Reading):
    raise AssertionError("a check runs nothing")

router = Router()
router.on("sensors/{device_id}/data", store)
"""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An operator at a terminal."""

    url: str
    prefix: str
    folder: Path
    client: redis.Redis
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> Keys:
        return Keys(self.prefix)

    @property
    def store(self) -> DeadLetters:
        return DeadLetters(self.client, self.keys)

    @property
    def env(self) -> dict[str, str]:
        own = {"REDIS_URL": self.url, "ROUTEMQ_KEY_PREFIX": self.prefix, "ROUTEMQ_ROUTERS": "my_routers"}
        return own | {"COLUMNS": "80", "TZ": "UTC"} | dict(self.extra)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "routemq", "dlq", *arguments]

    def run(self, *arguments: str, exit_code: int = 0, **env: str) -> Result:
        """Run a command in this process."""
        with contextlib.chdir(self.folder):
            done = CliRunner(env=self.env | env).invoke(main, ["dlq", *arguments])
        assert done.exit_code == exit_code, f"{arguments}: exit {done.exit_code}\n{done.output}\n{done.exception!r}"
        return done

    def run_process(self, *arguments: str, exit_code: int = 0, **env: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a process of its own."""
        done = subprocess.run(
            self.argv(*arguments), env=clean_environment(self.env | env), cwd=self.folder,
            capture_output=True, timeout=50, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == exit_code, f"{arguments}: exit {done.returncode}\n{done.stderr.decode()}"
        assert b"Traceback (most recent call last)" not in done.stderr
        return done

    def queued(self, queue: str = QUEUE) -> list[TaskMessage]:
        items = cast("list[bytes]", self.client.lrange(self.keys.queue(queue), 0, -1))
        return [TaskMessage.decode(item) for item in reversed(items)]

    def bury(self, *messages: TaskMessage, error: BaseException | None = None) -> None:
        error = error or ValueError("no sensor")
        self.store.bury_direct(
            [(DeadLetter.of(m, reason="failed", error=error, worker="w@host"), m.encode()) for m in messages]
        )

    def fill(self, count: int, *, age_s: float = 0.0) -> None:
        """Bury many, one second apart, the last one so old."""
        now = time.time() - age_s
        batch = []
        for number in range(count):
            message = a_message(number)
            letter = DeadLetter.of(message, reason="failed", error=ValueError("no sensor"), worker="w@host")
            batch.append(ArchivedLetter(replace(letter, died_at=now - count + number), message.encode()))
        self.store.import_batch(batch, Operation(actor="test"), file_digest="fill", lines_before=0)
        self.store.import_ended("fill")


def a_message(number: int = 0, payload: bytes | None = None, **changes: object) -> TaskMessage:
    payload = f'{{"temperature": {number}}}'.encode() if payload is None else payload
    envelope = Envelope(topic=f"sensors/d{number}/data", payload=payload, received_at=1790000000.0)
    message = TaskMessage(id=f"m{number:06}", route=ROUTE, queue=QUEUE, envelope=envelope)
    return replace(message, **changes)  # type: ignore[arg-type]


def open_desk(store: Redis, prefix: str, folder: Path) -> Iterator[Desk]:
    (folder / "my_routers.py").write_text(ROUTERS, encoding="utf-8")
    with store.client() as client:
        yield Desk(url=store.url, prefix=prefix, folder=folder, client=client)


@pytest.fixture
def desk(redis_store: Redis, key_prefix: str, tmp_path: Path) -> Iterator[Desk]:
    """On each store in turn."""
    yield from open_desk(redis_store, key_prefix, tmp_path)


@pytest.fixture
def redis_desk(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Iterator[Desk]:
    """On Redis alone, for what the store has no part in."""
    yield from open_desk(redis_server, key_prefix, tmp_path)


def test_list_pages_and_filters(desk: Desk) -> None:
    assert desk.run("list").stderr == "There are no dead letters.\n"
    desk.bury(*(a_message(number) for number in range(5)))
    shown = desk.run("list", "--limit", "2")
    assert "m000004:0" in shown.stdout
    assert "sensors/d3/data" in shown.stdout
    assert "ValueError: no sensor" in shown.stdout
    assert "m000002:0" not in shown.stdout
    assert "2 of 5, newest first" in shown.stderr
    after = shown.stderr.split("--after ")[1].strip()
    lines = desk.run("list", "--json", "--limit", "9", "--after", after).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["m000002:0", "m000001:0", "m000000:0"]
    lines = desk.run(
        "list", "--json", "--device", "d1", "--since", "1h", "--contains", "TEMPERATURE"
    ).stdout.splitlines()
    assert [json.loads(line)["topic"] for line in lines] == ["sensors/d1/data"]
    assert "No dead letter matches device=d9" in desk.run("list", "--device", "d9").stderr


def test_show_tells_everything_and_hides_what_would_act_on_the_terminal(redis_desk: Desk) -> None:
    desk = redis_desk
    payload = '{"big": 123456789012345678901234567890, "x": 1.50, "list": [], "text": "ü\x1b[31m"}'.encode()
    first = FailedAttempt(at=1790000100.0, error="KeyError: first", worker="other@host")
    message = a_message(1, payload, generation=1, retries=1, failures=(first,))
    try:
        int("x")
    except ValueError as exc:
        exc.args = ("bad \x1b]0;title\x07",)
        desk.bury(message, error=exc)
    shown = desk.run("show", "m000001:1").stdout
    for text in ('"big": 123456789012345678901234567890,', '"x": 1.50', '"list": []', "sensors/d1/data"):
        assert text in shown
    for text in ("2 failed runs", "KeyError: first", "other@host", 'int("x")', "replayed 1 time before"):
        assert text in shown
    assert r"bad \x1b]0;title\x07" in shown
    assert "\x1b" not in shown
    found = json.loads(desk.run("show", "m000001:1", "--json").stdout)
    assert (found["attempts"], [run["worker"] for run in found["runs"]]) == (2, ["other@host", "w@host"])
    assert desk.run_process("show", "m000001:1", "--payload").stdout == payload
    assert "m000001:1" in desk.run("show", "m000001").stdout
    error = desk.run("show", "nope:0", exit_code=1).stderr
    assert error.startswith("Error: no dead letter 'nope:0'")
    assert error.count("\n") == 1


def test_show_of_bytes_that_are_no_message_is_a_dump(redis_desk: Desk) -> None:
    letter = DeadLetter.malformed(
        route=ROUTE, queue=QUEUE, message_id="bad", error=EnvelopeError(problem="x", data=b""), worker="w"
    )
    redis_desk.store.bury_direct([(letter, b"\x00\x1b[31m\xff")])
    shown = redis_desk.run("show", "bad:0").stdout
    assert "000000  00 1b 5b 33 31 6d ff" in shown
    assert "Its bytes are no message" in shown
    refused = redis_desk.run("replay", "bad:0", exit_code=1)
    assert "cannot be replayed: its bytes are no message" in refused.stderr
    assert redis_desk.store.count() == 1


def test_replay_by_id_and_by_filter(desk: Desk) -> None:
    desk.bury(*(a_message(number) for number in range(6)))
    assert "Replayed 1 letter to the queue sensors.data" in desk.run("replay", "m000003:0").stdout
    assert "no dead letter 'm000003:0'" in desk.run("replay", "m000003:0", exit_code=1).stderr
    dry = desk.run("replay", "--route", ROUTE)
    assert "5 letters would be replayed" in dry.stdout
    assert "Nothing was done" in dry.stderr
    assert len(desk.queued()) == 1
    assert "Replayed 5 of 5" in desk.run("replay", "--route", ROUTE, "--yes").stdout
    assert [message.id for message in desk.queued()] == [f"m{number:06}" for number in (3, 0, 1, 2, 4, 5)]
    assert desk.run("replay", "--route", ROUTE, exit_code=3).stderr.startswith("No dead letter matches")
    assert "one of these" in desk.run("replay", exit_code=2).stderr
    refused = desk.run_process("replay", "x:0", "--to-queue", "typo", exit_code=1)
    assert b"there are: sensors.data" in refused.stderr
    entries = [json.loads(line) for line in desk.run("audit", "--json").stdout.splitlines()]
    assert [(entry["action"], entry["count"]) for entry in entries] == [("replay", 5), ("replay", 1)]
    assert "route=sensors/{device_id}/data" in desk.run("audit").stdout


def test_letters_of_routes_that_are_not_here_are_replayed_with_a_warning(redis_desk: Desk) -> None:
    renamed = a_message(1, route="sensors/{id}/data")
    strange = a_message(2, route="pumps/{id}/state", envelope=Envelope(topic="pumps/p1/state", payload=b"1"))
    redis_desk.bury(renamed, strange)
    warning = b"Warning: this release has no route for letters of pumps/{id}/state. Replayed, they wait"
    assert redis_desk.run_process("replay", "m000001:0").stderr == b""
    assert warning in redis_desk.run_process("replay", "--route", "pumps/{id}/state").stderr
    redis_desk.bury(replace(strange, id="second"), replace(strange, id="third"))
    assert warning in redis_desk.run_process("replay", "--all").stderr
    assert warning in redis_desk.run_process("replay", "second:0").stderr
    assert warning in redis_desk.run_process("replay", "--contains", "1", "--yes").stderr


def test_more_than_three_generations_need_force(redis_desk: Desk) -> None:
    redis_desk.bury(a_message(1, generation=3))
    assert "--force replays it" in redis_desk.run("replay", "m000001:3", exit_code=1).stderr
    redis_desk.run("replay", "m000001:3", "--force")
    assert redis_desk.queued()[0].generation == 4


def test_edit_is_checked_before_it_is_sent(redis_desk: Desk) -> None:
    redis_desk.bury(a_message(1, b'{"temperature":"warm"}'))

    def editor(text: str) -> str:
        script = redis_desk.folder / "editor"
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}' > \"$1\"\n", encoding="utf-8")
        script.chmod(0o755)
        return str(script)

    edit = ("replay", "m000001:0", "--edit")
    refused = redis_desk.run_process(*edit, exit_code=1, EDITOR=editor('{"temperature": "hot"}'))
    assert b"payload: temperature: Input should be a valid number" in refused.stderr
    assert redis_desk.store.count() == 1
    assert b"Nothing was changed" in redis_desk.run_process(*edit, EDITOR="true").stderr
    redis_desk.run_process(*edit, EDITOR=editor('{"temperature": 21.5}'))
    assert redis_desk.queued()[0].envelope.payload == b'{"temperature": 21.5}'


class AWorker:
    """Takes all that is queued, and ends it as a worker's scripts do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.messages = desk.queued()
        for message in self.messages:
            desk.client.hset(desk.keys.unacked, message.delivery_tag, unacked_record(message.encode(), QUEUE))
        desk.client.delete(desk.keys.queue(QUEUE))
        self.moves = Moves(desk.client, desk.keys)

    def is_done(self, *messages: TaskMessage) -> None:
        self.moves.acknowledge({ROUTE: [message.delivery_tag for message in messages]})

    def buries(self, *messages: TaskMessage) -> None:
        for message in messages:
            letter = DeadLetter.of(message, reason="failed", error=ValueError("again"), worker="w")
            assert self.desk.store.bury(letter, delivery_tag=message.delivery_tag)

    def forgets(self, *messages: TaskMessage) -> None:
        for message in messages:
            self.desk.client.hdel(self.desk.keys.unacked, message.delivery_tag)


@contextlib.contextmanager
def replaying_with_canaries(desk: Desk, **env: str) -> Iterator[tuple[AWorker, RunningProcess]]:
    """Replay twenty letters, five of them first, behind three messages that have waited for longer."""
    desk.fill(20)
    for number in range(100, 103):
        desk.client.lpush(desk.keys.queue(QUEUE), a_message(number).encode())
    argv = desk.argv("replay", "--all", "--yes", "--canary", "5")
    with running(argv, cwd=desk.folder, env=desk.env | env) as process:
        wait_until(lambda: len(desk.queued()) == 8, timeout_s=30)
        worker = AWorker(desk)
        worker.is_done(*worker.messages[:3])
        yield worker, process


def untouched(desk: Desk) -> int:
    return sum(letter.generation == 0 for letter in desk.store.letters())


def test_canaries_that_are_done_let_the_others_follow(redis_desk: Desk) -> None:
    with replaying_with_canaries(redis_desk) as (worker, process):
        worker.is_done(*worker.messages[3:6])
        # One fails and runs again, under another tag: it is the same message.
        again = worker.messages[6].failed(FailedAttempt(at=1.0, error="KeyError", worker="w"))
        worker.forgets(worker.messages[6])
        redis_desk.client.hset(redis_desk.keys.unacked, "routemq:7", unacked_record(again.encode(), QUEUE))
        worker.moves.acknowledge({ROUTE: ["routemq:7"]})
        assert process.is_alive
        worker.is_done(worker.messages[7])
        assert process.wait() == 0
        assert "5 of 5 canaries are done, 0 died again; going on" in process.output()
    assert untouched(redis_desk) == 0
    assert len(redis_desk.queued()) == 15
    assert redis_desk.client.hgetall(redis_desk.keys.dead_canaries) == {}


def test_canaries_that_die_again_keep_the_others_back(redis_desk: Desk) -> None:
    desk = redis_desk
    with replaying_with_canaries(desk) as (worker, process):
        worker.buries(*worker.messages[3:5])
        assert process.wait() == 4
        output = process.output()
    assert untouched(desk) == 15
    assert "2 of 5 canaries died again; stopped: 5 of 20 letters are done" in output
    replay_id = output.split("--resume ")[1].split()[0]
    assert replay_id in desk.run("replay", "--resume", "list").stdout
    desk.run("replay", "--resume", replay_id)
    assert untouched(desk) == 0
    assert desk.run("replay", "--resume", replay_id, exit_code=1).stderr.startswith("Error: no unfinished replay")


@pytest.mark.parametrize(("transport", "code", "left"), [("routemq", 4, 15), ("stock", 0, 0)])
def test_canaries_that_are_gone_are_not_taken_for_done(redis_desk: Desk, transport: str, code: int, left: int) -> None:
    with replaying_with_canaries(redis_desk, ROUTEMQ_TRANSPORT=transport) as (worker, process):
        worker.is_done(worker.messages[3])
        worker.forgets(*worker.messages[4:])
        assert process.wait() == code
        told = {4: "4 of 5 canaries are neither done nor dead", 0: "5 of 5 canaries are done (4 of them as far as"}[
            code
        ]
        assert told in process.output()
    assert untouched(redis_desk) == left


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_replay_that_is_stopped_is_taken_up_again(redis_desk: Desk, signal_number: int) -> None:
    desk = redis_desk
    desk.fill(3000)
    argv = desk.argv("replay", "--all", "--yes", "--rate", "2000/s")
    with running(argv, cwd=desk.folder, env=desk.env) as process:
        wait_until(lambda: len(desk.queued()) > 400, timeout_s=30, message="some are replayed")
        process.signal(signal_number)
        assert process.wait() == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
        output = process.output()
    done = len(desk.queued())
    assert 400 < done < 3000
    assert desk.store.count() == 3000 - done
    assert "Traceback" not in output
    desk.run("replay", "--resume", output.split("--resume ")[1].split()[0])
    counts = Counter(message.id for message in desk.queued())
    assert len(counts) == 3000
    assert set(counts.values()) == {1}
    assert desk.store.count() == 0


def killed_in_the_middle(desk: Desk, *arguments: str, begun: str) -> None:
    """Run a command, freeze it as soon as it has begun, and kill it there."""
    argv = [sys.executable, "-c", _BREAK.format(begun=begun, arguments=list(arguments))]
    done = subprocess.run(argv, env=clean_environment(desk.env), cwd=desk.folder, capture_output=True, timeout=50,
                          check=False)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


_BREAK = """
import os, signal
from routemq.dead_letters import archive, store
from routemq.cli.dlq import dlq
calls = 0
kind, _, name = "{begun}".partition(":")
place = store.DeadLetters if kind == "store" else archive.ArchivedLetter
whole = getattr(place, name)
def broken(*args, **options):
    global calls
    calls += 1
    if calls == 700 or (kind == "store" and calls == 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)
setattr(place, name, broken)
dlq({arguments!r})
"""


def test_import_export_and_purge_survive_a_kill(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(2000, age_s=86_400)
    before = desk.store.page(limit=2000).letters

    killed_in_the_middle(desk, "export", "out.jsonl", begun="archive:to_line")
    assert not (desk.folder / "out.jsonl").exists()
    assert desk.store.count() == 2000
    # What it left is no obstacle, unless somebody writes it.
    left_over = desk.folder / ".out.jsonl.part"
    with left_over.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process writes out.jsonl" in desk.run("export", "out.jsonl", exit_code=1).stderr
    assert "Wrote 2,000 letters" in desk.run("export", "out.jsonl").stderr
    assert [path.name for path in desk.folder.glob("*.jsonl*")] == ["out.jsonl"]
    assert desk.run("export", "-").stdout == (desk.folder / "out.jsonl").read_text("utf-8")

    for begun in ("store:discard", "archive:to_line"):
        killed_in_the_middle(desk, "purge", "--older-than", "1h", "--export", f"{begun[-4:]}.jsonl", begun=begun)
    written = {
        json.loads(line)["id"]
        for path in (desk.folder / "card.jsonl", desk.folder / "line.jsonl")
        for line in path.read_bytes().splitlines()
        if line.endswith(b"}")
    }
    left = {letter.id for letter in desk.store.letters()}
    assert 0 < len(left) < 2000
    assert written | left == {letter.id for letter in before}
    # The same file again: what was killed within a line does not break it.
    desk.run("purge", "--older-than", "1h", "--export", "line.jsonl")
    assert desk.store.count() == 0

    killed_in_the_middle(desk, "import", "out.jsonl", begun="store:import_batch")
    assert desk.store.count() == 1000
    some = [letter.id for letter in desk.store.page(limit=10).letters]
    desk.run("replay", *some)
    again = desk.run("import", "out.jsonl")
    assert "Going on after 1,000 letters" in again.stderr
    assert "Imported 1,000 letters; 0 were there already" in again.stdout
    # What was replayed in between has not come back.
    assert desk.store.count() == 1990
    assert "Imported 10 letters; 1,990 were there already" in desk.run("import", "out.jsonl").stdout
    assert desk.store.page(limit=2000).letters == before


def test_a_long_search_is_stopped_by_ctrl_c(redis_desk: Desk) -> None:
    redis_desk.fill(600)
    program = (
        "import os, signal\n"
        "from routemq.cli.dlq import dlq\n"
        "from routemq.dead_letters.letter_filter import LetterFilter\n"
        "LetterFilter.matches_payload = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "dlq({arguments!r})\n"
    )
    for arguments in (
        ["list", "--contains", "x"],
        ["replay", "--contains", "x", "--yes"],
        ["export", "o", "--contains", "x"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program.format(arguments=arguments)], env=clean_environment(redis_desk.env),
            cwd=redis_desk.folder, capture_output=True, timeout=50, check=False,
        )  # fmt: skip
        # Click below 8.4 begins a line of its own.
        assert (done.returncode, done.stderr.lstrip()[:7], b"Traceback" in done.stderr) == (130, b"Stopped", False)
    assert redis_desk.store.count() == 600
    assert not list(redis_desk.client.scan_iter(f"{redis_desk.prefix}routemq:dlq:replay*"))


def test_an_export_goes_where_a_name_leads(redis_desk: Desk) -> None:
    desk, folder = redis_desk, redis_desk.folder
    desk.fill(20)
    whole = desk.run("export", "-").stdout_bytes
    assert len(whole.splitlines()) == 20

    # A link stays one, also one that leads to nothing yet, and the file keeps its permissions.
    (folder / "elsewhere").mkdir()
    for name in ("there", "not-yet"):
        (folder / name).symlink_to(folder / "elsewhere" / name)
    (folder / "elsewhere" / "there").write_text("old", encoding="utf-8")
    (folder / "elsewhere" / "there").chmod(0o600)
    for name in ("there", "not-yet"):
        desk.run("export", name)
        assert (folder / name).is_symlink()
        assert (folder / "elsewhere" / name).read_bytes() == whole
    assert (folder / "elsewhere" / "there").stat().st_mode & 0o777 == 0o600
    # Two names of one file; a name as long as a name may be.
    (folder / "one").write_text("old", encoding="utf-8")
    os.link(folder / "one", folder / "two")
    for name in ("one", "x" * 255):
        desk.run("export", name)
    assert (folder / "two").read_bytes() == whole == (folder / ("x" * 255)).read_bytes()

    # Whoever reads a pipe gets it; what is before and behind it in the same file stays.
    os.mkfifo(folder / "fifo")
    reader = subprocess.Popen(["cat", "fifo"], cwd=folder, stdout=subprocess.PIPE)
    desk.run("export", "fifo")
    assert reader.communicate(timeout=10)[0] == whole
    assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
    command = shlex.join(desk.argv("export", "/dev/stdout"))
    for script, expected in (
        (f"(echo before; {command}; echo behind) >all", b"before\n" + whole + b"behind\n"),
        (f"{command} | cat >all", whole),
        (f"{shlex.join(desk.argv('export', '/dev/fd/3'))} 3>all", whole),
    ):
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=clean_environment(desk.env), capture_output=True, timeout=50,
            check=False,
        )  # fmt: skip
        assert (done.returncode, (folder / "all").read_bytes()) == (0, expected), done.stderr
    for name, problem in (("elsewhere", "Is a directory"), ("", "Is a directory"), ("loop", "symbolic links")):
        (folder / "loop").unlink(missing_ok=True)
        (folder / "loop").symlink_to("loop")
        assert problem in desk.run("export", name, exit_code=1).stderr
    assert not list(folder.glob(".*.part"))

    desk.run("discard", "--all", "--yes")
    script = f"{shlex.join(desk.argv('import', '/dev/stdin'))} < all && {shlex.join(desk.argv('import'))} <(cat all)"
    subprocess.run(["bash", "-c", script], cwd=folder, env=clean_environment(desk.env), timeout=50, check=True)
    assert desk.store.count() == 20


@contextlib.contextmanager
def no_longer_root() -> Iterator[None]:
    """Have permissions count, until the block ends."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_an_export_does_not_replace_what_this_user_may_not_write(redis_desk: Desk) -> None:
    redis_desk.fill(1)
    redis_desk.run("export", "-")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept").write_text("kept", encoding="utf-8")
        (folder / "kept").chmod(0o444)
        folder.chmod(0o777)
        with no_longer_root():
            refused = replace(redis_desk, folder=folder).run("export", "kept", exit_code=1)
        assert "cannot write kept: Permission denied" in refused.stderr
        assert [(path.name, path.read_text("utf-8")) for path in folder.iterdir()] == [("kept", "kept")]


def test_broken_line_is_named_and_nothing_is_imported(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(80)
    desk.run("export", "out.jsonl")
    desk.run("discard", "--all", "--yes")
    lines = (desk.folder / "out.jsonl").read_bytes().splitlines(keepends=True)
    lines[72] = b'{"v": 1, "id": "x"}\n'
    (desk.folder / "out.jsonl").write_bytes(b"".join(lines))
    refused = desk.run("import", "out.jsonl", exit_code=1)
    assert "out.jsonl, line 73: the field" in refused.stderr
    assert "nothing was imported" in refused.stderr
    assert desk.store.count() == 0
    desk.run("import", "out.jsonl", "--skip-broken", exit_code=1)
    assert desk.store.count() == 79
    assert "cannot read nope.jsonl" in desk.run("import", "nope.jsonl", exit_code=1).stderr
    assert "cannot write" in desk.run("export", "/nope/out.jsonl", exit_code=1).stderr


def test_discard_and_purge_ask_before_they_destroy(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(5, age_s=86_400)
    desk.bury(a_message(77))
    assert "would be discarded for good" in desk.run("discard", "--route", ROUTE).stdout
    assert "written nowhere" in desk.run("purge", "--older-than", "1h", "--no-export").stdout
    assert desk.store.count() == 6
    assert "Discarded 1 letter" in desk.run("discard", "m000000:0", "nope:0", exit_code=1).stdout
    assert "removed 4 letters" in desk.run("purge", "--older-than", "1h").stdout
    assert [letter.id for letter in desk.store.letters()] == ["m000077:0"]
    assert desk.run("purge", "--older-than", "1h", exit_code=3).stderr.startswith("No dead letter matches")
    assert "write 90s" in desk.run("purge", "--older-than", "soon", exit_code=2).stderr


def test_stats_count_and_draw(desk: Desk) -> None:
    assert desk.run("stats").stderr == "There are no dead letters.\n"
    store = DeadLetters(desk.client, desk.keys, max_entries=3)
    for number in range(3):
        message = a_message(number)
        letter = DeadLetter.of(message, reason="failed", error=ValueError(f"no sensor {number}"), worker="w")
        store.bury_direct([(letter, message.encode())])
    shown = desk.run("stats").stdout
    assert f"FULL: {ROUTE}" in shown
    assert "3 dead letters by time of death" in shown
    assert "█" in shown
    assert "DLQ_RETENTION_DAYS" not in shown
    found = json.loads(desk.run("stats", "--json").stdout)
    assert (found["total"], found["error_count"], found["errors"][0]["count"]) == (3, 1, 3)
    assert sum(bucket["count"] for bucket in found["over_time"]) == 3


def test_stats_point_out_what_is_too_old_and_stays(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(3, age_s=3 * 86_400)
    desk.bury(a_message(77))
    shown = desk.run("stats", DLQ_RETENTION_DAYS="2").stdout
    assert "3 are older than DLQ_RETENTION_DAYS=2; without DLQ_ARCHIVE_DIR none is removed." in shown
    assert json.loads(desk.run("stats", "--json", DLQ_RETENTION_DAYS="2").stdout)["overdue"] == {"count": 3, "days": 2}
    archived = desk.run("stats", DLQ_RETENTION_DAYS="2", DLQ_ARCHIVE_DIR=str(desk.folder)).stdout
    assert "DLQ_RETENTION_DAYS" not in archived + desk.run("stats", DLQ_RETENTION_DAYS="0").stdout
    told = shown.split("routemq dlq ")[1].splitlines()[0]
    desk.run(*told.split())
    assert desk.store.count() == 1


def test_tail_follows(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1))
    with running(desk.argv("tail", "--json", "--device", "d2"), cwd=desk.folder, env=desk.env) as process:
        with running(desk.argv("tail"), cwd=desk.folder, env=desk.env) as other:
            other.wait_for_output("m000001:0")
            desk.bury(a_message(2), a_message(3))
            other.wait_for_output("m000003:0")
            process.wait_for_output("m000002:0")
            other.signal(signal.SIGINT)
            assert other.wait() == 130
        assert "m000003" not in process.output()


def test_redis_away_is_one_line(redis_desk: Desk) -> None:
    error = redis_desk.run_process("stats", exit_code=1, REDIS_URL="redis://127.0.0.1:1/0").stderr
    assert error.startswith(b"Error: Redis cannot be reached")
    assert error.count(b"\n") == 1


def test_celery_knows_the_same_commands_and_exit_codes(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1), a_message(2))
    env = {"PYTHONPATH": str(desk.folder)}
    celery = (str(Path(sys.executable).with_name("celery")), "-A", "routemq", "dlq")

    def run(*arguments: str, **more: str) -> tuple[int, bytes]:
        done = subprocess.run([*celery, *arguments], env=clean_environment(desk.env | env | more), cwd=desk.folder,
                              capture_output=True, timeout=50, check=False)  # fmt: skip
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    assert run("replay", "m000001:0") == (0, b"Replayed 1 letter to the queue sensors.data.\n")
    assert run("show", "m000001:0")[0] == 1
    assert run("list", ROUTEMQ_TRANSPORT="pigeon") == (
        2, b"Error: ROUTEMQ_TRANSPORT='pigeon' cannot be used: one of 'routemq' or 'stock'\n",
    )  # fmt: skip
    assert run("discard", "--device", "d9", "--yes")[0] == 3


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_what_a_terminal_cannot_show_is_replaced(redis_desk: Desk, encoding: str) -> None:
    desk, error = redis_desk, "größer … ☃ als " + "x" * 300
    desk.bury(a_message(1, f'{{"a": "{error}"}}'.encode()), a_message(2), error=ValueError(error))
    written = error.encode(encoding, "replace").replace(b" ? ", b" ~ ", 1)[:20]
    # Click takes ASCII for a mistake, and writes UTF-8.
    desk.run_process("replay", "--all", PYTHONIOENCODING=encoding)
    for command in ("list", "show m000001:0", "stats"):
        assert written in desk.run_process(*command.split(), PYTHONIOENCODING=encoding).stdout, command
    # JSON is UTF-8 for whoever reads it.
    for command in ("list --json", "show m000001:0 --json", "stats --json", "export -"):
        assert error.encode() in desk.run_process(*command.split(), PYTHONIOENCODING=encoding).stdout, command
    assert b"Put dead letters" in desk.run_process("replay", "--help", PYTHONIOENCODING=encoding).stdout


@pytest.mark.parametrize("command", ["list", "list --json --limit=300", "stats", "export -", "--help"])
def test_output_that_nobody_reads_ends_in_silence(redis_desk: Desk, command: str) -> None:
    desk = redis_desk
    desk.fill(300)
    whole = shlex.join(desk.argv(*command.split()))
    ends = (("| head -c 1", b""), (">/dev/full", b"Error: cannot write: No space left on device\n"), (">&-", b""))
    for end, told in ends:
        done = subprocess.run(
            ["bash", "-c", f"{whole} {end}"], env=clean_environment(desk.env), cwd=desk.folder, capture_output=True,
            timeout=50, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr
        assert told in done.stderr


def test_help_documents_exit_codes_and_every_command(redis_desk: Desk) -> None:
    shown = redis_desk.run("--help").stdout
    assert "Exit codes:" in shown
    for name in ("list", "show", "stats", "replay", "discard", "export", "import", "purge", "tail", "audit"):
        assert f"\n  {name} " in shown


def retention(desk: Desk, **options: object) -> Retention:
    settings = Settings(redis_url=desk.url, ROUTEMQ_KEY_PREFIX=desk.prefix, **options)  # type: ignore[call-arg,arg-type]
    return Retention(settings, desk.client)


def test_retention_archives_before_it_removes(desk: Desk) -> None:
    desk.fill(20, age_s=3 * 86_400)
    desk.bury(*(a_message(number) for number in range(100, 130)))
    archive = desk.folder / "archive"
    assert retention(desk, dlq_retention_days=2).sweep() == 0
    with pytest.raises(Exception, match=r"cannot write .*No such file"):
        retention(desk, dlq_retention_days=2, dlq_archive_dir=archive).sweep()
    assert desk.store.count() == 50
    archive.mkdir()
    assert retention(desk, dlq_retention_days=2, dlq_archive_dir=archive).sweep() == 20
    assert retention(desk, dlq_max_entries=20, dlq_archive_dir=archive).sweep() == 12
    assert desk.store.count() == 18
    (path,) = archive.iterdir()
    desk.run("import", str(path))
    assert desk.store.count() == 50


def test_one_routes_failure_keeps_no_other_from_the_archive(redis_desk: Desk) -> None:
    desk, folder = redis_desk, redis_desk.folder / "archive"
    folder.mkdir()
    routes = ["a", "b/" + "ü" * 200, "c", "d/\N{SNOWMAN}/../x"]
    for number, route in enumerate(routes):
        desk.bury(*(a_message(10 * number + each, route=route) for each in range(3)))
    # Another application's key under our name; a folder where a file should be.
    desk.client.delete(desk.keys.dead_by_time("a"))
    desk.client.hset(desk.keys.dead_by_time("a"), "x", "y")
    (folder / time.strftime(f"dead-letters-%Y%m%d-{file_name('c')}.jsonl", time.gmtime())).mkdir()
    sweeper = retention(desk, dlq_max_entries=1, dlq_archive_dir=folder)
    with pytest.raises(SweepError, match=r"of a are not archived: ResponseError: .*and 1 more route\)"):
        sweeper.sweep()
    lines = [line for path in folder.glob("*.jsonl") if path.is_file() for line in path.read_bytes().splitlines(True)]
    archived = [ArchivedLetter.from_line(line, source="f", number=1).letter.route for line in lines]
    assert sorted(archived) == sorted([routes[1], routes[3]] * 3)
    assert desk.store.count(LetterFilter(route="c")) == 3
    desk.client.delete(desk.keys.dead_by_time("a"))
    shown = desk.run("stats")
    assert "NOT ARCHIVED: dead letters of a are not archived" in " ".join(shown.stdout.split())
    next(path for path in folder.glob("*.jsonl") if path.is_dir()).rmdir()
    assert sweeper.sweep() == 3
    assert "NOT ARCHIVED" not in desk.run("stats").stdout


def test_letters_stay_when_the_disk_is_full(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(1200, age_s=86_400)

    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    purge = desk.argv("purge", "--older-than", "1h", "--export", "f.jsonl")
    done = subprocess.run(
        purge, env=clean_environment(desk.env), cwd=desk.folder, preexec_fn=full_disk, capture_output=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"cannot write f.jsonl: File too large" in done.stderr
    # What is written is whole, and only that is gone.
    lines = (desk.folder / "f.jsonl").read_bytes().splitlines(keepends=True)
    assert 0 < len(lines) == 1200 - desk.store.count()
    assert len({ArchivedLetter.from_line(line, source="f", number=1).letter.id for line in lines}) == len(lines)
    assert "removed" in desk.run("purge", "--older-than", "1h", "--export", "f.jsonl").stdout
    assert desk.store.count() == 0
    assert desk.run("import", "f.jsonl").stdout.startswith("Imported 1,200 letters; 0")


def test_what_looks_after_the_limits_outlives_any_error(redis_desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk, folder = redis_desk, redis_desk.folder / "archive"
    desk.fill(3, age_s=3 * 86_400)
    options = {"redis_url": desk.url, "ROUTEMQ_KEY_PREFIX": desk.prefix, "dlq_archive_dir": folder}
    # It has no folder.
    keeper = RetentionKeeper(Settings(**options, dlq_retention_days=2), sweep_s=0.1)  # type: ignore[arg-type]
    keeper.start()
    try:
        wait_until(lambda: "cannot write" in caplog.text, timeout_s=10)
        folder.mkdir()
        wait_until(lambda: not desk.store.count(), timeout_s=10, message="it goes on")
    finally:
        keeper.stop()
        keeper.join(10)
    assert caplog.text.count("cannot write") == 1


@pytest.mark.parametrize(
    "command", ["list", "tail", "export f.jsonl", "discard --yes", "replay --yes", "purge --older-than=1s"]
)
def test_an_option_whose_variable_is_unset_stops_a_command(redis_desk: Desk, command: str) -> None:
    redis_desk.bury(a_message(1), a_message(2))
    for option in ("route", "queue", "reason", "error", "topic", "device", "since", "until", "contains"):
        for value in ("", "  "):
            done = redis_desk.run(*command.split(), f"--{option}", value, exit_code=2)
            assert f"--{option}" in done.output
    assert redis_desk.store.count() == 2
    assert not list(redis_desk.folder.glob("*.jsonl"))


def test_full_route_is_named_until_there_is_room(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    store = DeadLetters(desk.client, desk.keys, max_entries=2)
    for number in range(2):
        message = a_message(number)
        store.bury_direct([(DeadLetter.of(message, reason="failed", error=ValueError(), worker="w"), message.encode())])
    retention(desk, dlq_max_entries=2).sweep()
    assert f"route {ROUTE} is not consumed" in caplog.text
    assert store.full_routes() == {ROUTE: QUEUE}
    retention(desk, dlq_max_entries=9).sweep()
    assert store.full_routes() == {}
    assert store.count(LetterFilter()) == 2


def test_benchmark_runs(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "dead_letters.py"
    argv = [sys.executable, str(script), "--entries", "1000", "--replay", "100", "--json", "--no-commands"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True, timeout=55, env=clean_environment())
    found = json.loads(done.stdout)
    assert found["entries"] == 1000
    assert {"stats", "page, error"} <= {figure["name"] for figure in found["figures"]}
