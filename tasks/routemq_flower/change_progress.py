"""How far a change of many letters is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from routemq.dead_letters.replaying import ReplayResult

Action = Literal["replay", "discard", "undo"]

_REFUSALS_SHOWN = 5


@dataclass(slots=True, kw_only=True)
class ChangeProgress:
    """How far a change is.

    Attributes:
        frozen_id: Name of the frozen set of a replay, by which any process can continue it.
        total: Letters that it is about; None until they are frozen or counted.
        done: Letters that were replayed, discarded or brought back.
        note: What a replay waits for; None when it waits for nothing.
        binned: How many of those that were discarded can be brought back.
        gone: Letters that someone else replayed or discarded first.
        refused: Letters that stay where they are; `refusals` says why, for the first few.
        needs_force: How many of these would have been replayed for someone who insists.
        looked_at: Letters that were looked at so far to find those that it is about.
        warning: What whoever replays these letters should know; None when there is nothing.
        state: `stopped` and `failed` leave the rest where it was; a replay can be continued.
    """

    id: str
    action: Action
    frozen_id: str | None = None
    total: int | None = None
    done: int = 0
    binned: int = 0
    gone: int = 0
    refused: int = 0
    needs_force: int = 0
    refusals: list[str] = field(default_factory=list)
    looked_at: int = 0
    state: Literal["running", "done", "stopped", "failed"] = "running"
    error: str | None = None
    warning: str | None = None
    note: str | None = None
    _is_unwanted: bool = False

    def add(self, result: ReplayResult) -> None:
        """Count one step of a replay."""
        self.done += len(result.replayed)
        self.gone += len(result.gone)
        self.needs_force += sum(exc.mend is not None for exc in result.refused.values())
        self.refuse([exc.problem for exc in result.refused.values()])

    def refuse(self, problems: Sequence[str]) -> None:
        """Count letters that stay where they are."""
        self.refused += len(problems)
        self.refusals += problems[: max(0, _REFUSALS_SHOWN - len(self.refusals))]

    def as_json(self) -> dict[str, Any]:
        """Return the answer of the API."""
        return {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}

    def stop(self) -> None:
        """Have it end after the step it is at."""
        self._is_unwanted = True

    def go_on(self) -> None:
        """Be asked between steps.

        Raises:
            ChangeStoppedError: Somebody has stopped it.
        """
        if self._is_unwanted:
            raise ChangeStoppedError


class ChangeStoppedError(Exception):
    """A person has stopped a change."""
