"""Kill a worker at each named step of fetch, acknowledge, retry and bury, and look where its messages are.

    python -m benchmarks.crash_transport [--crashes 120] [--transport routemq|stock]

Ends with 1 if a message was lost or was in two places, or if a total of what is done was wrong; with Celery's own
transport it is expected to.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from tests.crashes import CrashBench, Findings
from tests.servers import Redis


def main() -> int:
    """Run the command."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--crashes", type=int, default=120)
    arguments.add_argument("--transport", choices=["routemq", "stock"], default="routemq")
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    findings = Findings()
    # What the workers wrote is for the eye; the outcome alone goes to the standard output.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        store = Redis(directory=Path(folder))
        store.start()
        try:
            bench = CrashBench(store=store, key_prefix="crash:", transport=chosen.transport)
            for findings in bench.run(chosen.crashes, seed=chosen.seed):
                print(
                    f"{findings.crashes} crashes, {findings.messages} messages, {len(findings.lost)} lost, "
                    f"{len(findings.twice)} in two places, {findings.miscounted} wrong totals",
                    file=sys.stderr,
                )
        finally:
            store.stop()
    print(
        json.dumps(
            {
                "transport": chosen.transport,
                "crashes": findings.crashes,
                "messages": findings.messages,
                "lost": len(findings.lost),
                "in_two_places": len(findings.twice),
                "wrong_totals": findings.miscounted,
                "steps": findings.steps,
            }
        )
    )
    return 1 if findings.lost or findings.twice or findings.miscounted else 0


if __name__ == "__main__":
    sys.exit(main())
