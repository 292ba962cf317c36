"""RouteMQ beside others that run functions for messages, all in one run on one machine.

    python -m benchmarks.peers [--rounds 5] [--seconds 1] [--only routemq-solo,mayu] [--json FILE] [--svg FILE]

Each round gives every contestant its turn, so that what else the machine does disturbs all alike. A turn has two
measurements: two workers alone, on a queue that was filled before, and end to end, from a publisher with QoS 1 through
an MQTT broker to the function, while the publisher publishes. Whoever knows no MQTT gets the same bridge: paho's
`on_message`, which puts each message by the contestant's own client. Who has no queue is measured end to end alone.

Every turn has an MQTT broker and a Redis of its own, with an append-only file. Every message has a number, and every
run is noted: what is lost and what is run twice is exact. The function parses 47 bytes of JSON. The environments of the
others are made at their first use, in `--environments`; who cannot be installed is shown with the reason.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

from rich.console import Console
from routemq_dev.bench.measuring import Plan

from benchmarks.peers.bout import Bout
from benchmarks.peers.contestants import CONTESTANTS, Contestant
from benchmarks.peers.environments import NotHereError, default_folder, programs_of, version_of
from benchmarks.peers.plot import svg
from benchmarks.peers.rows import ALONE, Row, table, to_json
from routemq.errors import RouteMQError

LEAST, MOST = 300, 60_000
"""Messages of a queue that was filled before."""


def main() -> int:
    """Run the command; returns 1 when ours has lost a message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, roughly")
    parser.add_argument("--only", default=",".join(CONTESTANTS), help=f"of: {','.join(CONTESTANTS)}")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--svg", type=Path, help="draw them there")
    parser.add_argument("--environments", type=Path, default=default_folder(), help="where the others are installed")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(CONTESTANTS):
        parser.error(f"there is no contestant {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    screen = Console(width=200, stderr=True)
    rows = {key: Row(title=CONTESTANTS[key].title) for key in chosen}
    programs: dict[str, Path] = {}
    for key, row in rows.items():
        contestant = CONTESTANTS[key]
        try:
            programs[key] = programs_of(options.environments, contestant.packages, minor=contestant.python)
            row.python = version_of(programs[key])
            if row.python.split(".")[:2] != platform.python_version().split(".")[:2]:
                row.title += f" (Python {row.python.rpartition('.')[0]})"
        except NotHereError as exc:
            row.why_not = str(exc)
    for number in range(1, options.rounds + 1):
        for key, row in rows.items():
            if not row.why_not:
                take_turn(CONTESTANTS[key], row, programs[key], seconds=options.seconds)
                screen.print(f"round {number} of {options.rounds}: {row.title}: {row.last}")
    console = Console(width=150)
    console.print(table(rows))
    for row in rows.values():
        if row.why_not:
            console.print(f"{row.title}: {row.why_not}", style="yellow", markup=False)
    figures = to_json(rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.svg:
        options.svg.write_text(svg(figures), encoding="utf-8")
    return int(any(row.figures.lost for key, row in rows.items() if CONTESTANTS[key].shape))


def take_turn(contestant: Contestant, row: Row, programs: Path, *, seconds: float) -> None:
    """Measure one contestant once; whatever it does, the others have their turns."""
    per_s = row.median(ALONE) or contestant.guess_per_s
    bout = Bout(
        contestant=contestant,
        programs=programs,
        backlog=max(LEAST, min(MOST, int(per_s * seconds))) if contestant.has_queue else 0,
        plan=Plan(rounds=1, seconds=seconds, rate_per_s=0),
        tell=lambda *_: None,
    )
    try:
        (under_load,) = bout.run().values()
    except RouteMQError as exc:
        row.why_not = str(exc)
    else:
        row.add(bout.alone, under_load)


if __name__ == "__main__":
    sys.exit(main())
