"""`routemq init`: a project to begin with."""

import os
import shlex
from pathlib import Path

import click
from routemq_dev.new_project import IGNORED, make_project, not_ignored

from routemq.cli.explain import explains_errors
from routemq.text import printable


@click.command(short_help="A project to begin with: a route, its controller, their tests.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@explains_errors
def init(folder: Path) -> None:
    """Make a project in FOLDER, by default in this one: router, controller, tests, .env.example and a Compose file.

    A file that is there is never overwritten: then nothing is written at all. A .gitignore may be there; it is said
    what to add to it.
    """
    try:
        written = make_project(folder)
    except OSError as exc:
        raise click.ClickException(f"{folder} cannot be written to: {exc.strerror or exc}") from exc
    for path in written:
        click.echo(f"  {printable(os.fspath(path))}")
    missing = not_ignored(folder)
    if missing:
        click.echo(f"\n{IGNORED} was there; add to it: {', '.join(missing)}")
    into = "" if folder == Path() else f"cd {shlex.quote(os.fspath(folder))} && "
    click.echo(f"\n{into}routemq dev")
    click.echo("routemq publish sensors/d1/data '{\"temperature\": 31}'     # in another terminal")
    click.echo("pytest                                                    # pip install pytest")
