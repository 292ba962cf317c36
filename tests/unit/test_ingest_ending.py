"""When a broker is believed to have nothing more for a session."""

from dataclasses import dataclass
from typing import Any

from routemq_ingest.ending import Fence


@dataclass
class Connection:
    """What a fence asks of a connection; a broker behind it answers each PING at once."""

    owed: int = 0
    published: int = 0
    pongs: int = 0
    answers: bool = True

    def want_write(self) -> bool:
        return False

    def ping(self) -> int:
        self.pongs += self.answers
        return self.pongs + (not self.answers)


def passes_within(fence: Fence, now: float, *, seconds: int) -> bool:
    return any(fence.passed(now + tenth / 10) for tenth in range(10 * seconds))


def fence_of(**state: Any) -> tuple[Fence, Connection]:
    connection: Any = Connection(**state)
    return Fence(connection), connection


def test_two_answered_pings_pass() -> None:
    fence, connection = fence_of()
    assert passes_within(fence, 100.0, seconds=1)
    assert connection.pongs == 2


def test_what_is_owed_may_hold_more_back_however_the_broker_answers() -> None:
    """A receive maximum of one: the next PUBLISH comes after the PUBACK, which waits for Redis."""
    fence, connection = fence_of(published=1, owed=1)
    assert not passes_within(fence, 100.0, seconds=60)
    connection.owed = 0
    assert not fence.passed(200.0)
    connection.published, connection.owed = 2, 1
    assert not passes_within(fence, 201.0, seconds=60)
    connection.owed = 0
    assert passes_within(fence, 300.0, seconds=2)


def test_a_broker_that_answers_no_ping_may_have_more() -> None:
    fence, _ = fence_of(answers=False)
    assert not passes_within(fence, 100.0, seconds=60)


def test_a_message_between_two_pings_begins_them_anew() -> None:
    fence, connection = fence_of()
    for second in range(10):
        assert not fence.passed(100.0 + second / 10)
        connection.published += 1
    assert passes_within(fence, 102.0, seconds=2)
