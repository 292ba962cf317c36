"""Workers that are killed in the middle of a step, and networks that die without a word."""

from pathlib import Path

from tests.crashes import CrashBench, Findings
from tests.redis_proxy import RedisProxy
from tests.servers import Redis
from tests.transport import Bench


def test_a_worker_killed_in_the_middle_of_a_step_loses_nothing(redis_server: Redis, key_prefix: str) -> None:
    findings = Findings()
    bench = CrashBench(store=redis_server, key_prefix=key_prefix)
    # One crash in each script; `python -m benchmarks.crash_transport` makes many more, at each moment.
    for findings in bench.run(4):
        assert (findings.lost, findings.twice, findings.miscounted) == (set(), set(), 0)
    assert len(findings.steps) == findings.crashes == 4
    bench.drain(findings)
    assert (findings.lost, findings.twice, findings.miscounted) == (set(), set(), 0)


def test_the_same_crashes_lose_messages_with_celerys_own_transport(redis_server: Redis, key_prefix: str) -> None:
    *_, findings = CrashBench(store=redis_server, key_prefix=key_prefix, transport="stock").run(2)
    assert findings.crashes == 2
    assert findings.lost


def test_a_connection_that_died_without_a_word_is_given_up(
    redis_server: Redis, key_prefix: str, tmp_path: Path
) -> None:
    proxy = RedisProxy(redis_server.host, redis_server.port)
    bench = Bench(
        store=redis_server,
        key_prefix=key_prefix,
        runs_path=tmp_path / "runs.jsonl",
        url=f"redis://127.0.0.1:{proxy.port}/0",
    )
    try:
        with bench.worker("-P", "threads", "-c", "2", socket_timeout=3) as worker:
            bench.put("before")
            bench.wait_for(["before"])
            bench.wait_until_nothing_is_held()
            proxy.mute()
            bench.put("after")
            bench.wait_for(["after"])
            bench.wait_until_nothing_is_held()
            assert worker.is_alive
    finally:
        proxy.close()
