"""Changes of many letters in the background of Flower."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from routemq_flower.change_progress import Action, ChangeProgress
from routemq_flower.operations import Operations

from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter, ReplayOptions
from routemq.dead_letters.replaying import ReplayPace
from routemq.dead_letters.strange_routes import StrangeRoutes
from routemq.envelope import Envelope, TaskMessage
from routemq.queues import Keys
from routemq.routing import Router
from tests.processes import wait_until
from tests.servers import Redis

STRANGE = StrangeRoutes(router=Router(), wait_s=600)
BY_INDEX, BY_SEARCH = LetterFilter(route="r", until=1e10), LetterFilter(contains="NUMBER", until=1e10)


def bury(store: DeadLetters, count: int, generation: int = 0) -> None:
    messages = [
        TaskMessage(
            route="r", queue="q", id=f"m{number:06}", generation=generation,
            envelope=Envelope(topic="r", payload=b"number"),
        )
        for number in range(count)
    ]  # fmt: skip
    store.bury_direct(
        [(DeadLetter.of(m, reason="failed", error=ValueError(), worker="w"), m.encode()) for m in messages]
    )


def ended(progress: ChangeProgress) -> ChangeProgress:
    wait_until(lambda: progress.state != "running")
    return progress


class Watched(DeadLetters):
    """Tells when a step is done."""

    after_step: Callable[[], None] = staticmethod(lambda: None)

    def replay_step(self, *args: Any, **options: Any) -> Any:
        result = super().replay_step(*args, **options)
        self.after_step()
        return result

    def discard(self, *args: Any, **options: Any) -> Any:
        result = super().discard(*args, **options)
        self.after_step()
        return result


@pytest.mark.parametrize("wanted", [BY_INDEX, BY_SEARCH], ids=["by index", "by search"])
@pytest.mark.parametrize("action", ["replay", "discard"])
def test_a_change_is_stopped_and_the_rest_stays(
    redis_server: Redis, key_prefix: str, action: Action, wanted: LetterFilter
) -> None:
    with redis_server.client() as client:
        store = Watched(client, Keys(key_prefix))
        bury(store, 1200)
        operations = Operations(store, STRANGE)

        def stop_all() -> None:
            for progress in operations.running():
                progress.stop()

        store.after_step = stop_all
        stopped = ended(operations.start(action, wanted, actor="ana", options=ReplayOptions()))
        assert (stopped.state, stopped.done, store.count()) == ("stopped", 500, 700)

        # What is left of a replay is taken up again; a discard is simply begun again.
        store.after_step = lambda: None
        if action == "replay":
            (unfinished,) = store.unfinished_replays()
            again = ended(operations.resume(unfinished))
        else:
            again = ended(operations.start(action, wanted, actor="ana", options=ReplayOptions()))
        assert (again.state, store.count()) == ("done", 0)
        assert client.llen(Keys(key_prefix).queue("q")) == (1200 if action == "replay" else 0)
        assert store.unfinished_replays() == ()
        assert not list(client.scan_iter(f"{key_prefix}routemq:dlq:replay-ids*"))


def test_refusals_are_told_in_words_of_the_page(redis_server: Redis, key_prefix: str) -> None:
    with redis_server.client() as client:
        store = DeadLetters(client, Keys(key_prefix))
        bury(store, 2, generation=3)
        progress = ended(Operations(store, STRANGE).start("replay", BY_INDEX, actor="ana", options=ReplayOptions()))
        assert (progress.refused, progress.needs_force) == (2, 2)
        assert progress.refusals == ["it died again after 3 replays"] * 2
        assert store.count() == 2
        forced = Operations(store, STRANGE).start("replay", BY_INDEX, actor="ana", options=ReplayOptions(force=True))
        assert ended(forced).done == 2


@pytest.mark.parametrize("wanted", [BY_INDEX, BY_SEARCH, ["m000001:0", "gone:0"]], ids=["index", "search", "ids"])
def test_a_replay_warns_of_routes_that_this_release_does_not_have(
    redis_server: Redis, key_prefix: str, wanted: LetterFilter | list[str]
) -> None:
    router = Router()
    with redis_server.client() as client:
        store = DeadLetters(client, Keys(key_prefix))
        bury(store, 3)
        operations = Operations(store, STRANGE)
        progress = ended(operations.start("replay", wanted, actor="ana", options=ReplayOptions()))
        assert progress.warning is not None
        assert "no route for letters of r. Replayed, they wait" in progress.warning
        assert progress.as_json()["warning"] == progress.warning
        bury(store, 3, generation=1)
        router.on("r", lambda: None, name="r", queue="q")
        known = Operations(store, StrangeRoutes(router=router, wait_s=600))
        assert ended(known.start("replay", BY_INDEX, actor="ana", options=ReplayOptions())).warning is None


def test_a_replay_that_runs_is_not_run_twice(redis_server: Redis, key_prefix: str) -> None:
    with redis_server.client() as client:
        store = DeadLetters(client, Keys(key_prefix))
        bury(store, 30)
        operations = Operations(store, STRANGE)
        begun = operations.start("replay", BY_INDEX, actor="ana", options=ReplayOptions(), pace=ReplayPace(canary=10))
        wait_until(lambda: begun.done == 10)
        # Another person would let the others follow, whatever becomes of the canaries.
        assert operations.resume(store.unfinished_replays()[0]) is begun
        begun.stop()
        assert (ended(begun).state, store.count()) == ("stopped", 20)
        again = operations.resume(store.unfinished_replays()[0])
        assert (ended(again).state, store.count()) == ("done", 0)


@pytest.mark.parametrize(
    ("error", "has_traceback"), [(redis.ConnectionError("gone"), False), (ZeroDivisionError(), True)]
)
def test_what_a_server_refuses_is_logged_in_one_line(
    redis_server: Redis, key_prefix: str, caplog: pytest.LogCaptureFixture, error: Exception, has_traceback: bool
) -> None:
    def fail() -> None:
        raise error

    with redis_server.client() as client:
        store = Watched(client, Keys(key_prefix))
        store.after_step = fail
        bury(store, 1)
        failed = ended(Operations(store, STRANGE).start("discard", BY_INDEX, actor="ana", options=ReplayOptions()))
    assert failed.state == "failed"
    assert [bool(record.exc_info) for record in caplog.records] == [has_traceback]
