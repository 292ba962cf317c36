"""The name of a module or class says which one it is, and the map names no module that is not there."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.unit.test_import_law import FOLDERS, REPOSITORY, modules

ALLOWED = {"__init__", "__main__", "errors"}
"""What these are, their package says; nobody looks for them by name."""


def test_no_two_modules_have_one_name() -> None:
    places = defaultdict(set)
    for package in FOLDERS:
        for path in modules(package):
            places[path.stem].add(str(path.relative_to(REPOSITORY)))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in ALLOWED} == {}


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in (path for package in FOLDERS for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                # Also where one of them is its module's own: both are in the same logs and searches.
                places[node.name.lstrip("_")].append(str(path.relative_to(REPOSITORY)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_map_names_modules_that_are_there() -> None:
    there = {path.name for package in FOLDERS for path in modules(package)}
    there |= {path.name for path in REPOSITORY.joinpath("tests").rglob("*.py")}
    for page in ("architecture.md", "transport.md", "flower.md"):
        text = Path(REPOSITORY, "docs", page).read_text("utf-8")
        named = set(re.findall(r"`(?:[\w./]*/)?(\w+\.py)`", text))
        assert named - there - {"tasks.py"} == set(), page  # nearly every Celery user has one


def test_the_walks_through_the_code_name_files_that_are_there() -> None:
    _, _, rest = Path(REPOSITORY, "CONTRIBUTING.md").read_text("utf-8").partition("## Where to change what\n")
    walks, _, _ = rest.partition("\n## ")
    named = re.findall(r"`((?:routemq|tasks|ingest|tests|docs)/[\w./]+)`", walks)
    assert len(named) > 20
    assert [name for name in named if not Path(REPOSITORY, name).exists()] == []


def test_a_long_file_says_why_at_its_head() -> None:
    for path in (path for package in FOLDERS for path in modules(package)):
        text = path.read_text("utf-8")
        if text.count("\n") > 300:
            assert re.search(r"\blong(er)?\b", ast.get_docstring(ast.parse(text)) or "", re.IGNORECASE), path


def test_a_file_of_tests_has_one_subject() -> None:
    tests = REPOSITORY.joinpath("tests").rglob("*.py")
    assert [path.name for path in tests if path.read_text("utf-8").count("\n") > 500] == []


def test_no_test_is_less_patient_than_all_of_them() -> None:
    """Deadlines are `PATIENCE_S`, and pytest ends what hangs: a shorter one fails a slow machine and finds nothing."""
    of_its_own = r"(?:wait_until|wait_for\w*|terminate)\([^\n]*timeout_s=|^ +timeout_s=\d+,$"
    haste = re.compile(of_its_own + r"|subprocess\.\w+\([^)]*\btimeout=|mark\.timeout", re.MULTILINE)
    waits_in_vain = {"test_servers.py", "test_ingest_durability.py", Path(__file__).name}
    tests = [path for path in REPOSITORY.joinpath("tests").rglob("*.py") if path.name not in waits_in_vain]
    assert {path.name: found for path in tests if (found := haste.findall(path.read_text("utf-8")))} == {}
