"""Faults at random moments under a constant load, and where every message is afterwards.

    .venv/bin/python -m benchmarks.faults [--minutes 5] [--seed 1] [--rate 200] [--pools prefork,prefork]

Every few seconds one of these is struck by SIGKILL, SIGSTOP (and SIGCONT, a moment or more than a lease later) or
SIGTERM: one of two ingest processes, one of the Celery workers or of its children, Redis. Or Redis is in trouble: it is
demoted and keeps its connections, its disk is full, its memory is full and a worker is restarted meanwhile, or another
program's key lies under one of our names. Some messages fail once, some always, some kill their worker. Ends with 1 if
a message that the MQTT broker acknowledged is neither done, dead for its own reason, nor still on its way.
"""

import argparse
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.fault_redis import KINDS
from tests.faults import FaultRun


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second")
    parser.add_argument("--pools", default="prefork,prefork", help="Celery's pool of each worker")
    parser.add_argument(
        "--transport", choices=["routemq", "stock"], default="routemq",
        help="stock is Celery's own, which loses messages and proves that this run would see it",
    )  # fmt: skip
    parser.add_argument(
        "--troubles", default=",".join(KINDS), help="what may become of Redis besides its death; empty: nothing"
    )
    parser.add_argument("--keep", type=Path, help="copy all logs and data to this folder")
    parser.add_argument(
        "--kill-broker", action="store_true",
        help="strike Mosquitto too: what it acknowledged since its last autosave is then lost and reported as lost, "
        "which proves how large that window is",
    )  # fmt: skip
    options = parser.parse_args()
    # As Ctrl-C: nothing that was started is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.2f} {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="routemq-faults-") as name:
        run = FaultRun(
            Path(name),
            seed=options.seed,
            rate=options.rate,
            pools=options.pools.split(","),
            transport=options.transport,
            kill_broker=options.kill_broker,
            troubles=[kind for kind in options.troubles.split(",") if kind],
            say=say,
        )
        try:
            account = run.run(options.minutes * 60)
        finally:
            if options.keep:
                shutil.copytree(name, options.keep, dirs_exist_ok=True)
    figures = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
    print(json.dumps({"seed": options.seed, "minutes": options.minutes, **figures}, indent=2))
    return 0 if account.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
