"""Dead letters are kept within their limits: by a sweep, and by the workers that do it."""

import time
from pathlib import Path

import pytest
from routemq_tasks.retention_keeper import RetentionKeeper

from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, LetterFilter
from routemq.dead_letters.retention import Retention, SweepError, file_name
from routemq.settings import Settings
from tests.desk import QUEUE, ROUTE, Desk, a_message
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis
from tests.workers import Bench


def retention(desk: Desk, **options: object) -> Retention:
    settings = Settings(redis_url=desk.url, ROUTEMQ_KEY_PREFIX=desk.prefix, **options)  # type: ignore[call-arg,arg-type]
    return Retention(settings, desk.client)


def test_retention_archives_before_it_removes(desk: Desk) -> None:
    desk.fill(20, age_s=3 * 86_400)
    desk.bury(*(a_message(number) for number in range(100, 130)))
    archive = desk.folder / "archive"
    assert retention(desk, dlq_retention_days=2).sweep() == 0
    with pytest.raises(Exception, match=r"cannot write .*No such file"):
        retention(desk, dlq_retention_days=2, dlq_archive_dir=archive).sweep()
    assert desk.store.count() == 50
    archive.mkdir()
    assert retention(desk, dlq_retention_days=2, dlq_archive_dir=archive).sweep() == 20
    assert retention(desk, dlq_max_entries=20, dlq_archive_dir=archive).sweep() == 12
    assert desk.store.count() == 18
    (path,) = archive.iterdir()
    desk.run("import", str(path))
    assert desk.store.count() == 50


def test_one_routes_failure_keeps_no_other_from_the_archive(redis_desk: Desk) -> None:
    desk, folder = redis_desk, redis_desk.folder / "archive"
    folder.mkdir()
    routes = ["a", "b/" + "ü" * 200, "c", "d/\N{SNOWMAN}/../x"]
    for number, route in enumerate(routes):
        desk.bury(*(a_message(10 * number + each, route=route) for each in range(3)))
    # Another application's key under our name; a folder where a file should be.
    desk.client.delete(desk.keys.dead_by_time("a"))
    desk.client.hset(desk.keys.dead_by_time("a"), "x", "y")
    (folder / time.strftime(f"dead-letters-%Y%m%d-{file_name('c')}.jsonl", time.gmtime())).mkdir()
    sweeper = retention(desk, dlq_max_entries=1, dlq_archive_dir=folder)
    with pytest.raises(SweepError, match=r"of a are not archived: ResponseError: .*and 1 more route\)"):
        sweeper.sweep()
    lines = [line for path in folder.glob("*.jsonl") if path.is_file() for line in path.read_bytes().splitlines(True)]
    archived = [ArchivedLetter.from_line(line, source="f", number=1).letter.route for line in lines]
    assert sorted(archived) == sorted([routes[1], routes[3]] * 3)
    assert desk.store.count(LetterFilter(route="c")) == 3
    desk.client.delete(desk.keys.dead_by_time("a"))
    shown = desk.run("stats")
    assert "NOT ARCHIVED: dead letters of a are not archived" in " ".join(shown.stdout.split())
    next(path for path in folder.glob("*.jsonl") if path.is_dir()).rmdir()
    assert sweeper.sweep() == 3
    assert "NOT ARCHIVED" not in desk.run("stats").stdout


def test_what_looks_after_the_limits_outlives_any_error(redis_desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk, folder = redis_desk, redis_desk.folder / "archive"
    desk.fill(3, age_s=3 * 86_400)
    options = {"redis_url": desk.url, "ROUTEMQ_KEY_PREFIX": desk.prefix, "dlq_archive_dir": folder}
    desk.client.sadd(desk.keys.dead_retention_lock, "of another program")
    # It has no folder.
    keeper = RetentionKeeper(Settings(**options, dlq_retention_days=2), sweep_s=0.1)  # type: ignore[arg-type]
    keeper.start()
    try:
        wait_until(lambda: f"{desk.keys.dead_retention_lock!r} is a set" in caplog.text)
        desk.client.delete(desk.keys.dead_retention_lock)
        desk.client.set(desk.keys.dead_retention_lock, "for ever")
        wait_until(lambda: "is a key that stays" in caplog.text)
        desk.client.delete(desk.keys.dead_retention_lock)
        wait_until(lambda: "cannot write" in caplog.text)
        folder.mkdir()
        wait_until(lambda: not desk.store.count(), message="it goes on")
    finally:
        keeper.stop()
        keeper.join(PATIENCE_S)
    assert caplog.text.count("cannot write") == 1


def test_full_route_is_named_until_there_is_room(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    store = DeadLetters(desk.client, desk.keys, max_entries=2)
    for number in range(2):
        message = a_message(number)
        store.bury_direct([(DeadLetter.of(message, reason="failed", error=ValueError(), worker="w"), message.encode())])
    retention(desk, dlq_max_entries=2).sweep()
    assert f"route {ROUTE} is not consumed" in caplog.text
    assert store.full_routes() == {ROUTE: QUEUE}
    retention(desk, dlq_max_entries=9).sweep()
    assert store.full_routes() == {}
    assert store.count(LetterFilter()) == 2


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_full_route_is_not_consumed_until_there_is_room(bench: Bench, pool: str) -> None:
    with bench.store.client() as client, bench.worker("-Q", "work", "-P", pool, env={"DLQ_MAX_ENTRIES": "3"}) as worker:
        store = DeadLetters(client, bench.keys)
        for number in range(3):
            bench.put("act/reject", str(number))
        bench.wait_for_letters(3)
        worker.wait_for_output("queue work.act is not consumed any more")
        # Celery says so when its own thread has done it.
        worker.wait_for_output("Canceling queue work.act")
        waiting = bench.put("act/fine")
        bench.put("raw/x")
        bench.wait_for_notes("raw", 1)
        assert bench.waiting("work.act") == 1

        store.discard([store.page(limit=1).letters[0].id], actor="test")
        wait_until(lambda: waiting.id in {note["id"] for note in bench.notes("act")})
        assert worker.terminate() == 0


def test_what_is_too_much_goes_to_the_archive(bench: Bench, tmp_path: Path) -> None:
    with bench.store.client() as client:
        store = DeadLetters(client, bench.keys)
        with bench.worker("-Q", "work", "-P", "threads") as worker:
            for number in range(12):
                bench.put("act/reject", str(number))
            bench.wait_for_letters(12)
            assert worker.terminate() == 0
        env = {"DLQ_MAX_ENTRIES": "10", "DLQ_ARCHIVE_DIR": str(tmp_path)}
        with bench.worker("-Q", "work", "-P", "threads", env=env) as worker:
            worker.wait_for_output("archived 3 dead letters")
            assert worker.terminate() == 0
        assert store.count() == 9
        (path,) = tmp_path.iterdir()
        assert len(path.read_text("utf-8").splitlines()) == 3
