"""The file `.env`, as the settings take it in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from routemq.env_file import read_env_file


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
