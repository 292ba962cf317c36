"""A group of commands, each imported when it is asked for: a front door must open quickly."""

import contextlib
import difflib
import gc
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import click

from routemq.terminal import fit_output, whole_output


class LazyGroup(click.Group):
    """A click group.

    Args:
        targets: Name of each command → where it is, `pkg.module:attribute`; listed in this order.
    """

    def __init__(self, *args: Any, targets: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._targets = dict(targets)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line; `--help` is answered here."""
        fit_output()
        with whole_output():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with whole_output():
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that is asked for; of a misspelled one say what may be meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            close = difflib.get_close_matches(args[0], self._targets, n=3) if args else []
            if close and "Did you mean" not in exc.message:
                told = f"{exc.message} Did you mean {' or '.join(map(repr, close))}?"
                raise click.UsageError(told, ctx=ctx) from exc
            raise

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(self._targets)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None when there is none of this name."""
        target = self._targets.get(name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        with _no_collecting():
            command: Any = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is no click command")
        return command


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Import without the garbage collector, which finds nothing in modules and takes a tenth of the time to start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
