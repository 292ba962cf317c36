"""Dead letters in files: one JSON object a line, with everything needed to bring them back."""

import base64
from dataclasses import dataclass
from typing import Any

import orjson

from routemq.dead_letters.letter import DeadLetter
from routemq.errors import RouteMQError

_VERSION = 1


class BrokenLineError(RouteMQError):
    """A line of an export file cannot be read.

    Attributes:
        line: Its number, from 1.
    """

    def __init__(self, *, source: str, line: int, problem: str) -> None:
        self.source, self.line, self.problem = source, line, problem
        super().__init__(f"{source}, line {line}: {problem}")


@dataclass(frozen=True, slots=True)
class ArchivedLetter:
    """A dead letter and its message byte for byte, as they are written to a file."""

    letter: DeadLetter
    raw: bytes

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        letter = self.letter
        fields: dict[str, Any] = {
            "v": _VERSION,
            "id": letter.id,
            "died_at": letter.died_at,
            **orjson.loads(letter.description()),
        }
        if letter.traceback:
            fields["traceback_text"] = letter.traceback
        try:
            fields["raw"] = self.raw.decode()
        except UnicodeDecodeError:
            fields["raw_base64"] = base64.b64encode(self.raw).decode()
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes, *, source: str, number: int) -> "ArchivedLetter":
        """Read a line.

        Raises:
            BrokenLineError: It is not what `to_line` writes.
        """
        try:
            fields = orjson.loads(line)
            if fields["v"] != _VERSION:
                raise BrokenLineError(
                    source=source, line=number, problem=f"version {fields['v']!r}; this release reads {_VERSION}"
                )
            if not {"raw", "raw_base64"} & fields.keys():
                raise BrokenLineError(source=source, line=number, problem="the field 'raw' is missing")
            raw = (
                base64.b64decode(fields["raw_base64"], validate=True) if "raw" not in fields else fields["raw"].encode()
            )
            letter_id, died_at = fields["id"], fields["died_at"]
            if not (isinstance(letter_id, str) and letter_id and isinstance(died_at, (int, float))):
                raise BrokenLineError(source=source, line=number, problem="its id or time of death is none")
            letter = DeadLetter.from_description(letter_id, line, died_at=float(died_at))
            for name in ("route", "queue", "reason", "fingerprint", "exception", "message"):
                if not isinstance(getattr(letter, name), str):
                    raise BrokenLineError(source=source, line=number, problem=f"the field {name!r} is no text")
            return cls(letter.with_traceback(str(fields.get("traceback_text", ""))), raw)
        except orjson.JSONDecodeError as exc:
            problem = "it ends too early or is no JSON" if line[-1:] != b"\n" else f"no JSON: {exc.msg}"
            raise BrokenLineError(source=source, line=number, problem=problem) from exc
        except KeyError as exc:
            raise BrokenLineError(source=source, line=number, problem=f"the field {exc} is missing") from exc
        except (TypeError, AttributeError, ValueError) as exc:
            raise BrokenLineError(source=source, line=number, problem=f"no exported dead letter: {exc}") from exc
