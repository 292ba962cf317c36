"""`scripts/demo`: everything that was published is accounted for."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

from tests.processes import clean_environment
from tests.servers import HOST, REPOSITORY, free_port


def test_short_demo_accounts_for_every_message_and_leaves_nothing(tmp_path: Path) -> None:
    # What is configured is not touched: nothing answers there, and the demo does not ask.
    configured = {"MQTT_BROKER": HOST, "MQTT_PORT": str(free_port()), "REDIS_URL": f"redis://{HOST}:{free_port()}/0"}
    env = clean_environment({**configured, "VENV": sys.prefix, "TMPDIR": str(tmp_path)})
    run = subprocess.run(
        ["scripts/demo", "--for", "5", "--json", "--no-flower"],
        cwd=REPOSITORY, env=env, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    account = json.loads(run.stdout)
    assert account["done"] > 0
    assert account["lost"] == 0
    assert account["published"] == account["received"] == account["done"] + account["dead"] + account["queued"]
    assert account["published"] > 100
    assert list(tmp_path.iterdir()) == []
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(tmp_path) in command] == []
