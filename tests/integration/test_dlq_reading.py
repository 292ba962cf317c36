"""What `routemq dlq` shows: lists, letters, numbers, and what comes in."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.envelope import FailedAttempt
from routemq.errors import EnvelopeError
from tests.desk import QUEUE, ROUTE, Desk, a_message
from tests.processes import clean_environment, running


def test_list_pages_and_filters(desk: Desk) -> None:
    assert desk.run("list").stderr == "There are no dead letters.\n"
    desk.bury(*(a_message(number) for number in range(5)))
    shown = desk.run("list", "--limit", "2")
    assert "m000004:0" in shown.stdout
    assert "sensors/d3/data" in shown.stdout
    assert "ValueError: no sensor" in shown.stdout
    assert "m000002:0" not in shown.stdout
    assert "2 of 5, newest first" in shown.stderr
    after = shown.stderr.split("--after ")[1].strip()
    lines = desk.run("list", "--json", "--limit", "9", "--after", after).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["m000002:0", "m000001:0", "m000000:0"]
    lines = desk.run(
        "list", "--json", "--device", "d1", "--since", "1h", "--contains", "TEMPERATURE"
    ).stdout.splitlines()
    assert [json.loads(line)["topic"] for line in lines] == ["sensors/d1/data"]
    assert "No dead letter matches device=d9" in desk.run("list", "--device", "d9").stderr


def test_nothing_is_cut_in_a_pipe(redis_desk: Desk) -> None:
    desk, error = redis_desk, ValueError("no sensor " + "x" * 300)
    desk.bury(a_message(1), error=error)
    (line,) = (line for line in desk.run("list").stdout.splitlines() if "m000001:0" in line)
    assert "sensors/d1/data" in line
    assert line.endswith(str(error))
    assert str(error) in desk.run("stats").stdout
    desk.run("discard", "m000001:0")
    (line,) = (line for line in desk.run("audit").stdout.splitlines() if "discard" in line)
    assert line.endswith("m000001:0")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--route", "sensors/{device}/data"], f"No route of that name had any; did you mean {ROUTE}?"),
        (["replay", "--route", "pumps"], f"Routes that had some: {ROUTE}."),
        (["stats", "--route", "pumps"], f"Routes that had some: {ROUTE}."),
        (["lsit"], "No such command 'lsit'. Did you mean 'list'?"),
    ],
)
def test_what_is_misspelled_is_told_with_what_there_is(redis_desk: Desk, arguments: list[str], told: str) -> None:
    redis_desk.bury(a_message(1))
    code = {"list": 0, "stats": 0, "replay": 3}.get(arguments[0], 2)
    assert told in redis_desk.run(*arguments, exit_code=code).stderr


def test_stats_of_a_filter_count_what_matches_it(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(*(a_message(number) for number in range(3)))
    desk.bury(a_message(3), error=KeyError("serial"))
    desk.bury(a_message(4, route="pumps/{id}"), error=KeyError("serial"))

    def found(*filters: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(desk.run("stats", "--json", *filters).stdout)
        return read

    everything, all_in_range = found(), found("--since", "1h")
    for part in ("total", "routes", "reasons", "errors", "error_count"):
        assert everything[part] == all_in_range[part], part
    some = found("--error", "serial")
    # One error, of however many routes.
    assert (some["total"], some["error_count"], [group["count"] for group in some["errors"]]) == (2, 1, [2])
    assert sorted(some["errors"][0]["routes"]) == ["pumps/{id}", ROUTE]
    # What the indexes tell, and what is read letter by letter, is the same.
    fingerprint = some["errors"][0]["fingerprint"]
    for one, other in ((("--error", "serial"), ("--error", fingerprint)), (("--since", "1h"), ("--topic", "#"))):
        by_index, one_by_one = found(*one), found(*other)
        assert {name: by_index[name] for name in by_index if name != "over_time"} == {
            name: one_by_one[name] for name in one_by_one if name != "over_time"
        }
    assert found("--until", "1h")["error_count"] == 0
    assert [group["name"] for group in found("--device", "d1")["routes"]] == [ROUTE]
    assert found("--route", ROUTE, "--top", "1")["error_count"] == 2
    assert sum(bucket["count"] for bucket in some["over_time"]) == 2


def test_show_tells_everything_and_hides_what_would_act_on_the_terminal(redis_desk: Desk) -> None:
    desk = redis_desk
    payload = '{"big": 123456789012345678901234567890, "x": 1.50, "list": [], "text": "ü\x1b[31m"}'.encode()
    first = FailedAttempt(at=1790000100.0, error="KeyError: first", worker="other@host")
    message = a_message(1, payload, generation=1, retries=1, failures=(first,))
    try:
        int("x")
    except ValueError as exc:
        exc.args = ("bad \x1b]0;title\x07",)
        desk.bury(message, error=exc)
    shown = desk.run("show", "m000001:1").stdout
    for text in ('"big": 123456789012345678901234567890,', '"x": 1.50', '"list": []', "sensors/d1/data"):
        assert text in shown
    for text in ("2 failed runs", "KeyError: first", "other@host", 'int("x")', "replayed 1 time before"):
        assert text in shown
    assert r"bad \x1b]0;title\x07" in shown
    assert "\x1b" not in shown
    found = json.loads(desk.run("show", "m000001:1", "--json").stdout)
    assert (found["attempts"], [run["worker"] for run in found["runs"]]) == (2, ["other@host", "w@host"])
    assert desk.run_process("show", "m000001:1", "--payload").stdout == payload
    assert "m000001:1" in desk.run("show", "m000001").stdout
    error = desk.run("show", "nope:0", exit_code=1).stderr
    assert error.startswith("Error: no dead letter 'nope:0'")
    assert error.count("\n") == 1


def test_show_of_bytes_that_are_no_message_is_a_dump(redis_desk: Desk) -> None:
    letter = DeadLetter.bare(
        route=ROUTE, queue=QUEUE, message_id="bad", error=EnvelopeError(problem="x", data=b""), worker="w"
    )
    redis_desk.store.bury_direct([(letter, b"\x00\x1b[31m\xff")])
    shown = redis_desk.run("show", "bad:0").stdout
    assert "000000  00 1b 5b 33 31 6d ff" in shown
    assert "Its bytes are no message" in shown
    refused = redis_desk.run("replay", "bad:0", exit_code=1)
    assert "cannot be replayed: its bytes are no message" in refused.stderr
    assert redis_desk.store.count() == 1


def test_a_long_search_is_stopped_by_ctrl_c(redis_desk: Desk) -> None:
    redis_desk.fill(600)
    program = (
        "import os, signal\n"
        "from routemq.cli.dlq import dlq\n"
        "from routemq.dead_letters.letter_filter import LetterFilter\n"
        "LetterFilter.matches_payload = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "dlq({arguments!r})\n"
    )
    for arguments in (
        ["list", "--contains", "x"],
        ["replay", "--contains", "x", "--yes"],
        ["export", "o", "--contains", "x"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program.format(arguments=arguments)], env=clean_environment(redis_desk.env),
            cwd=redis_desk.folder, capture_output=True, check=False,
        )  # fmt: skip
        # Click below 8.4 begins a line of its own.
        assert (done.returncode, done.stderr.lstrip()[:7], b"Traceback" in done.stderr) == (130, b"Stopped", False)
    assert redis_desk.store.count() == 600
    assert not list(redis_desk.client.scan_iter(f"{redis_desk.prefix}routemq:dlq:replay*"))


def test_stats_count_and_draw(desk: Desk) -> None:
    assert desk.run("stats").stderr == "There are no dead letters.\n"
    store = DeadLetters(desk.client, desk.keys, max_entries=3)
    for number in range(3):
        message = a_message(number)
        letter = DeadLetter.of(message, reason="failed", error=ValueError(f"no sensor {number}"), worker="w")
        store.bury_direct([(letter, message.encode())])
    shown = desk.run("stats").stdout
    assert f"FULL: {ROUTE}" in shown
    assert "3 dead letters by time of death" in shown
    assert "█" in shown
    assert "DLQ_RETENTION_DAYS" not in shown
    found = json.loads(desk.run("stats", "--json").stdout)
    assert (found["total"], found["error_count"], found["errors"][0]["count"]) == (3, 1, 3)
    assert sum(bucket["count"] for bucket in found["over_time"]) == 3


def test_one_is_told_as_one(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1))
    assert "\n1 dead letter by time of death" in desk.run("stats").stdout
    told = desk.run("replay", "--reason", "failed", "--yes", "--canary", "1", "--canary-wait", "1", exit_code=4).stderr
    assert ": 1 letter.\n" in told
    assert "1 canary is replayed; waiting up to 1 s" in told
    assert "1 of 1 canary has not run yet" in told
    assert "1 of 1 letter is done, 0 are as they were" in told


def test_stats_point_out_what_is_too_old_and_stays(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(3, age_s=3 * 86_400)
    desk.bury(a_message(77))
    shown = desk.run("stats", DLQ_RETENTION_DAYS="2").stdout
    assert "3 are older than DLQ_RETENTION_DAYS=2; without DLQ_ARCHIVE_DIR none is removed." in shown
    assert json.loads(desk.run("stats", "--json", DLQ_RETENTION_DAYS="2").stdout)["overdue"] == {"count": 3, "days": 2}
    archived = desk.run("stats", DLQ_RETENTION_DAYS="2", DLQ_ARCHIVE_DIR=str(desk.folder)).stdout
    assert "DLQ_RETENTION_DAYS" not in archived + desk.run("stats", DLQ_RETENTION_DAYS="0").stdout
    told = shown.split("routemq dlq ")[1].splitlines()[0]
    desk.run(*told.split())
    assert desk.store.count() == 1


def test_tail_follows(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1))
    with running(desk.argv("tail", "--json", "--device", "d2"), cwd=desk.folder, env=desk.env) as process:
        with running(desk.argv("tail"), cwd=desk.folder, env=desk.env) as other:
            other.wait_for_output("m000001:0")
            desk.bury(a_message(2), a_message(3))
            other.wait_for_output("m000003:0")
            process.wait_for_output("m000002:0")
            other.signal(signal.SIGINT)
            assert other.wait() == 130
        assert "m000003" not in process.output()
