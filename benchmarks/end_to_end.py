"""`routemq bench` with each pool in turn, so that their figures come from one run.

    .venv/bin/python -m benchmarks.end_to_end [--rounds 5] [--seconds 2]

The naive bridge is measured once, with the two prefork processes that Celery would start by itself on two processors.
"""

import argparse
import json
import subprocess
import sys

from rich.console import Console
from rich.table import Table

SHAPES = {
    "1 solo": ["--pool", "solo", "--workers", "1"],
    "2 solo": ["--pool", "solo", "--workers", "2"],
    "2 threads": ["--pool", "threads", "--workers", "2", "--concurrency", "4"],
    "prefork 2": ["--pool", "prefork", "--workers", "1", "--concurrency", "2"],
}
FIGURES = (
    "end_to_end_per_s",
    "processor_us",
    "backlog_per_s",
    "steady_processor_us",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
)


def measure(options: list[str], *, rounds: int, seconds: float) -> dict[str, dict[str, object]]:
    command = [
        sys.executable,
        "-m",
        "routemq",
        "bench",
        "--json",
        "--rounds",
        str(rounds),
        "--seconds",
        str(seconds),
    ]
    run = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=False)
    # 1 says that something was lost: the figures say how much.
    if run.returncode not in (0, 1) or not run.stdout:
        raise SystemExit(f"{command} ended with {run.returncode}")
    found: dict[str, dict[str, object]] = json.loads(run.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    for name, shape in SHAPES.items():
        print(f"{name} …", file=sys.stderr)
        peer = name == "prefork 2"
        found = measure([*shape, "--peer" if peer else "--no-peer"], rounds=options.rounds, seconds=options.seconds)
        results[name] = found["routemq"]
        if peer:
            results["naive bridge, prefork 2"] = found["naive"]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = Table("workers", *(name.replace("_", " ") for name in FIGURES), "lost", "run twice", box=None)
    for name, figures in results.items():
        spreads: list[dict[str, float]] = [figures[each] for each in FIGURES]  # type: ignore[misc]
        cells = [f"{each['median']:,.4g} ({each['least']:,.4g} … {each['most']:,.4g})" for each in spreads]
        table.add_row(name, *cells, str(figures["lost"]), str(figures["duplicates"]))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
