"""Each block of the pages is what it says: code runs, commands do what is shown."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.documentation.blocks import PAGES, Block, Command, blocks_of, commands_of
from tests.documentation.commands import reason_not_to_run
from tests.documentation.page_code import PACKAGES, folder_name, is_tests, python_of, stand_ins_of, write_file
from tests.documentation.stages import FEW_PLUGINS, LIVE, Stage, set_up
from tests.documentation.terminal import Terminal
from tests.processes import clean_environment
from tests.servers import REPOSITORY, MqttBroker, Redis, Stack

WITH_PYTHON = [page for page in PAGES if python_of(page)]
MATTER = re.compile(r"\[(name-defined|attr-defined|call-arg|call-overload|arg-type|list-item|dict-item|misc|syntax)\]$")
"""What mypy says that a reader would run into; pages may leave annotations out."""


def commands_to_run(block: Block) -> list[Command]:
    shown = list(commands_of(block)) if block.language == "console" else []
    # Of several ways to start all of a host, the last one has most of the others'.
    supervisors = [command for command in shown if command.text.startswith("routemq up")][:-1]
    return [command for command in shown if command not in supervisors and reason_not_to_run(command) is None]


def make_project(page: str, folder: Path) -> Path:
    """Make the project that a page's reader is in: the sample application."""
    project = folder / folder_name(page)
    shutil.copytree(REPOSITORY / "app", project / "app", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return project


def test_code_of_the_pages_runs(tmp_path: Path) -> None:
    pages = [page for page in WITH_PYTHON if page not in LIVE]
    for page in pages:
        make_project(page, tmp_path)
    command = [sys.executable, "-m", "tests.documentation.page_code", str(tmp_path), *pages]
    env = clean_environment({"SENTRY_DSN": "", "PYTHONPATH": str(REPOSITORY)})
    run = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_code_of_the_pages_names_what_there_is(tmp_path: Path) -> None:
    for page in WITH_PYTHON:
        # As long as the page, so that mypy names its lines; the first one is a heading.
        lines = [""] * len((REPOSITORY / page).read_text("utf-8").splitlines())
        lines[0] = "; ".join(f"from {module} import *" for module in stand_ins_of(page))
        for block in python_of(page):
            code = block.text.splitlines() if not block.text.startswith(">>> ") else []
            lines[block.line - 1 : block.line - 1 + len(code)] = code
        (tmp_path / f"{folder_name(page).replace('-', '_')}.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *map(str, tmp_path.glob("*.py"))],
        cwd=REPOSITORY, env=os.environ | {"MYPYPATH": str(PACKAGES)}, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = [line.removeprefix(f"{tmp_path}/") for line in run.stdout.splitlines() if MATTER.search(line)]
    assert [line.replace("docs_", "docs/", 1).replace(".py:", ".md:", 1) for line in found] == []


def test_tests_of_the_pages_pass(tmp_path: Path) -> None:
    """Of those that do not run pytest themselves, and not this repository's."""
    pages = [
        page
        for page in WITH_PYTHON
        if any(map(is_tests, python_of(page)))
        and not any("pytest" in block.text for block in blocks_of(page) if block.language == "console")
    ]
    assert pages
    for page in pages:
        project = make_project(page, tmp_path)
        for block in python_of(page):
            write_file(block, project)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."],
            cwd=project, env=clean_environment(FEW_PLUGINS), capture_output=True, encoding="utf-8",
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(commands_to_run, blocks_of(page)))])
def test_commands_of_the_pages_do_what_is_shown(
    page: str, tmp_path: Path, own_broker: Callable[..., MqttBroker], own_store: Callable[..., Redis]
) -> None:
    # The sample application's topics are anybody's, and some pages change the server.
    broker, store = own_broker("mosquitto", persistence=False), own_store("redis", append_only=True, fsync="no")
    stage = Stage(
        page=page, project=make_project(page, tmp_path), stack=Stack(name="of the page", broker=broker, store=store)
    )
    mqtt = ("-h", broker.host, "-p", str(broker.port))
    options: dict[str, tuple[str, ...]] = dict.fromkeys(("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"), mqtt)
    options["redis-cli"] = ("-h", store.host, "-p", str(store.port))
    # An answer that is an error is one.
    options["curl"] = ("--fail",)
    with set_up(stage):
        env = clean_environment(stage.environment)
        with Terminal(folder=stage.project, env=env, words=stage.words, options=options) as terminal:
            for block in blocks_of(page):
                terminal.save(block)
                for command in commands_to_run(block):
                    stage.before()
                    terminal.type(command)


def of_language(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


@pytest.mark.parametrize("block", of_language("conf"), ids=str)
def test_mosquitto_starts_with_what_the_pages_say(block: Block, own_broker: Callable[..., MqttBroker]) -> None:
    own_broker("mosquitto", extra=block.text).publish("any/topic", "1")


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_prometheus_reads_what_the_pages_say(block: Block, tmp_path: Path) -> None:
    config = yaml.safe_load(block.text)
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))["services"]
    found = [each["targets"] for job in config["scrape_configs"] for each in job["static_configs"]]
    assert {target.partition(":")[0] for targets in found for target in targets} <= set(services)
    shutil.copytree(REPOSITORY / "deploy" / "monitoring", tmp_path, dirs_exist_ok=True)
    (tmp_path / "page.yml").write_text(block.text, encoding="utf-8")
    command = ["promtool", "check", "config", "page.yml"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("block", of_language("lua"), ids=str)
def test_redis_runs_what_the_pages_say_of_scripts(block: Block, redis_server: Redis, key_prefix: str) -> None:
    look = (REPOSITORY / "routemq/lifecycle/look.lua").read_text("utf-8")
    # A page may leave out what is done then.
    body = block.text.replace("…", "end")
    script = f"#!lua flags=allow-oom\n{look}\nlocal list = KEYS[2]\n{body}\nreturn answer(1)"
    with redis_server.client() as client:
        client.hset(f"{key_prefix}hash", "field", "value")
        client.eval(script, 2, f"{key_prefix}hash", f"{key_prefix}list", "field")
        assert not client.exists(f"{key_prefix}hash")
