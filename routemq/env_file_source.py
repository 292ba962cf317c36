"""The file `.env`, and the files that variables name, as the settings take them in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from routemq.env_file import read_env_file
from routemq.value_files import SUFFIX, values_of_files


class _AtOnce(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: all fields are read at once."""
        return None, field_name, False

    def _names(self) -> Iterator[tuple[str, str]]:
        """Give each variable with the name by which the settings take it."""
        for name, field in self.settings_cls.model_fields.items():
            alias = field.validation_alias
            taken = name if alias is None else str(getattr(alias, "choices", [alias])[0])
            yield taken.upper(), taken


class ValueFileSource(_AtOnce):
    """What the files hold that the environment names, `REDIS_URL_FILE=/run/secrets/redis-url`."""

    def __call__(self) -> dict[str, Any]:
        """Return the settings that are there."""
        names = dict(self._names())
        return {names[variable]: value for variable, value in values_of_files(_environment(), names).items()}


class EnvFileSource(_AtOnce):
    """What `.env` says of the settings, and the files that it names.

    Args:
        paths: Later ones win; one that is not there says nothing.
    """

    def __init__(self, settings_cls: type[BaseSettings], paths: Any) -> None:
        super().__init__(settings_cls)
        self._paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths or ())]

    def __call__(self) -> dict[str, Any]:
        """Return the settings that are there."""
        names = dict(self._names())
        wanted = {*names, *(variable + SUFFIX for variable in names)}
        said: dict[str, str] = {}
        for path in self._paths:
            if path.is_file():
                said |= read_env_file(path, variables=wanted)
        # What the environment says in either way is not asked of a file, which may not even be there.
        environment = _environment()
        asked = [name for name in names if name not in environment and name + SUFFIX not in environment]
        said |= values_of_files(said, asked)
        return {names[variable]: value for variable, value in said.items() if variable in names}


def _environment() -> dict[str, str]:
    return {name.upper(): value for name, value in os.environ.items()}
