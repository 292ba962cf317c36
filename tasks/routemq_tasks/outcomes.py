"""What becomes of a message that a worker has in hand: judged, and recorded in Redis before Celery hears of it.

Longer than other files: every way that a message takes out of a worker's hands without being done ends here, in one
order of trying, and is read in one.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis
from billiard.common import terminate_handler_fired
from celery.exceptions import WorkerShutdown, WorkerTerminate

from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.dead_letters.redaction import Redaction
from routemq.envelope import FailedAttempt, TaskMessage
from routemq.errors import EnvelopeError
from routemq.lifecycle.moves import Moves
from routemq.lifecycle.record import HeldItem
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.logs import IN_ONE_LINE, say
from routemq.mark import Mark
from routemq.paused import PausedRoutes
from routemq.queues import Keys
from routemq.refusals import code_of, explain
from routemq.text import error_line, printable
from routemq_tasks.errors import ControllerFailedError, PausedError
from routemq_tasks.fate import OF_ANOTHER_RELEASE, USUAL_POLICY, Dead, Fate, Kept, Later, judge
from routemq_tasks.gate import Stopping
from routemq_tasks.held import Held
from routemq_tasks.reports import tellable

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Of the consumer's thread, which serves all; with Redis away for longer it has to reconnect anyway."""

_HANG_UPS = 3
"""Redis hung up so often on one record, and on nothing else: it is the record."""

_LONGEST_WAIT_S = 60.0
_SAY_AGAIN_S = 30.0
_MOST_REMEMBERED = 100
_MOST_SHOWN = 200

_LONGEST_LAST_PAUSE_S = 1.0
"""A worker that is stopping pauses no longer for Redis, and then gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a message after an error.

    Attributes:
        told: The error in one line, as logs and monitors may show it.
        error: The error itself, where logs and monitors may have it, with its arguments and causes; else a stand-in.
    """

    fate: Fate
    told: str
    error: Exception


