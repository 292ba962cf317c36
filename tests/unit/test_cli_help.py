"""The lists of commands, as a terminal of 80 columns shows them."""

import subprocess
import sys

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


def test_the_version_is_told_without_loading_the_application_side() -> None:
    script = "import sys; from routemq.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    script += "print(sorted({'pydantic', 'redis', 'paho', 'celery', 'asyncio'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_every_public_name_is_there() -> None:
    assert [name for name in routemq.__all__ if getattr(routemq, name).__name__ != name] == []
