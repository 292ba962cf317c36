"""`routemq manifests`: what deploys this application, for its own routes."""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

import click
from routemq_ops.manifests.compose import FILE as COMPOSE_FILE
from routemq_ops.manifests.compose import IMAGE as COMPOSE_IMAGE
from routemq_ops.manifests.compose import compose_file
from routemq_ops.manifests.deployment import Deployment, queue_workers
from routemq_ops.manifests.kubernetes import kubernetes_files
from routemq_ops.manifests.systemd_units import systemd_files

from routemq.cli.explain import explains_errors
from routemq.discovery import load_router
from routemq.settings import load_settings
from routemq.supervision.loading import read_queues
from routemq.supervision.shares import worker_queues
from routemq.text import plural

_NEXT = {
    "kubernetes": "kubectl apply -k {folder}/one-region",
    # What the file names, as `./deploy`, and `.env`, lie in the application's folder.
    "compose": "docker compose --project-directory . -f {folder}/docker-compose.yml up --build --wait",
    "systemd": "sudo cp {folder}/* /etc/systemd/system/ && sudo systemctl daemon-reload && "
    "sudo systemctl enable --now routemq.service",
}
"""What puts the files into force; what is to be had before it is told in the guide."""
_GUIDE = "docs/deployment.md"
_IMAGE = "routemq:latest"


@click.command(short_help="Print what deploys this application: Kubernetes, Compose, systemd.")
@click.option("--format", "form", type=click.Choice(list(_NEXT)), default="kubernetes", show_default=True)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the files into this folder.")
@click.option("--force", is_flag=True, help="Write also over files that are there and differ.")
@click.option("--image", help=f"Your application's image; by default {_IMAGE}, with Compose {COMPOSE_IMAGE}.")
@click.option(
    "--project", type=click.Path(path_type=Path),
    help="For systemd: your application's folder there, with its .venv; by default this one, with this Python.",
)  # fmt: skip
@click.option(
    "--longest-task", "grace_s", type=click.IntRange(1, 86_400), default=60, show_default=True, metavar="SECONDS",
    help="How long a worker that is told to end may go on with what it runs.",
)  # fmt: skip
@explains_errors
def manifests(
    *, form: str, output: Path | None, force: bool, image: str | None, project: Path | None, grace_s: int
) -> None:
    """Print, or write, the files that run ingest, a worker for each queue, and Flower.

    Start it in the project's folder. They are yours: change what you like; a second run leaves files that differ as
    they are, and names them.

    Exit code 1 when such files were left.
    """
    if image is None:
        image = COMPOSE_IMAGE if form == "compose" else _IMAGE
    if not image.strip():
        raise click.BadParameter("is empty; perhaps a variable is not set", param_hint="--image")
    deployment = _deployment(image, grace_s)
    if form == "systemd":
        environment = Path(sys.prefix) if project is None else project / ".venv"
        found = systemd_files(deployment, project=project or Path.cwd(), environment=environment)
    elif form == "compose":
        found = {COMPOSE_FILE: compose_file(deployment)}
    else:
        found = kubernetes_files(deployment)
    if output is None and len(found) == 1:
        click.echo("".join(found.values()), nl=False)
    elif output is None:
        click.echo("\n".join(f"# ==> {path}\n{text}" for path, text in found.items()), nl=False)
    else:
        written, left = _write(output, found, force=force)
        click.echo("\n  ".join([f"{len(written)} of {plural(len(found), 'file')} written into {output}", *written]))
        if left:
            click.echo(f"left as they are, with --force they are replaced: {', '.join(left)}", err=True)
            sys.exit(1)
        click.echo(
            f"next, when they are as you want them ({_GUIDE}):\n  {_NEXT[form].format(folder=quote(str(output)))}"
        )


def _deployment(image: str, grace_s: int) -> Deployment:
    # What a module prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        settings = load_settings()
        routed = dict(load_router(settings.routers).queues)
    if not routed:
        raise click.ClickException(f"{settings.routers} has no routes, so there is nothing to deploy")
    # Those of the application's own tasks too, which Celery's app alone knows.
    own = read_queues(Path.cwd(), os.environ) if settings.task_modules else ()
    heads = worker_queues(dict.fromkeys(own, 1) | routed)
    return Deployment(workers=queue_workers(heads, {*own, *routed}), image=image, grace_s=grace_s)


def _write(folder: Path, found: Mapping[str, str], *, force: bool) -> tuple[list[str], list[str]]:
    """Write the files; return those that were not there as they are now, and those that differ and were left."""
    written: list[str] = []
    left: list[str] = []
    for name, text in found.items():
        path = folder / name
        try:
            if path.exists() and path.read_bytes() == text.encode():
                continue
            if path.exists() and not force:
                left.append(name)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise click.ClickException(f"cannot be written: {exc}") from exc
        written.append(name)
    return written, left