class Outcomes:
    """Where every message ends that was not done: its one way to another run, to the dead letters, or back.

    Whatever the error, the policy, a hook or the message itself does while its end is recorded, `settle` comes to an
    end of it. Each step is one script, fenced by the delivery tag, so that a repetition is harmless.

    Args:
        dead_letters: Where a burial goes; it knows what must not be kept.
        redaction: What logs and monitors must not show either.
        show_payloads: Whether monitors may see payloads, of a message that is run again too.
        unknown_wait_s: How long a message that only another release can run is kept for it.
        report_retries: Whether those who listen hear of an error that is followed by another run.
        patience_s: How long to repeat a step while Redis is away.
        stopping: Then a step is not repeated for long.
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        *,
        dead_letters: DeadLetters,
        redaction: Redaction | None = None,
        show_payloads: bool = False,
        unknown_wait_s: float = 600.0,
        report_retries: bool = False,
        patience_s: float = 30.0,
        stopping: Stopping | None = None,
    ) -> None:
        self._client, self._keys = client, keys
        self._moves, self._paused = Moves(client, keys), PausedRoutes(client, keys)
        self._dead_letters, self._redaction = dead_letters, redaction
        self._show_payloads, self._patience_s = show_payloads, patience_s
        self._unknown_wait_s, self._report_retries = unknown_wait_s, report_retries
        self._unknown: dict[str, float] = {}
        self._stopping = stopping

    def settle(self, held: Held, error: BaseException, *, patience_s: float | None = None) -> Settled:
        """Judge a message after an error, record what becomes of it, and return that.

        What cannot be run again is buried; what cannot be buried with all that is known of the error is buried with
        what can be told in plain text; what cannot be buried at all stays.

        Raises:
            BaseException: The worker is being stopped; what was not recorded stays.
        """
        deadline = time.monotonic() + (self._patience_s if patience_s is None else patience_s)
        told, hides = self._told(error, held.message)
        if type(error) is PausedError:
            self._set_aside(held, error, deadline)
            return Settled(fate=Kept(), told=told, error=error)
        if issubclass(type(error), OF_ANOTHER_RELEASE) and self._keeps_for_another(held, told, deadline):
            return Settled(fate=Kept(), told=told, error=ControllerFailedError(told))
        for outcome, make in self._steps(held, error, told):
            try:
                made = make()
                recorded = self._insist(partial(self._record, held, outcome, made), deadline)
            except _StaysError as exc:
                _say(logging.ERROR, held, "message %s (%s) stays on its queue: %s", exc)
                break
            # Whatever goes wrong with this record, of this message, there is a plainer one.
            except BaseException as exc:
                if is_shutdown(exc):
                    raise
                problem, _ = self._told(exc, None)
                _say(logging.ERROR, held, "message %s (%s): its outcome cannot be recorded so: %s", problem)
                continue
            if isinstance(made, DeadLetter) and isinstance(recorded, DeadLetter) and self._redaction is not None:
                # Of what is no message of ours, only what is kept may be told.
                told, hides = recorded.error, hides or recorded.message != made.message
            shown = ControllerFailedError(told) if hides else tellable(error, told)
            _report(held, outcome if recorded else None, told, shown, retries=self._report_retries)
            return Settled(fate=outcome, told=told, error=shown)
        else:
            _say(logging.ERROR, held, "message %s (%s) stays on its queue, no outcome of it can be recorded: %s", told)
        return Settled(fate=Kept(), told=told, error=ControllerFailedError(told))

    def give_back(self, delivery_tag: str, *, patience_s: float) -> None:
        """Let a message, if it is still held, wait for another worker, later each time; with Redis away it stays."""
        deadline = time.monotonic() + patience_s
        try:
            found = self._insist(lambda: HeldItem.read(self._client, self._keys, delivery_tag), deadline)
            if found is None:
                return
            mark = replace(found.mark, deliveries=found.mark.deliveries + 1)
            delay_s = min(_LONGEST_WAIT_S, 2.0 ** (mark.deliveries - 1))
            self._insist(lambda: self._give_back(found, mark, delivery_tag, delay_s), deadline)
        # It comes back by its visibility timeout.
        except Exception as exc:  # noqa: BLE001
            say(logger, logging.ERROR, "a message could not be given back: %s", error_line(exc))

    def acknowledge(self, delivery_tag: str, *, patience_s: float) -> None:
        """Let go of a message that is done, when the connection it came by is gone."""
        try:
            self._insist(lambda: self._moves.acknowledge({None: [delivery_tag]}), time.monotonic() + patience_s)
        except (_StaysError, redis.RedisError) as exc:
            say(logger, logging.WARNING, "acknowledgement not sent, the message is run again: %s", error_line(exc))

    def _steps(
        self, held: Held, error: BaseException, told: str
    ) -> Iterator[tuple[Later | Dead, Callable[[], TaskMessage | DeadLetter]]]:
        """Yield what may become of a message, and how that is put into words; each plainer than the one before."""
        fate = self._judged(held, error)
        if isinstance(fate, Later):
            yield fate, lambda: self._following(held, told, fate)
        dead = fate if isinstance(fate, Dead) else Dead("failed")
        yield dead, lambda: held.letter(dead.reason, error)
        yield dead, lambda: held.plain_letter(dead.reason, told_plainly(error))

    def _set_aside(self, held: Held, error: PausedError, deadline: float) -> None:
        """Let a message of a paused route wait for its resumption; whoever holds it gives it back if that fails."""
        try:
            found = self._insist(partial(HeldItem.read, self._client, self._keys, held.tag), deadline)
            paused = self._insist(partial(self._paused.read, [error.route]), deadline)
            pause = paused.get(error.route.name)
            name = error.route.name if pause is None else pause.name
            if found is not None:
                item = found.mark.on(found.item)
                aside = partial(self._moves.set_aside, item, tag=held.tag, queue=found.queue, paused_as=name)
                self._insist(aside, deadline)
        # Nothing is wrong with the message, whatever is with Redis.
        except Exception as exc:  # noqa: BLE001
            _say(logging.WARNING, held, "message %s (%s) cannot be set aside, it goes back: %s", told_plainly(exc))
        else:
            _say(logging.DEBUG, held, "message %s (%s) waits: its route is paused")

    def _keeps_for_another(self, held: Held, told: str, deadline: float) -> bool:
        """Give a message back that another release can run; return False when that was waited for long enough."""
        try:
            found = self._insist(partial(HeldItem.read, self._client, self._keys, held.tag), deadline)
            if found is None:
                return True
            since = math.ceil(found.at) if found.mark.unknown_since is None else found.mark.unknown_since
            waited_s = found.at - since
            if waited_s >= self._unknown_wait_s:
                return False
            mark = replace(found.mark, unknown_since=since)
            delay_s = min(_LONGEST_WAIT_S, max(1.0, waited_s / 2), self._unknown_wait_s - waited_s)
            self._insist(partial(self._give_back, found, mark, held.tag, delay_s), deadline)
        except _StaysError as exc:
            _say(logging.ERROR, held, "message %s (%s) stays on its queue: %s", exc)
            return True
        # It is no item that could be given back.
        except Exception as exc:  # noqa: BLE001
            _say(logging.ERROR, held, "message %s (%s) cannot be kept for another release: %s", told_plainly(exc))
            return False
        if held.route not in self._unknown or time.monotonic() - self._unknown[held.route] >= _SAY_AGAIN_S:
            self._unknown = dict(list(self._unknown.items())[-_MOST_REMEMBERED:]) | {held.route: time.monotonic()}
            text = (
                "message %s (%s) goes back to the queue %s, as all of its kind: %s; start workers of the release that "
                "queued it, or it is dead %d s after it was first met"
            )
            _say(logging.ERROR, held, text, found.queue, told, self._unknown_wait_s)
        return True

    def _judged(self, held: Held, error: BaseException) -> Later | Dead:
        try:
            return judge(error, held.message, held.policy)
        # A policy is the application's code, and so may be what it looks at; it may even end its process.
        except BaseException as exc:
            if is_shutdown(exc):
                raise
            text = "message %s (%s): its retry policy fails, the usual one is used: %s"
            _say(logging.ERROR, held, text, told_plainly(exc))
        try:
            return judge(error, held.message, USUAL_POLICY)
        # What the error says of its own delay.
        except BaseException as exc:
            if is_shutdown(exc):
                raise
            return Dead("failed" if held.message is not None else "malformed")

    def _told(self, error: BaseException, message: TaskMessage | None) -> tuple[str, bool]:
        """Return an error in one line as it may be shown, and whether the error itself may not be."""
        redaction = self._redaction
        try:
            if redaction is None:
                return error_line(error), False
            if message is not None:
                envelope = message.envelope
                line = error_line(error, hide=lambda text: redaction.of_text(envelope, text))
                return line, redaction.hides(envelope, error)
        # Its class cannot be named, or what hides a secret has failed: nothing more may be shown.
        except BaseException as exc:
            if is_shutdown(exc):
                raise
            say(logger, logging.DEBUG, "an error cannot be told")
        return printable(type(error).__name__), True

    def _following(self, held: Held, told: str, later: Later) -> TaskMessage:
        message = held.message
        if message is None:
            raise EnvelopeError(problem="it cannot be queued again", data=b"")
        failure = FailedAttempt(at=time.time(), error=told, worker=held.worker)
        strikes = message.strikes + later.is_strike
        return replace(message.failed(failure), strikes=strikes, show_payload=self._show_payloads)

    def _record(self, held: Held, outcome: Later | Dead, made: TaskMessage | DeadLetter) -> DeadLetter | bool | None:
        """Return what is kept; nothing when the message is not held any more."""
        if isinstance(made, DeadLetter):
            return self._dead_letters.bury(made, delivery_tag=held.tag)
        delay_s = outcome.delay_s if isinstance(outcome, Later) else 0.0
        return self._moves.retry_later(made.encode(), tag=held.tag, queue=made.queue, route=made.route, delay_s=delay_s)

    def _give_back(self, found: HeldItem, mark: Mark, tag: str, delay_s: float) -> bool:
        return self._moves.give_back(mark.on(found.item), tag=tag, queue=found.queue, delay_s=delay_s)

    def _insist(self, step: Callable[[], Any], deadline: float) -> Any:
        pause_s, hung_up = 0.1, 0
        while True:
            try:
                return step()
            except UnusableKeyError as exc:
                # Nothing is wrong with the message, and the key may take an operator a while.
                raise _StaysError(str(exc)) from exc
            except redis.RedisError as exc:
                hung_up = hung_up + 1 if self._hangs_up_on_this(exc) else 0
                if not is_away(exc) or hung_up == _HANG_UPS:
                    raise
                # Not recorded, it is run again elsewhere; a worker that is killed because it does not end loses more.
                in_haste = self._stopping is not None and self._stopping.begun
                if time.monotonic() + pause_s > deadline or (in_haste and pause_s > _LONGEST_LAST_PAUSE_S):
                    raise _StaysError(explain(exc)) from exc
                say(logger, logging.WARNING, "outcome not recorded yet, trying again: %s", explain(exc))
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 2)

    def _hangs_up_on_this(self, error: redis.RedisError) -> bool:
        """Return whether Redis hung up on a record and takes another command, as with one that is too large."""
        if type(error) is not redis.ConnectionError:
            return False
        try:
            self._client.time()
        except redis.RedisError:
            return False
        return True


class _StaysError(Exception):
    """Redis takes no record now, of any message."""


def is_away(error: Exception) -> bool:
    """Return whether Redis, as it is now, would take no message; else it is this one that it refuses."""
    if isinstance(error, redis.ResponseError):
        # A refusal of everybody has a code, such as NOPERM.
        return code_of(error) not in ("", "ERR", "WRONGTYPE")
    return isinstance(error, (redis.ConnectionError, redis.TimeoutError))


def is_shutdown(error: BaseException) -> bool:
    """Return whether an exception, whatever it is, comes from the worker's being stopped."""
    return issubclass(type(error), (WorkerShutdown, WorkerTerminate)) or terminate_handler_fired()


