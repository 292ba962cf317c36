"""The lists of commands, as a terminal of 80 columns shows them."""

import click
import pytest
from click.testing import CliRunner

from routemq.cli import main
from routemq.cli.dlq import dlq


@pytest.mark.parametrize("group", [main, dlq], ids=["routemq", "routemq dlq"])
def test_every_command_says_on_one_line_what_it_does(group: click.Group) -> None:
    shown = CliRunner().invoke(group, ["--help"], terminal_width=80)
    assert shown.exit_code == 0
    commands = shown.output.split("Commands:\n")[1].splitlines()
    assert len(commands) == len(group.list_commands(click.Context(group)))
    assert [line for line in commands if line.endswith("...") or len(line.split()) < 3] == []
