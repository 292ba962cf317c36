"""The lists of commands, as a terminal of 80 columns shows them."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import routemq
from routemq.cli import main
from routemq.cli.dlq import dlq


@pytest.mark.parametrize("group", [main, dlq], ids=["routemq", "routemq dlq"])
def test_every_command_says_on_one_line_what_it_does(group: click.Group) -> None:
    shown = CliRunner().invoke(group, ["--help"], terminal_width=80)
    assert shown.exit_code == 0
    commands = shown.output.split("Commands:\n")[1].splitlines()
    assert len(commands) == len(group.list_commands(click.Context(group)))
    assert [line for line in commands if line.endswith("...") or len(line.split()) < 3] == []


@pytest.mark.parametrize(
    ("program", "not_needed"),
    [
        (
            "from routemq.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass",
            {"pydantic", "redis", "paho", "celery", "asyncio", "rich"},
        ),
        # Any program of Celery's loads what is declared as its commands.
        ("import routemq.cli.routes, routemq.cli.dlq", {"pydantic", "redis", "paho", "celery", "asyncio", "rich"}),
        ("import routemq.cli.dlq.listing", {"paho", "celery", "kombu", "rich", "prometheus_client"}),
        ("import routemq.cli.ingest", {"celery", "kombu", "rich", "prometheus_client", "routemq.alerts.watch"}),
        ("import routemq.cli.health", {"pydantic", "redis", "paho", "celery", "asyncio", "rich"}),
    ],
    ids=["--version", "commands of Celery's", "dlq list", "ingest", "health"],
)
def test_a_command_loads_nothing_that_it_does_not_use(program: str, not_needed: set[str]) -> None:
    script = f"import sys\n{program}\nprint(sorted({not_needed!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("file", "environment", "code", "told"),
    [
        ("WORKER_HEALTH_PORT=1\n", {}, 1, "no answer on port 1:"),
        ("WORKER_HEALTH_PORT=1\n", {"WORKER_HEALTH_PORT": "2"}, 1, "no answer on port 2:"),
        ("INGEST_HEALTH_PORT=1\n", {"WORKER_HEALTH_PORT": ""}, 2, "set one of INGEST_HEALTH_PORT, WORKER_"),
        ("WORKER_HEALTH_PORT='1\n", {}, 2, "(line 1)"),
    ],
    ids=[".env", "the environment first", "another's", "a broken line"],
)
def test_health_finds_the_port_where_every_setting_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, environment: dict[str, str], code: int, told: str
) -> None:
    (tmp_path / ".env").write_text(file, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKER_HEALTH_PORT", raising=False)
    ended = CliRunner().invoke(main, ["health", "worker"], env=environment)
    assert (ended.exit_code, told in ended.output) == (code, True)


def test_every_public_name_is_there() -> None:
    found = {name: getattr(routemq, name) for name in routemq.__all__}
    # What is no class is the alias of a type, and has no name of its own.
    assert [name for name, each in found.items() if not isinstance(each, type)] == ["BatchNext", "Next"]
    assert [name for name, each in found.items() if isinstance(each, type) and each.__name__ != name] == []


def test_without_the_extra_dev_the_one_command_that_needs_it_says_so() -> None:
    program = "import sys; sys.modules['watchfiles'] = None; from routemq.cli import main; main(sys.argv[1:])"
    asked = {words: subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, encoding="utf-8", check=False,
    ) for words in [("dev",), ("dev", "--help")]}  # fmt: skip
    assert asked["dev",].returncode == 2
    assert "pip install 'routemq-celery[dev]'" in asked["dev",].stderr
    assert asked["dev", "--help"].returncode == 0
