"""What a slow machine must not be able to fail."""

import re
from pathlib import Path

from tests.servers import REPOSITORY

IN_VAIN = {"test_servers.py", "test_ingest_durability.py"}
"""Where it is waited for what must not come."""
HASTE = re.compile(
    r"wait_until\([^\n]*timeout_s=|^ +timeout_s=\d+,$|subprocess\.\w+\([^)]*\btimeout=|mark\.timeout", re.MULTILINE
)


def test_no_test_is_less_patient_than_all_of_them() -> None:
    """Deadlines are `PATIENCE_S`, and pytest ends what hangs: a shorter one fails a slow machine and finds nothing."""
    tests = [
        path for path in Path(REPOSITORY, "tests").rglob("*.py") if path.name not in IN_VAIN | {Path(__file__).name}
    ]
    assert {path.name: found for path in tests if (found := HASTE.findall(path.read_text("utf-8")))} == {}
