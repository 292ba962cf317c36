#!/usr/bin/env python3
"""How the dead-letter store behaves when it is large: pages, statistics, replay, memory.

    .venv/bin/python benchmarks/dead_letters.py                        100,000 letters
    .venv/bin/python benchmarks/dead_letters.py --entries 1000000      as many as it is built for

Starts a Redis of its own on a free loopback port, fills it, measures, and stops it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, LetterFilter, Operation, Reason  # noqa: E402
from routemq.envelope import Envelope, TaskMessage  # noqa: E402
from routemq.queues import Keys  # noqa: E402
from tests.servers import Redis  # noqa: E402

ROUTES = [f"plant{number}/{{device_id}}/data" for number in range(10)]
SPAN_S = 14 * 86_400


def controller(kind: int) -> None:
    """Fail in one of a hundred ways, each with a traceback of its own."""
    raise [ValueError, KeyError, RuntimeError, OSError][kind % 4](
        f"no valve {chr(97 + kind // 26)}{chr(97 + kind % 26)}"
    )


def errors() -> list[tuple[Reason, Exception]]:
    made: list[tuple[Reason, Exception]] = []
    reasons: list[Reason] = ["failed", "failed", "failed", "invalid", "timeout", "rejected"]
    for kind in range(100):
        try:
            controller(kind)
        except (ValueError, KeyError, RuntimeError, OSError) as exc:
            made.append((reasons[kind % len(reasons)], exc))
    return made


def letters(count: int) -> Iterator[ArchivedLetter]:
    """Letters spread over two weeks; the payload has some 45 bytes."""
    now = time.time()
    described = errors()
    for number in range(count):
        route = ROUTES[number % len(ROUTES)]
        device = f"d{number % 5000}"
        payload = f'{{"device":"{device}","temperature":21.5,"n":{number}}}'.encode()
        message = TaskMessage(
            route=route,
            queue=route.partition("/")[0] + ".data",
            envelope=Envelope(topic=route.replace("{device_id}", device), payload=payload, received_at=now),
        )
        reason, exc = described[number * 7 % len(described)]
        letter = DeadLetter.of(message, reason=reason, error=exc, worker="celery@worker-1")
        died_at = now - SPAN_S * (count - number) / count
        yield ArchivedLetter(replace(letter, died_at=died_at), message.encode())


def fill(store: DeadLetters, count: int) -> None:
    operation = Operation(actor="benchmark")
    done, batch = 0, []
    for archived in letters(count):
        batch.append(archived)
        if len(batch) == 1000:
            store.import_batch(batch, operation, file_digest="fill", lines_before=done)
            done, batch = done + len(batch), []
    if batch:
        store.import_batch(batch, operation, file_digest="fill", lines_before=done)
    store.import_ended("fill")


@dataclass(frozen=True)
class Figure:
    name: str
    milliseconds: list[float]
    bound_ms: float | None = None

    def as_object(self) -> dict[str, object]:
        ordered = sorted(self.milliseconds)
        return {
            "name": self.name,
            "median_ms": round(statistics.median(ordered), 2),
            "least_ms": round(ordered[0], 2),
            "most_ms": round(ordered[-1], 2),
            "bound_ms": self.bound_ms,
            "runs": len(ordered),
        }


def measure(name: str, action: Callable[[], object], *, runs: int = 7, bound_ms: float | None = None) -> Figure:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1000)
    return Figure(name, times, bound_ms)


def figures(store: DeadLetters, replay_count: int) -> Iterator[Figure]:
    route = ROUTES[3]
    fingerprint = store.stats(most_errors=1).errors[0].name
    middle = store.page(LetterFilter(until=time.time() - SPAN_S / 2), limit=50).next
    pages = {
        "page, all routes": lambda: store.page(limit=50),
        "page, from the middle": lambda: store.page(limit=50, after=middle),
        "page, route": lambda: store.page(LetterFilter(route=route), limit=50),
        "page, reason": lambda: store.page(LetterFilter(reason="rejected"), limit=50),
        "page, route and reason": lambda: store.page(LetterFilter(route=route, reason="invalid"), limit=50),
        "page, error": lambda: store.page(LetterFilter(error=fingerprint), limit=50),
        "page, queue and time": lambda: store.page(
            LetterFilter(queue="plant3.data", since=time.time() - SPAN_S / 2, until=time.time() - SPAN_S / 4), limit=50
        ),
    }
    for name, action in pages.items():
        yield measure(name, action, runs=20, bound_ms=50)
    yield measure("stats", store.stats, bound_ms=200)
    yield measure("histogram, 60 bars", lambda: store.histogram(buckets=60))
    yield measure("page, device (no index)", lambda: store.page(LetterFilter(device="d4999"), limit=5))

    def replay() -> None:
        frozen = store.freeze(LetterFilter(route=route, until=time.time()), actor="benchmark")
        for _ in range(replay_count // 500):
            store.replay_step(frozen)
        store.give_up(frozen)

    yield measure(f"freeze a route, replay {replay_count:,}", replay, runs=3, bound_ms=3000)
    ids = [
        letter.id for _, letter in zip(range(replay_count), store.letters(LetterFilter(route=ROUTES[4])), strict=False)
    ]
    yield measure(f"replay {len(ids):,} by id", lambda: store.replay(ids, actor="benchmark"), runs=1, bound_ms=3000)
    more = [
        letter.id for _, letter in zip(range(replay_count), store.letters(LetterFilter(route=ROUTES[5])), strict=False)
    ]
    yield measure(f"discard {len(more):,} by id", lambda: store.discard(more, actor="benchmark"), runs=1)


def command_line(store_url: str) -> Iterator[Figure]:
    """The whole commands, with the start of Python."""
    env = {"REDIS_URL": store_url, "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    for arguments in (["list", "--route", ROUTES[3]], ["stats"]):
        command = [sys.executable, "-m", "routemq", "dlq", *arguments]

        def run(command: list[str] = command) -> None:
            subprocess.run(command, env=env, cwd=REPOSITORY, check=True, capture_output=True)

        yield measure(f"command: dlq {' '.join(arguments)}", run, runs=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--replay", type=int, default=10_000, help="letters of a replay")
    parser.add_argument("--no-commands", action="store_true", help="leave out the commands, with the start of Python")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(directory=Path(folder))
        server.start()
        try:
            with server.client() as client:
                report(client, server.url, options)
        finally:
            server.stop()


def report(client: object, url: str, options: argparse.Namespace) -> None:
    store = DeadLetters(client, Keys())  # type: ignore[arg-type]
    before = client.info("memory")["used_memory"]  # type: ignore[attr-defined]
    started = time.perf_counter()
    fill(store, options.entries)
    filled_s = time.perf_counter() - started
    used = client.info("memory")["used_memory"] - before  # type: ignore[attr-defined]
    measured = list(figures(store, options.replay))
    if not options.no_commands:
        measured += command_line(url)
    found = [figure.as_object() for figure in measured]
    result = {
        "entries": options.entries,
        "fill_s": round(filled_s, 1),
        "bytes_per_entry": round(used / options.entries),
        "figures": found,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{options.entries:,} dead letters, made in {filled_s:.1f} s, {result['bytes_per_entry']} bytes of Redis each\n"
    )
    print(f"{'':40} {'median':>10} {'least':>10} {'most':>10} {'bound':>8}")
    for figure in found:
        bound = "" if figure["bound_ms"] is None else f"{figure['bound_ms']:,}"
        cells = "".join(f"{figure[name]:>8,.1f} ms" for name in ("median_ms", "least_ms", "most_ms"))
        print(f"{figure['name']:40}{cells} {bound:>8}")


if __name__ == "__main__":
    main()
