"""The file `.env`, read without guesses: what cannot be taken as it stands is an error that names the line."""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

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


class EnvFileSource(PydanticBaseSettingsSource):
    """What a file says of the settings.

    Args:
        paths: Later ones win; one that is not there says nothing.
    """

    def __init__(self, settings_cls: type[BaseSettings], paths: Any) -> None:
        super().__init__(settings_cls)
        self._paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths or ())]

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: the file is read at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the settings that are there."""
        names = dict(self._names())
        found: dict[str, Any] = {}
        for path in self._paths:
            if path.is_file():
                values = read_env_file(path, variables=names)
                found |= {names[variable]: value for variable, value in values.items()}
        return found

    def _names(self) -> Iterator[tuple[str, str]]:
        """Give each variable with the name by which the settings take it."""
        for name, field in self.settings_cls.model_fields.items():
            alias = field.validation_alias
            taken = name if alias is None else str(getattr(alias, "choices", [alias])[0])
            yield taken.upper(), taken
