"""`routemq bench`: one command, its own servers, figures, and nothing left behind."""

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.environments import NotHereError, programs_of
from tests.processes import clean_environment, running, wait_until
from tests.servers import HOST, REPOSITORY, free_port


def processes_of(folder: Path) -> list[str]:
    """Return the command lines and working directories of what runs in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def test_bench_runs_with_nothing_installed_and_touches_nothing_configured(tmp_path: Path) -> None:
    # Nothing answers there: whoever asked would fail.
    configured = {"MQTT_BROKER": HOST, "MQTT_PORT": str(free_port()), "REDIS_URL": f"redis://{HOST}:{free_port()}/0"}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = clean_environment({**configured, "TMPDIR": str(temporary), "PATH": str(Path(sys.executable).parent)})
    command = [
        sys.executable,
        "-m",
        "routemq",
        "bench",
        "--rounds",
        "1",
        "--workers",
        "1",
        "--seconds",
        "0.3",
        "--batch",
        "50",
        "--json",
    ]
    with running(command, cwd=tmp_path, env=env) as process:
        assert process.wait() == 0, process.output()
        found = json.loads(process.output())
    assert found["batch"] == 50
    assert (found["mqtt_broker"], found["redis"]) == ("embedded", "Valkey")
    for side in "routemq", "naive":
        assert found[side]["lost"] == found[side]["duplicates"] == 0
        assert found[side]["published"] > 500
        assert found[side]["end_to_end_per_s"]["median"] > 0
        assert found[side]["processor_us"]["median"] > 0
        assert found[side]["steady_processor_us"]["median"] > 0
        assert 0 < found[side]["latency_p50_ms"]["median"] <= found[side]["latency_p99_ms"]["median"]
    assert list(temporary.iterdir()) == []
    assert processes_of(temporary) == []


def test_peers_are_measured_in_one_run_and_who_cannot_take_part_is_told_of(tmp_path: Path) -> None:
    # No package is fetched for these two.
    command = [sys.executable, "-m", "benchmarks.peers", "--only", "routemq-solo,celery-solo", "--rounds", "1"]
    command += ["--seconds", "0.1", "--json", str(tmp_path / "figures.json"), "--svg", str(tmp_path / "figures.svg")]
    with running(command, cwd=REPOSITORY, env=clean_environment({})) as process:
        assert process.wait() == 0, process.output()
        assert "Celery, 2 solo" in process.output()
    found = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    for contestant in "routemq-solo", "celery-solo":
        figures = found[contestant]
        assert figures["backlog_per_s"]["median"] > 0
        assert figures["end_to_end_per_s"]["median"] > 0
        assert figures["why_not"] is None
        assert figures["published"] > 800
    # What a rival loses is its own affair.
    assert found["routemq-solo"]["lost"] == found["routemq-solo"]["duplicates"] == 0
    assert "Celery, 2 solo" in (tmp_path / "figures.svg").read_text("utf-8")
    with pytest.raises(NotHereError, match=r"^needs Python 3\.99, not on this machine$"):
        programs_of(tmp_path, ["faster==1"], minor=99)


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    command = ["routemq", "bench", "--no-peer", "--pool", "prefork", "--workers", "1", "--seconds", "30"]
    with running(command, cwd=tmp_path, env=env) as process:
        wait_until(lambda: list(tmp_path.glob("*/routemq-runs/*.runs")), message="messages are run")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
