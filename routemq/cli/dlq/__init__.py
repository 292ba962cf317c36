"""`routemq dlq`: find, understand, mend and replay dead letters. Each command is imported when it is asked for."""

import sys
from typing import Any

import click

from routemq.cli.lazy import LazyGroup

_COMMANDS = {
    "list": "routemq.cli.dlq.listing:list_letters",
    "show": "routemq.cli.dlq.listing:show",
    "stats": "routemq.cli.dlq.overview:stats",
    "replay": "routemq.cli.dlq.replay:replay",
    "discard": "routemq.cli.dlq.removal:discard",
    "undo": "routemq.cli.dlq.bin_commands:undo",
    "bin": "routemq.cli.dlq.bin_commands:bin_",
    "export": "routemq.cli.dlq.files:export",
    "import": "routemq.cli.dlq.files:import_",
    "purge": "routemq.cli.dlq.removal:purge",
    "tail": "routemq.cli.dlq.overview:tail",
    "audit": "routemq.cli.dlq.overview:audit",
}


class _DeadLetterGroup(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Commands that had begun to change something have said how far they are.
            click.echo("Stopped. Run it again to go on, or to begin anew.", err=True)
            sys.exit(130)


@click.group(cls=_DeadLetterGroup, targets=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def dlq() -> None:
    """Dead letters: find, understand, mend and replay them.

    \b
    Exit codes:
      0    done; also a listing without letters, and a dry run
      1    not done, or not all of it: no such id, Redis away, a broken file
      2    wrong usage, or a setting that cannot be used
      3    the filter matches no letter
      4    a replay stopped after its canaries
      130  stopped by Ctrl-C; the message says how to go on
    """
