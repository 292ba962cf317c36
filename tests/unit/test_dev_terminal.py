from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from routemq_dev import reloading, run_notes
from routemq_dev.demo_table import DemoTable
from routemq_dev.dev_session import DevOptions, route_changes
from routemq_dev.progress import RouteProgress
from routemq_dev.run_notes import RunNotes
from routemq_dev.runner import DevRunner
from routemq_dev.state import StateFolderError, state_folder
from routemq_dev.stray_routers import stray_routers

from routemq.errors import RouteMQError
from routemq.supervision.stop import Stop

RETRY = "2026-01-01 12:00:00,000 WARNING r.o: message {id} ({place}) failed in run 1, next in 1.1 s: E"
DEATH = "2026-01-01 12:00:00,000 ERROR r.o: message {id} (a/{{b}}, topic a/1) is dead, reason failed: E"


def test_retries_are_folded_route_by_route() -> None:
    said: list[tuple[str, str]] = []
    notes = RunNotes(lambda name, text: said.append((name, text)), lambda _: None)
    lines = [RETRY.format(id=number, place=place) for place in ("a/{b}, topic a/1", "c") for number in range(3)]
    assert [notes.is_folded("worker a", line) for line in lines] == [False, True, True, False, True, True]
    assert not notes.is_folded("worker a", "printed by a controller")
    notes.flush()
    assert said == []
    notes.flush(everything=True)
    assert said == [("worker a", "a/{b}: 2 more retries in 0 s"), ("worker a", "c: 2 more retries in 0 s")]
    assert not notes.is_folded("worker a", lines[0])


def test_what_is_folded_is_told_though_no_line_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.processes import wait_until

    monkeypatch.setattr(run_notes, "_FOLD_S", 0.2)
    said: list[str] = []
    notes = RunNotes(lambda _, text: said.append(text), lambda _: None)
    for number in range(2):
        notes.is_folded("worker a", RETRY.format(id=number, place="c"))
    wait_until(lambda: said, message="the retry is told of")


def test_a_death_says_how_to_look_at_it_and_many_say_it_once() -> None:
    dead: list[str] = []
    notes = RunNotes(lambda _name, _text: None, dead.append)
    for number in range(3):
        notes.shown(DEATH.format(id=number))
    assert dead == ["0"]


def test_a_router_outside_the_package_is_found(tmp_path: Path) -> None:
    declares = "from routemq import Router\nrouter = Router()\nrouter.on('a', print)\n"
    for name, text in {
        "app/routers/a.py": declares,
        "app/doors.py": declares,
        "app/base.py": "from routemq import Router\nrouter = Router()\n",
        "app/broken.py": "from routemq import Router(\n",
        "app/other.py": "router = object()\nrouter.on('a')\n",
        "app/grouped.py": "import routemq\nr = routemq.Router()\nwith r.group('a') as g:\n    g.on('b', print)\n",
        "app/__init__.py": "",
        "tests/__init__.py": "",
        "tests/test_it.py": declares,
        ".venv/lib/x.py": declares,
        "programs/other/__init__.py": declares,
        "top.py": declares,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "app" / "bytes.py").write_bytes(b"\xff routemq Router")
    (tmp_path / "app" / "gone.py").symlink_to(tmp_path / "nowhere")
    found = stray_routers(tmp_path, ["app/routers/a.py:3"])
    assert found == ["app/doors.py", "app/grouped.py", "top.py"]


def test_what_became_of_the_routes_is_said_in_a_line() -> None:
    row = {"name": "a", "qos": 1, "source": "x:1", "example": "1", "example_topic": "a/1", "paused": None}
    assert list(route_changes([row], [row | {"source": "x:2", "example": "2", "example_topic": "a/2"}])) == []
    assert list(route_changes([row], [row, row | {"name": "x/{a}"}])) == ["+1 route x/{a}"]
    assert list(route_changes([row, row | {"name": "b"}, row | {"name": "c"}], [row])) == ["-2 routes b, c"]
    assert list(route_changes([row], [row | {"qos": 0}])) == ["route a: qos 1 → 0"]


def test_the_table_fits_a_terminal_of_80_columns_and_hides_what_has_no_room() -> None:
    console = Console(width=80, record=True, force_terminal=True, color_system=None)
    progress = {f"plants/{{plant}}/lines/{{line:int}}/a/long/topic/{n}": RouteProgress(received=n) for n in range(9)}
    console.print(DemoTable().render(progress, footer="Flower http://127.0.0.1:5555", most_rows=3))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines[1:4]] == ["6", "7", "8"]
    assert lines[4].split()[:2] == ["all", "36"]
    assert lines[-2:] == ["… and 6 more routes", "Flower http://127.0.0.1:5555"]


def test_whatever_ends_the_watch_of_the_project_is_told_where_changes_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*_args: object, **_options: object) -> Iterator[set[tuple[int, str]]]:
        yield {(1, str(tmp_path / "a.py"))}
        raise RuntimeError("the watcher has ended")

    monkeypatch.setattr(reloading, "watch", watch)
    changes = iter(reloading.Changes(tmp_path, Stop()))
    assert next(changes) == ("a.py",)
    with pytest.raises(RuntimeError, match="the watcher has ended"):
        next(changes)


def test_a_server_that_is_configured_meanwhile_is_said_to_wait_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    console = Console(width=200, record=True)
    runner = DevRunner(DevOptions(project=tmp_path, state=tmp_path), console, level="INFO")
    runner.session.env = {"MQTT_BROKER": "127.0.0.1", "REDIS_URL": "redis://127.0.0.1:6379/0"}
    for _ in range(2):
        (tmp_path / ".env").write_text(
            "ROUTEMQ_ROUTERS=nowhere\nMQTT_BROKER=h\nREDIS_URL=redis://h\n", encoding="utf-8"
        )
        with pytest.raises(RouteMQError, match="there is no module"):
            runner.session.reload([".env"], out_of_date=lambda: False)
    (tmp_path / ".env").write_text("MQTT_PORT=abc\n", encoding="utf-8")
    with pytest.raises(RouteMQError, match="MQTT_PORT"):
        runner.session.reload([".env"], out_of_date=lambda: False)
    told = console.export_text()
    assert told.count("MQTT_BROKER counts when") == told.count("REDIS_URL counts when") == 1


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/none", "x" * 300, "nul\0"])
def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateFolderError, match="Mend: name another folder"), state_folder(tmp_path / name):
        pytest.fail("it is used")
