"""What the bench counts and shows."""

import io
import os
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from rich.console import Console
from routemq_dev.bench.figures import Figures, Spread
from routemq_dev.bench.measuring import Measuring, Plan
from routemq_dev.bench.quick_publisher import FIRST_NUMBER, QuickPublisher, payload_of
from routemq_dev.bench.recorder import RunReader, RunRecorder
from routemq_dev.bench.screen import render
from routemq_dev.bench.side import NAIVE, ROUTEMQ, Side

from routemq.supervision.child import Command
from routemq.supervision.processes import Supervisor


@pytest.mark.parametrize("number", [1_000_000, FIRST_NUMBER, 9_999_999])
def test_payload_is_47_bytes_of_json(number: int) -> None:
    assert len(payload_of(number)) == 47
    assert orjson.loads(payload_of(number))["n"] == number


def test_every_message_is_counted_once_whatever_thread_or_process_notes_it(tmp_path: Path) -> None:
    recorder, reader = RunRecorder(tmp_path), RunReader(tmp_path, range(5_000))
    assert reader.count() == 0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(recorder.note, range(1, 4001)))
    assert reader.count() == 4000
    child = os.fork()
    if child == 0:
        for number in range(4001, 4101):
            recorder.note(number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.note(7)
    recorder.note(5_000)
    assert reader.count() == 4100
    assert sorted(number for number, _ in reader.runs()) == sorted([*range(1, 4101), 7, 5_000])
    assert len(list(tmp_path.iterdir())) == 2
    reader.close()


def test_count_can_be_read_while_others_write(tmp_path: Path) -> None:
    recorder, reader = RunRecorder(tmp_path), RunReader(tmp_path, range(1, 20_001))

    def write() -> None:
        for number in range(1, 20_001):
            recorder.note(number)

    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    while seen[-1] < 20_000 and (writer.is_alive() or len(seen) < 2):
        seen.append(reader.count())
    writer.join()
    assert seen == sorted(seen)
    assert reader.count() == 20_000
    reader.close()


class Carrier(QuickPublisher):
    """Publishes to nobody: `deliver` runs what was published, in order, some of it late or twice."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.side = Side(name="carrier", ingest=Command(name="ingest", argv=()), workers=(), runs=folder)
        self.published_at = array("d")
        self._recorder = RunRecorder(folder)
        self._on_the_way: list[int] = []

    def publish(self, count: int, **_options: object) -> range:
        numbers = range(self.next_number, self.next_number + min(count, 1_000))
        self.published_at.extend([0.0] * len(numbers))
        # As after a lost acknowledgement: what runs before the last one comes is more than what was sent.
        self._on_the_way += [*numbers[:-1], *numbers[:20], numbers[-1]]
        return numbers

    def deliver(self) -> None:
        for number in self._on_the_way[:100]:
            self._recorder.note(number)
        del self._on_the_way[:100]


def test_what_is_late_or_run_twice_is_not_taken_for_what_is_still_on_its_way(tmp_path: Path) -> None:
    carrier = Carrier(tmp_path / "runs")
    probes = carrier.publish(5)
    plan = Plan(rounds=1, seconds=0.1, rate_per_s=1)
    with Supervisor(lambda *_: None) as supervisor:
        measuring = Measuring(carrier.side, plan, carrier, supervisor, check=carrier.deliver, tell=lambda *_: None)
        figures = measuring.run_under_load()
    assert figures.published == carrier.next_number - probes.stop == 1_500
    assert (figures.lost, figures.duplicates) == (0, 40)


def test_percentiles_are_taken_in_each_round() -> None:
    figures = Figures(latencies_ms=[list(range(100)), [5.0] * 10])
    assert figures.percentile_ms(99) == Spread((99, 5.0))
    assert figures.percentile_ms(50) == Spread((50, 5.0))
    assert Figures().percentile_ms(50) is None


def test_table_fits_into_a_usual_terminal_and_shows_what_was_lost() -> None:
    ours = Figures(
        end_to_end=[12_000.0, 13_000.0, 12_500.0], backlog=[14_000.0], latencies_ms=[[0.5, 2.0]], published=100_000
    )
    theirs = Figures(end_to_end=[1_250.0], backlog=[1_400.0], latencies_ms=[[1.0, 8.0]], published=9_000, lost=3)
    screen = io.StringIO()
    Console(width=80, file=screen).print(render("here", {ROUTEMQ: ours, NAIVE: theirs}))
    text = screen.getvalue()
    assert "12,500 (12,000 … 13,000)" in text
    assert "10.0 ×" in text
    assert "…\n" not in text
    assert next(line.split() for line in text.splitlines() if line.startswith("lost")) == ["lost", "0", "3"]
