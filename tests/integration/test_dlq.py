"""`routemq dlq` as its user runs it: real processes on a real store; what all of its commands have in common."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk import ROUTE, Desk, a_message
from tests.processes import clean_environment


def test_discard_and_purge_ask_before_they_destroy(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(5, age_s=86_400)
    desk.bury(a_message(77))
    assert "6 letters would be discarded, the" in desk.run("discard", "--route", ROUTE).stdout
    assert "discarded for good" in desk.run("discard", "--route", ROUTE, "--for-good").stdout
    assert "written nowhere" in desk.run("purge", "--older-than", "1h", "--no-export").stdout
    assert desk.store.count() == 6
    assert "Discarded 1 letter" in desk.run("discard", "m000000:0", "nope:0", exit_code=1).stdout
    assert "removed 4 letters" in desk.run("purge", "--older-than", "1h").stdout
    assert [letter.id for letter in desk.store.letters()] == ["m000077:0"]
    assert desk.run("purge", "--older-than", "1h", exit_code=3).stderr.startswith("No dead letter matches")
    assert "write 90s" in desk.run("purge", "--older-than", "soon", exit_code=2).stderr


def test_a_letter_of_a_clock_that_was_ahead_is_not_told_to_be_none(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(1, age_s=-3600)
    assert " until=" in desk.run("discard", "--route", ROUTE, "--yes", exit_code=3).stderr
    assert "Discarded 1 letter" in desk.run("discard", "m000000:0").stdout
    assert " until=" not in desk.run("discard", "--route", ROUTE, "--yes", exit_code=3).stderr


def test_redis_away_is_one_line(redis_desk: Desk) -> None:
    error = redis_desk.run_process("stats", exit_code=1, REDIS_URL="redis://127.0.0.1:1/0").stderr
    assert error.startswith(b"Error: Redis cannot be reached")
    assert error.count(b"\n") == 1


def test_celery_knows_the_same_commands_and_exit_codes(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1), a_message(2))
    env = {"PYTHONPATH": str(desk.folder)}
    celery = (str(Path(sys.executable).with_name("celery")), "-A", "routemq", "dlq")

    def run(*arguments: str, **more: str) -> tuple[int, bytes]:
        done = subprocess.run([*celery, *arguments], env=clean_environment(desk.env | env | more), cwd=desk.folder,
                              capture_output=True, check=False)  # fmt: skip
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    assert run("replay", "m000001:0") == (0, b"Replayed 1 letter to the queue sensors.data.\n")
    assert run("show", "m000001:0")[0] == 1
    assert run("list", ROUTEMQ_TRANSPORT="pigeon") == (
        2, b"Error: ROUTEMQ_TRANSPORT='pigeon' cannot be used: one of 'routemq' or 'stock'\n",
    )  # fmt: skip
    assert run("discard", "--device", "d9", "--yes")[0] == 3


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_what_a_terminal_cannot_show_is_replaced(redis_desk: Desk, encoding: str) -> None:
    desk, error = redis_desk, "größer … ☃ als " + "x" * 300
    desk.bury(a_message(1, f'{{"a": "{error}"}}'.encode()), a_message(2), error=ValueError(error))
    written = error.encode(encoding, "replace").replace(b" ? ", b" ~ ", 1)[:20]
    # Click takes ASCII for a mistake, and writes UTF-8.
    desk.run_process("replay", "--all", PYTHONIOENCODING=encoding)
    for command in ("list", "show m000001:0", "stats"):
        assert written in desk.run_process(*command.split(), PYTHONIOENCODING=encoding).stdout, command
    # JSON is UTF-8 for whoever reads it.
    for command in ("list --json", "show m000001:0 --json", "stats --json", "export -"):
        assert error.encode() in desk.run_process(*command.split(), PYTHONIOENCODING=encoding).stdout, command
    assert b"Put dead letters" in desk.run_process("replay", "--help", PYTHONIOENCODING=encoding).stdout


@pytest.mark.parametrize("command", ["list", "list --json --limit=300", "stats", "export -", "--help"])
def test_output_that_nobody_reads_ends_in_silence(redis_desk: Desk, command: str) -> None:
    desk = redis_desk
    desk.fill(300)
    whole = shlex.join(desk.argv(*command.split()))
    ends = (("| head -c 1", b""), (">/dev/full", b"Error: cannot write: No space left on device\n"), (">&-", b""))
    for end, told in ends:
        done = subprocess.run(
            ["bash", "-c", f"{whole} {end}"], env=clean_environment(desk.env), cwd=desk.folder, capture_output=True,
            check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr
        assert told in done.stderr


def test_help_documents_exit_codes_and_every_command(redis_desk: Desk) -> None:
    shown = redis_desk.run("--help").stdout
    assert "Exit codes:" in shown
    for name in ("list", "show", "stats", "replay", "discard", "export", "import", "purge", "tail", "audit"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize(
    "command", ["list", "tail", "export f.jsonl", "discard --yes", "replay --yes", "purge --older-than=1s"]
)
def test_an_option_whose_variable_is_unset_stops_a_command(redis_desk: Desk, command: str) -> None:
    redis_desk.bury(a_message(1), a_message(2))
    for option in ("route", "queue", "reason", "error", "topic", "device", "since", "until", "contains"):
        for value in ("", "  "):
            done = redis_desk.run(*command.split(), f"--{option}", value, exit_code=2)
            assert f"--{option}" in done.output
    assert redis_desk.store.count() == 2
    assert not list(redis_desk.folder.glob("*.jsonl"))


def test_benchmark_runs(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "dead_letters.py"
    argv = [sys.executable, str(script), "--entries", "1000", "--replay", "100", "--json", "--no-commands"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True, env=clean_environment())
    found = json.loads(done.stdout)
    assert found["entries"] == 1000
    assert {"stats", "page, error"} <= {figure["name"] for figure in found["figures"]}
