"""Put dead letters back on their queues."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from routemq.dead_letters.fingerprint import shortened
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.opened import OpenedLetter, opened
from routemq.envelope import PastReplay, TaskMessage
from routemq.errors import NotReplayableError, RouteMQError
from routemq.queues import queue_problem
from routemq.text import plural

MOST_GENERATIONS = 3
"""A message that died again after this many replays is replayed by force only."""

_ERROR_LENGTH = 500

CANARY_WAIT_S = 60
_UNITS = ((1, "s"), (60, "min"), (3600, "h"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How letters are replayed.

    Attributes:
        to_queue: Queue to put them on, instead of their own.
        force: Replay also what was replayed three times, and what was kept without its redacted fields.
    """

    to_queue: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.to_queue is not None and (problem := queue_problem(self.to_queue)):
            raise QueueNameError(problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPace:
    """How fast, and how carefully.

    Attributes:
        rate: Messages a second; None for as many as there are.
        canary: How many go first; 0 for none.
        canary_wait_s: How long to wait for them.
        trusts_absence: Whether a canary that is gone, and did not die, counts as done; Celery's own transport tells no
            more than that.
    """

    rate: float | None = None
    canary: int = 0
    canary_wait_s: float = CANARY_WAIT_S
    trusts_absence: bool = False

    @property
    def as_options(self) -> tuple[str, ...]:
        """How it is typed."""
        parts = []
        if self.canary:
            parts.append(f"--canary {self.canary}")
            if self.canary_wait_s != CANARY_WAIT_S:
                parts.append(f"--canary-wait {self.canary_wait_s:g}")
        return (*parts, *self.rate_option)

    @property
    def rate_option(self) -> tuple[str, ...]:
        """How the rate is typed, if there is one."""
        if self.rate is None:
            return ()
        per, unit = next((per, unit) for per, unit in _UNITS if self.rate * per >= 1 or unit == "h")
        return (f"--rate {self.rate * per:.6g}/{unit}",)

    @property
    def is_unhurried(self) -> bool:
        """Whether the replay must be seen through in steps."""
        return self.rate is not None or self.canary > 0

    @property
    def each_s(self) -> float:
        """How many seconds each letter takes; 0 without a rate."""
        return 0.0 if self.rate is None else 1 / self.rate

    def step(self, most: int) -> int:
        """Return how many letters go at once."""
        return most if self.rate is None else max(1, min(most, round(self.rate / 10)))

    def in_words(self, options: ReplayOptions) -> str:
        """Return what is unusual of a replay, for the audit."""
        parts = [
            f"canary {self.canary}" if self.canary else "",
            "" if self.rate is None else f"{self.rate:g}/s",
            "" if options.to_queue is None else f"to queue {options.to_queue}",
            "forced" if options.force else "",
        ]
        return ", ".join(part for part in parts if part)


class QueueNameError(RouteMQError):
    """No queue can have this name."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What became of the letters.

    Attributes:
        replayed: Ids whose messages are on their queues again.
        gone: Ids that were not there: replayed or discarded by someone else.
        refused: Ids that stay where they are, with the reason.
        queues: Where the messages went.
        wait_s: Of a step of a replay with a rate: how long nothing goes yet, because what went before has its time.
    """

    replayed: tuple[str, ...] = ()
    queues: frozenset[str] = frozenset()
    gone: tuple[str, ...] = ()
    refused: Mapping[str, NotReplayableError] = field(default_factory=dict)
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedReplay:
    """Messages that are ready to be queued.

    Attributes:
        messages: Id of the dead letter → the message that goes to a queue.
        gone, refused: As in `ReplayResult`.
    """

    messages: Mapping[str, TaskMessage]
    gone: tuple[str, ...]
    refused: Mapping[str, NotReplayableError]


def prepare(
    found: Iterable[tuple[str, bytes | None, bytes | None]],
    options: ReplayOptions,
    edits: Mapping[str, bytes],
    *,
    actor: str,
    now: float,
) -> PreparedReplay:
    """Make the messages that a replay queues.

    Args:
        found: Each letter's id, description and bytes; None when it is not there.
        edits: New payloads by id.
        actor: Who asks; with the time, the message remembers it.
    """
    messages: dict[str, TaskMessage] = {}
    refused: dict[str, NotReplayableError] = {}
    gone: list[str] = []
    for letter_id, description, raw in found:
        if description is None or raw is None:
            gone.append(letter_id)
            continue
        described = DeadLetter.read(letter_id, description, died_at=0.0)
        if described.damage is not None:
            problem = f"its description cannot be read ({described.damage})"
            refused[letter_id] = NotReplayableError(letter_id=letter_id, problem=problem)
            continue
        letter = opened(described, raw)
        try:
            past = PastReplay(at=now, by=actor, error=shortened(letter.letter.error, _ERROR_LENGTH))
            messages[letter_id] = replayed(letter, options, past, edits.get(letter_id))
        except NotReplayableError as exc:
            refused[letter_id] = exc
    return PreparedReplay(messages=messages, gone=tuple(gone), refused=refused)


def replayed(
    opened_letter: OpenedLetter, options: ReplayOptions, past: PastReplay, payload: bytes | None = None
) -> TaskMessage:
    """Return the message that a replay queues: the same task id, the next generation, attempts from the start.

    Raises:
        NotReplayableError: The bytes are no message, or replaying it needs force.
    """
    letter, message = opened_letter.letter, opened_letter.task
    if message is None:
        raise NotReplayableError(letter_id=letter.id, problem=f"its bytes are no message ({opened_letter.problem})")
    if message.generation >= MOST_GENERATIONS and not options.force:
        raise NotReplayableError(
            letter_id=letter.id,
            problem=f"it died again after {plural(message.generation, 'replay')}",
            mend="--force replays it",
        )
    if letter.redacted and payload is None and not options.force:
        raise NotReplayableError(
            letter_id=letter.id,
            problem=f"the values of {', '.join(letter.redacted)} were not kept",
            mend="edit the payload with --edit, or replay it without them with --force",
        )
    message = message.replayed(past)
    if payload is not None:
        message = message.edited(payload)
    return message if options.to_queue is None else replace(message, queue=options.to_queue)
