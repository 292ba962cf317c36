"""What an operator reads when a command fails."""

import click
import pytest
from click.testing import CliRunner

from routemq.cli.explain import explains_errors


@click.command()
@click.argument("name")
@explains_errors
def ask(name: str) -> None:
    name.encode()
    "\u00e9".encode("ascii")


def test_an_argument_that_is_no_text_is_told_in_a_line() -> None:
    told = CliRunner().invoke(ask, ["a\udcff"])
    assert (told.exit_code, told.output) == (1, "Error: a\\udcff is not UTF-8 text\n")


def test_what_a_terminal_cannot_show_is_not_taken_for_an_argument() -> None:
    with pytest.raises(UnicodeEncodeError):
        CliRunner().invoke(ask, ["a"], catch_exceptions=False)