def _report(held: Held, outcome: Fate | None, told: str, error: Exception, *, retries: bool) -> None:
    if isinstance(outcome, Dead):
        # With the error itself, for those who listen to the log, such as Sentry; it is written as one line.
        _say(logging.ERROR, held, "message %s (%s) is dead, reason %s: %s", outcome.reason, told, error=error)
    elif isinstance(outcome, Later):
        run = 1 if held.message is None else held.message.retries + 1
        text = "message %s (%s) failed in run %d, next in %.1f s: %s"
        level = logging.ERROR if retries else logging.WARNING
        _say(level, held, text, run, outcome.delay_s, told, error=error if retries else None)
    else:
        # The visibility timeout passed, or the outcome was recorded by an earlier try whose answer was lost.
        text = "message %s (%s) is not in this worker's hands any more; its outcome stands elsewhere"
        _say(logging.WARNING, held, text)


def told_plainly(error: BaseException) -> str:
    """Return an error in one line, whatever its own code does; perhaps no more than its class."""
    try:
        return error_line(error)
    # Not even its text can be cut, or who asks for it is to end.
    except BaseException as exc:
        if is_shutdown(exc):
            raise
        return printable(type(error).__name__)


def _say(level: int, held: Held, text: str, *arguments: object, error: Exception | None = None) -> None:
    extra: dict[str, object] = {"route": held.route, "message_id": held.id, IN_ONE_LINE: True}
    place = held.route
    if held.message is not None:
        # Which device it was is what the reader looks for first.
        topic = extra["topic"] = held.message.envelope.topic[:_MOST_SHOWN]
        place = held.route if topic == held.route else f"{held.route}, topic {topic}"
    say(logger, level, text, held.id or "without an id", place, *arguments, exc_info=error, extra=extra)
