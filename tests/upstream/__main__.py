"""Celery's and kombu's own suites over their Redis transport and over ours, and what differs.

    scripts/upstream [--only celery|kombu] [-k EXPRESSION] [--folder .upstream]

The suites are those of the releases in $VENV, .venv by default, from their source archives, run in a virtual
environment of their own on a Redis of their own. What differs by intent stands in `expected.toml` with its reason; exit
code 1 when anything else does. Celery's smoke tests need Docker and are not among them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.servers import REPOSITORY, Redis

EXPECTED = Path(__file__).with_name("expected.toml")
PLUGINS = ["pytest", "pytest-click", "pytest-order", "pytest-rerunfailures", "pytest-subtests", "pytest-timeout"]
_LONGEST_TEST_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What is run of a project.

    Attributes:
        tests: Paths in its source archive.
        plugins: Of pytest, that its own way of running them brings along.
    """

    project: str
    tests: Sequence[str]
    plugins: Sequence[str] = ()

    def environment(self, store: Redis) -> dict[str, str]:
        """Tell the suite where Redis is."""
        host, port = store.host, str(store.port)
        return {
            "REDIS_HOST": host,
            "REDIS_PORT": port,
            "REDIS_6379_TCP": port,
            "TEST_BROKER": f"redis://{host}:{port}/0",
            "TEST_BACKEND": f"redis://{host}:{port}/1",
        }


# The others are about result backends that need servers of their own, or about memory.
_CELERYS = ("beat", "canvas", "group_chains", "inspect", "loader", "redis_backend", "tasks", "upgrade", "worker")

SUITES = (
    Suite(project="kombu", tests=("t/integration/test_redis.py", "t/integration/test_redis_brpop_qos.py")),
    Suite(
        project="celery",
        tests=tuple(f"t/integration/test_{what}.py" for what in _CELERYS),
        plugins=("celery.contrib.pytest",),
    ),
)


def prepare(suite: Suite, folder: Path) -> Path:
    """Unpack the suite of the installed release; returns where it is."""
    release = f"{suite.project}-{version(suite.project)}"
    place = folder / release
    if not place.exists():
        archive = folder / f"{release}.tar.gz"
        if not archive.exists():
            _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps",
                  "--dest", str(folder), f"{suite.project}=={version(suite.project)}"])  # fmt: skip
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        # The release that is installed is what is tested, not the archive's.
        shutil.rmtree(place / suite.project)
    return place


def interpreter(folder: Path) -> Path:
    """Make the virtual environment of the suites, with the versions of this one; returns its interpreter."""
    python = folder / "venv" / "bin" / "python"
    constraints = folder / "constraints.txt"
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"], check=True, capture_output=True, encoding="utf-8"
    ).stdout
    if python.exists() and constraints.exists() and constraints.read_text("utf-8") == frozen:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
    constraints.write_text(frozen, encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    # Without a word on what goes together: a release above our caps is what is tried.
    _run([*pip, "--no-deps", "-r", str(constraints), "-e", str(REPOSITORY)])
    _run([*pip, "-c", str(constraints), *PLUGINS])
    return python


def outcomes(python: Path, place: Path, suite: Suite, *, ours: bool, expression: str) -> dict[str, str]:
    """Run a suite; returns what became of each test."""
    report = place / ("ours.xml" if ours else "stock.xml")
    report.unlink(missing_ok=True)
    store = Redis(directory=place / "redis")
    store.start()
    try:
        command = [str(python), "-m", "pytest", *suite.tests, "--quiet", "-p", "no:cacheprovider"]
        command += [f"--timeout={_LONGEST_TEST_S}", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        command += ["--tb=line", "--disable-warnings"]
        for plugin in (*suite.plugins, *(["tests.upstream.ours"] if ours else [])):
            command += ["-p", plugin]
        command += ["-k", expression] if expression else []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
        environment |= {"PYTHONPATH": str(REPOSITORY), **suite.environment(store)}
        subprocess.run(command, cwd=place, env=environment, check=False, stdout=sys.stderr)
    finally:
        store.stop()
    # Our own run wrote it.
    cases = ET.parse(report).iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in cases}


def _outcome(case: ET.Element) -> str:
    kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    return kinds[0] if kinds else "passed"


def differences(stock: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the tests that ended otherwise, with both ends."""
    pairs = {test: (stock.get(test, "absent"), ours.get(test, "absent")) for test in sorted({*stock, *ours})}
    return {test: pair for test, pair in pairs.items() if pair[0] != pair[1]}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="scripts/upstream", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=[suite.project for suite in SUITES])
    parser.add_argument("-k", dest="expression", default="", help="only tests that match, as for pytest")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".upstream")
    chosen = parser.parse_args()
    chosen.folder.mkdir(exist_ok=True)
    python = interpreter(chosen.folder)
    expected = tomllib.loads(EXPECTED.read_text("utf-8"))
    unexpected = 0
    for suite in SUITES:
        if chosen.only not in (None, suite.project):
            continue
        place = prepare(suite, chosen.folder)
        stock, ours = (
            outcomes(python, place, suite, ours=is_ours, expression=chosen.expression) for is_ours in (False, True)
        )
        print(f"{place.name}: stock {_counts(stock)}; ours {_counts(ours)}")
        reasons = {test: reason for reason, tests in expected.get(suite.project, {}).items() for test in tests}
        for test, (one, other) in differences(stock, ours).items():
            reason = next((why for known, why in reasons.items() if test.startswith(known)), None)
            unexpected += reason is None
            print(f"  {test}: stock {one}, ours {other}; {reason or 'NOT EXPECTED'}")
    return 1 if unexpected else 0


def _counts(found: Mapping[str, str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(found.values()).items()))


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
