"""Backup and restore, as docs/backup.md has them: the append-only file copied under way, and dead letters in a file."""

import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.desk import Desk, open_desk
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

LETTERS = 70


def copied(store: Redis, folder: Path) -> Redis:
    """Copy the append-only file of a Redis that is written to, and start another one from the copy."""
    with store.client() as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], message="nothing is rewritten")
        shutil.copytree(store.directory / "appendonlydir", folder / "appendonlydir")
        client.config_set("auto-aof-rewrite-percentage", 100)
    restored = Redis(directory=folder, append_only=True)
    restored.start()
    return restored


def test_a_copy_of_the_append_only_file_brings_back_what_waits_and_what_is_dead(
    own_store: Callable[..., Redis], key_prefix: str, tmp_path: Path
) -> None:
    store = own_store(append_only=True)
    bench = Bench(store=store, key_prefix=key_prefix)
    with closing(open_desk(store, key_prefix, tmp_path)) as desks:
        desk = next(desks)
        desk.fill(LETTERS)
        letters = desk.store.page(limit=LETTERS).letters
    before = {bench.put("slow/sleep", "0").id for _ in range(200)}
    later: list[str] = []
    stopped = threading.Event()

    def write() -> None:
        while not stopped.is_set():
            later.append(bench.put("slow/sleep", "0").id)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(later) > 10, message="it is written to")
        restored = copied(store, tmp_path / "restored")
    finally:
        stopped.set()
        writer.join()
    try:
        store.kill()
        again = Bench(store=restored, key_prefix=key_prefix)
        waiting = again.waiting("slow")
        assert waiting > len(before)
        with again.worker("-Q", "slow", "-P", "threads", "-c", "4"):
            notes = again.wait_for_notes("slept", waiting)
        done = {note["id"] for note in notes}
        # What was queued before the copy is there; of what came meanwhile, a beginning.
        assert before <= done
        assert done - before <= set(later)
        with closing(open_desk(restored, key_prefix, tmp_path)) as desks:
            _letters_survive_a_flush(next(desks), letters)
    finally:
        restored.stop()


def _letters_survive_a_flush(desk: Desk, letters: object) -> None:
    assert desk.store.page(limit=LETTERS).letters == letters
    raw = desk.client.hgetall(desk.keys.dead_raw)
    tracebacks = desk.client.hgetall(desk.keys.dead_tracebacks)
    desk.run("export", "letters.jsonl")
    desk.client.flushall()
    assert f"Imported {LETTERS} letters; 0 were there already" in desk.run("import", "letters.jsonl").stdout
    assert desk.store.page(limit=LETTERS).letters == letters
    assert desk.client.hgetall(desk.keys.dead_raw) == raw
    assert desk.client.hgetall(desk.keys.dead_tracebacks) == tracebacks
    some = [letter.id for letter in desk.store.page(limit=3).letters]
    desk.run("replay", *some)
    assert len(desk.queued()) == len(some)
