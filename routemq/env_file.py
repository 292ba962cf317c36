"""The file `.env`, read without guesses: what cannot be taken as it stands is an error that names the line."""

from collections.abc import Container
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from routemq.errors import ConfigurationError


def read_env_file(path: Path, *, variables: Container[str]) -> dict[str, str]:
    """Return what the file says of these variables; names are taken in capitals, as in the environment.

    Raises:
        ConfigurationError: A line that is none of `NAME=value`; names the line and shows nothing of it.
    """
    found: dict[str, str] = {}
    # A BOM is what some editors put before text.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for binding in parse_stream(stream):
            name = (binding.key or "").upper()
            problem = _problem(binding, ours=name in variables)
            if problem is not None:
                raise ConfigurationError(variable=path.name, value=f"(line {_line(binding)})", allowed=problem)
            if name in variables and binding.value is not None:
                found[name] = binding.value
    return found


def _problem(binding: Binding, *, ours: bool) -> str | None:
    if binding.error:
        return "NAME=value, with quotes that are closed, and nothing but a comment behind them"
    if not ours:
        return None
    value = binding.value
    if value is None:
        return "NAME=value; this line has no '='"
    if "\n" in value or "\r" in value:
        return "a value of one line; perhaps a quote is not closed"
    is_literal = binding.original.string.partition("=")[2].lstrip().startswith("'")
    if "${" in value and not is_literal:
        # Compose and shells would put something in its place.
        return "nothing is put in the place of ${…}: write the value itself, or in single quotes if this is the value"
    return None


def _line(binding: Binding) -> int:
    text = binding.original.string
    before = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(before.splitlines())
