"""The threads beside a worker's pool go on, whatever goes wrong, and whether the system has one for each at first."""

from routemq_tasks.done_counter import DoneCounter
from routemq_tasks.promoter import RetryPromoter

from routemq.connections import connect_redis
from routemq.queues import Keys
from routemq.settings import Settings
from tests.processes import no_more_threads, wait_until

SETTINGS = Settings(_env_file=None, redis_url="redis://127.0.0.1:1")  # type: ignore[call-arg]


def test_retries_come_due_also_after_an_error_of_any_kind() -> None:
    asked: list[int] = []

    def queues() -> list[str]:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("dictionary changed size during iteration")
        return []

    promoter = RetryPromoter(SETTINGS, queues)
    promoter.start()
    wait_until(lambda: len(asked) >= 2, message="it goes on")
    promoter.stop()


def test_what_is_done_is_counted_also_where_there_is_no_thread_yet() -> None:
    counter = DoneCounter(connect_redis(SETTINGS), Keys("k:"))
    with no_more_threads():
        counter.count("route")
    counter.count("route")
    counter.close()
