"""`routemq bench`: one command, its own servers, figures, and nothing left behind."""

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import clean_environment, running, wait_until
from tests.servers import HOST, free_port


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


@pytest.mark.timeout(120)
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
        "--json",
    ]
    with running(command, cwd=tmp_path, env=env) as process:
        assert process.wait(100) == 0, process.output()
        found = json.loads(process.output())
    assert (found["mqtt_broker"], found["redis"]) == ("embedded", "Valkey")
    for side in "routemq", "naive":
        assert found[side]["lost"] == found[side]["duplicates"] == 0
        assert found[side]["published"] > 500
        assert found[side]["end_to_end_per_s"]["median"] > 0
        assert found[side]["processor_us"]["median"] > 0
        assert 0 < found[side]["latency_p50_ms"]["median"] <= found[side]["latency_p99_ms"]["median"]
    assert list(temporary.iterdir()) == []
    assert processes_of(temporary) == []


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    command = ["routemq", "bench", "--no-peer", "--pool", "prefork", "--workers", "1", "--seconds", "30"]
    with running(command, cwd=tmp_path, env=env) as process:
        wait_until(lambda: list(tmp_path.glob("*/routemq-runs/*.runs")), timeout_s=30, message="messages are run")
        process.signal(signal.SIGINT)
        assert process.wait(25) == 130
        assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
