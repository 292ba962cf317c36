"""Writes docs/settings.md and docs/commands.md anew, between their two marks: .venv/bin/python scripts/reference.py

What stands there comes from the settings, .env.example and the commands; what stands around it is written by hand.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from routemq.cli import main
from routemq.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- From here to the next mark by scripts/reference.py. -->\n", "<!-- To here. -->\n"

SUBJECTS = {
    "The MQTT broker": [
        ("ingest, workers, commands", "mqtt_broker mqtt_port mqtt_username mqtt_password mqtt_protocol"),
        ("all", "mqtt_group_name"),
        ("ingest, workers", "mqtt_client_id mqtt_keepalive_s"),
        ("ingest", "mqtt_share mqtt_session_expiry_s mqtt_receive_maximum"),
        ("ingest, workers, commands", "mqtt_tls_enabled mqtt_tls_ca_certs mqtt_tls_certfile mqtt_tls_keyfile"),
        ("ingest, workers, commands", "mqtt_tls_insecure"),
    ],
    "Redis": [
        ("all", "redis_url redis_tls_ca_certs redis_tls_certfile redis_tls_keyfile redis_tls_insecure key_prefix"),
        ("ingest, workers", "allow_eviction"),
    ],
    "The application": [
        ("all", "routers"),
        ("workers, commands", "tasks"),
        ("ingest, workers", "release log_level log_format history show_payloads"),
    ],
    "Ingest": [
        ("ingest", "ingest_workers ingest_max_payload_bytes ingest_max_queue_length ingest_drain_on_exit"),
        ("ingest", "ingest_health_port"),
    ],
    "Workers": [
        ("workers", "worker_count worker_auto_scale worker_min_count worker_max_count worker_health_port"),
        ("workers, `routemq up`", "shutdown_grace_s"),
        ("workers, Flower", "transport"),
        ("workers", "visibility_timeout_s report_retries"),
        ("workers, Flower, commands", "unknown_route_wait_s"),
    ],
    "Flower": [("Flower", "flower_health_port")],
    "Dead letters": [
        ("workers, Flower, commands", "dlq_retention_days dlq_archive_dir"),
        ("ingest, workers", "dlq_max_entries"),
        ("Flower, commands", "dlq_bin_hours"),
        ("ingest, workers", "dlq_redact dlq_redact_hook"),
    ],
    "Alerts": [("ingest, workers", "alert_webhook alert_hook alert_dead_per_minute alert_oldest_s")],
}
"""Which processes read a setting, by subject; `all` are ingest, workers, Flower and the commands of `routemq`."""

_COLUMNS = ("variable", "what it is", "read by")
BAR = r"\|"
_UNITS = {"_s": "seconds", "_bytes": "bytes", "_days": "days", "_hours": "hours"}
_ENDLESS = 2**31 // 3600
"""A limit from here on is one of the machine, and of no interest."""


def settings() -> str:
    """Return the tables of all settings, and of what the Compose file alone reads."""
    rows = {
        subject: [(name, readers) for readers, names in groups for name in names.split()]
        for subject, groups in SUBJECTS.items()
    }
    differing = {name for group in rows.values() for name, _ in group} ^ set(Settings.model_fields)
    if differing:
        raise SystemExit(f"SUBJECTS in {__file__} and the settings differ by {sorted(differing)}")
    lines = []
    for subject, group in rows.items():
        lines += ["", f"## {subject}", "", "| variable | what it is | read by |", "|---|---|---|"]
        for name, readers in group:
            field = Settings.model_fields[name]
            variable = f"`{variable_of(name)}`<br>{_takes(name, field)}{_default(field)}"
            lines.append(_row(variable, _words(field.description or ""), readers))
    return "\n".join([*lines, *_compose(), "", ""])


def _words(text: str) -> str:
    """Return a description with the names of settings as code."""
    names = "|".join(variable_of(name) for name in Settings.model_fields)
    return re.sub(rf"(?<!`)\b({names})\b(?!`)", r"`\1`", text)


def _takes(name: str, field: FieldInfo) -> str:
    kinds = {kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not NoneType}
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if bool in kinds:
        return "`true`, `false`"
    if Path in kinds:
        return "a folder" if name.endswith("_dir") else "a file"
    if not kinds & {int, float}:
        return "a secret" if SecretStr in kinds else "text"
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "a number")
    limits = {
        kind: getattr(limit, kind) for limit in field.metadata for kind in ("ge", "gt", "le") if hasattr(limit, kind)
    }
    if "gt" in limits:
        return f"{unit}, more than {limits['gt']}"
    most = limits.get("le", _ENDLESS)
    return f"{unit}, {limits['ge']} or more" if most >= _ENDLESS else f"{unit}, {limits['ge']} to {most}"


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value in {None, ""} else f"<br>default `{str(value).lower() if isinstance(value, bool) else value}`"


def _compose() -> Iterator[str]:
    """Yield the last part of .env.example as a table."""
    heading, _, blocks = (ROOT / ".env.example").read_text("utf-8").rpartition("# --- ")[2].partition("\n")
    subject, _, note = heading.partition(": ")
    yield from (
        "",
        f"## {subject}",
        "",
        f"{note}.",
        "",
        "| variables, with their defaults | what they are |",
        "|---|---|",
    )
    for block in blocks.strip().split("\n\n"):
        lines = block.replace("# ", "").splitlines()
        variables = [line for line in lines if re.match(r"[A-Z_]+=", line)]
        cells = (f"`{line.removesuffix('=')}`" for line in variables)
        yield _row("<br>".join(cells), " ".join(lines[: len(lines) - len(variables)]))


def commands() -> str:
    """Return each command with its arguments and options."""
    return "\n".join(_command(main, click.Context(main, info_name="routemq"))) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        depth = "##" if context.parent.parent is None else "###"
        yield from ("", f"{depth} `{context.command_path}`", "")
    if isinstance(command, click.Group):
        yield from _paragraphs(command)
        for name in command.list_commands(context):
            if part := command.get_command(context, name):
                yield from _command(part, click.Context(part, info_name=name, parent=context))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    # Of an optional argument with choices, which some releases of Click bracket twice.
    usage = usage.replace("[[", "[").replace("]]", "]")
    yield from (f"`{usage}`", "")
    yield from _paragraphs(command)
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        yield from ("| option | what it is |", "|---|---|", *(_option(option, context) for option in options))


def _paragraphs(command: click.Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        # Click's mark of lines that stay as they are.
        yield from ("```text", *paragraph.splitlines()[1:], "```", "") if "\b" in paragraph else (paragraph, "")


def _option(option: click.Option, context: click.Context) -> str:
    names = " / ".join(", ".join(part) for part in (option.opts, option.secondary_opts) if part)
    extra = option.get_help_extra(context)
    what = [option.help or ""]
    if isinstance(option.type, click.Choice):
        what.append(f"One of {', '.join(f'`{choice}`' for choice in option.type.choices)}.")
    elif not option.is_flag:
        names += f" {option.metavar or ('N' if _is_number(option.type) else option.type.name.upper())}"
    if "range" in extra:
        what.append(f"{_range(extra['range'])}.")
    if "default" in extra:
        what.append(f"Default: `{extra['default']}`.")
    return _row(f"`{names}`", " ".join(what))


def _is_number(kind: click.ParamType) -> bool:
    return isinstance(kind, (type(click.INT), type(click.FLOAT)))


def _range(text: str) -> str:
    """Return `1 to 64` of `1<=x<=64`, as click says it."""
    least, _, most = text.partition("<=x<=")
    return f"{least} to {most}" if most else text.replace("x>=", "At least ").replace("x>", "More than ")


def _row(*cells: str) -> str:
    # A bar would end the cell, in code too.
    return f"| {' | '.join(' '.join(cell.replace('|', BAR).split()) for cell in cells)} |"


def pages() -> dict[Path, str]:
    """Return what each page should be."""
    made = {}
    for path, text in ((ROOT / "docs/settings.md", settings()), (ROOT / "docs/commands.md", commands())):
        before, _, rest = path.read_text("utf-8").partition(BEGIN)
        made[path] = f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}"
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
