"""Routers are found, and what keeps one from being found stops the program with its place and its reason."""

import logging
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from routemq.controllers import resolve
from routemq.discovery import import_tasks, load_router
from routemq.errors import DiscoveryError, RouteError
from routemq.supervision.loading import BrokenApplicationError, read_rows

Project = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write modules under a package of an unused name; return the name of its routers."""
    package = f"app_{uuid.uuid4().hex[:10]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / package / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PACKAGE", package), encoding="utf-8")
        return f"{package}.routers"

    return write


ROUTER = "from routemq import Router\nrouter = Router()\nrouter.on('{topic}', 'x:y')\n"


def test_every_module_of_the_package_is_imported_in_order(project: Project) -> None:
    routers = project(
        routers__b=ROUTER.format(topic="b"),
        routers__a=ROUTER.format(topic="a"),
        routers__deep__c=ROUTER.format(topic="c"),
    )
    (Path(routers.replace(".", "/")) / "deep" / "__init__.py").touch()
    assert [route.name for route in load_router(routers).routes] == ["a", "b", "c"]


def test_a_module_will_do_and_a_router_may_have_any_name(project: Project) -> None:
    routers = project(routers="from routemq import Router\nones, others = Router(), Router()\nothers.on('a', 'x:y')\n")
    assert [route.name for route in load_router(routers).routes] == ["a"]


def test_a_router_that_another_module_imports_or_includes_counts_once(project: Project) -> None:
    routers = project(
        routers__a=ROUTER.format(topic="a"),
        routers__b="from PACKAGE.routers.a import router\nboth = type(router)()\nboth.include(router)\n",
    )
    assert [route.name for route in load_router(routers).routes] == ["a"]


def test_package_that_is_not_there_says_where_it_was_looked_for(project: Project) -> None:
    routers = project(other="")
    with pytest.raises(DiscoveryError) as caught:
        load_router(routers)
    assert f"no module {routers!r}" in caught.value.problem
    assert str(Path.cwd()) in caught.value.problem
    assert "ROUTEMQ_ROUTERS" in caught.value.mend


def test_package_of_a_name_that_no_folder_can_have_is_told_as_one_that_is_not_there() -> None:
    with pytest.raises(DiscoveryError, match="there is no module"):
        load_router("a" * 300)
    with pytest.raises(DiscoveryError, match="there is no module"):
        import_tasks(["a" * 300])


def test_package_that_lies_above_or_in_src_is_told_with_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    routers = project(routers__a=ROUTER.format(topic="a"), below__a="")
    package = routers.partition(".")[0]
    monkeypatch.chdir(tmp_path / package / "below")
    with pytest.raises(DiscoveryError, match=rf"run the command in {tmp_path}, where it is"):
        load_router(routers)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / package).rename(tmp_path / "src" / package)
    with pytest.raises(DiscoveryError, match=rf"PYTHONPATH=src: it is in {tmp_path}/src"):
        load_router(routers)


def test_folder_that_an_installed_package_hides_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    routers = project(routers__a=ROUTER.format(topic="a"))
    package, elsewhere = Path(routers.partition(".")[0]), tmp_path_factory.mktemp("installed")
    (elsewhere / package).mkdir()
    (elsewhere / package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(elsewhere)])
    with pytest.raises(DiscoveryError) as caught:
        load_router(routers)
    assert str(elsewhere / package / "__init__.py") in caught.value.problem
    for name in [name for name in sys.modules if name.partition(".")[0] == str(package)]:
        del sys.modules[name]
    (package / "__init__.py").touch()
    assert [route.name for route in load_router(routers).routes] == ["a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import PACKAGE.controllers", "ModuleNotFoundError"),
        ("1/0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("from routemq import nothing", "ImportError"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("raise BaseExceptionGroup('all', [SystemExit(0)])", "BaseExceptionGroup: all"),
        ("class Hostile(Exception):\n    __str__ = None\nraise Hostile", "Hostile"),
    ],
)
def test_module_that_fails_is_named_with_its_error(project: Project, text: str, problem: str) -> None:
    routers = project(routers__good=ROUTER.format(topic="a"), routers__zbad=text)
    with pytest.raises(DiscoveryError, match=r"importing it failed") as caught:
        load_router(routers)
    assert caught.value.module == f"{routers}.zbad"
    assert problem in caught.value.problem


@pytest.mark.parametrize(("text", "told"), [("1/0", "ZeroDivisionError"), ("exit()", "SystemExit")])
def test_package_whose_own_code_fails_is_named(project: Project, text: str, told: str) -> None:
    routers = project(routers__deep__a=ROUTER.format(topic="a"))
    (Path(routers.replace(".", "/")) / "deep" / "__init__.py").write_text(text, encoding="utf-8")
    with pytest.raises(DiscoveryError, match=rf"deep.*{told}"):
        load_router(routers)


def test_impossible_route_is_told_as_such_with_its_line(project: Project) -> None:
    routers = project(routers__a=ROUTER.format(topic="a/{x}/{x}"))
    with pytest.raises(RouteError) as caught:
        load_router(routers)
    assert caught.value.source == f"{routers.replace('.', '/')}/a.py:3"


def test_clash_between_two_files_names_both(project: Project) -> None:
    routers = project(routers__a=ROUTER.format(topic="x/{a}"), routers__b=ROUTER.format(topic="x/{b}"))
    with pytest.raises(RouteError) as caught:
        load_router(routers)
    assert "routers/a.py:3" in str(caught.value)
    assert "routers/b.py:3" in str(caught.value)


def test_package_without_a_router_says_what_to_write(project: Project) -> None:
    with pytest.raises(DiscoveryError, match=r"no module of it has a router.*router = Router\(\)"):
        load_router(project(routers__a="x = 1"))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"routers__a": "from PACKAGE.models import Reading\n", "models": "LIMIT = 1\nReading = LIMIT / 0\n"},
            r"division by zero \(\w+/models\.py, line 2: Reading = LIMIT / 0\)\. Mend: correct that line",
        ),
        (
            {"routers__a": "from PACKAGE.models import Reading\n", "models": "class Reading(:\n    pass\n"},
            r"SyntaxError: .* \(\w+/models\.py, line 1: class Reading\(:\)",
        ),
        (
            {"routers__a": "import json\n\njson.loads('{')\n"},
            r"JSONDecodeError: .* \(\w+/routers/a\.py, line 3: json\.loads\('\{'\)\)",
        ),
        (
            {"routers__a": "import PACKAGE.models\n", "models": "import no_such_module_at_all\n"},
            r"ModuleNotFoundError: .* \(\w+/models\.py, line 1: import no_such_module_at_all\)",
        ),
    ],
    ids=["in another module", "syntax", "in a library", "a module that is not there"],
)
def test_an_error_names_the_innermost_line_of_the_project(project: Project, files: dict[str, str], told: str) -> None:
    with pytest.raises(DiscoveryError, match=told):
        load_router(project(**files))


def test_so_does_a_controller_that_is_given_by_name(project: Project) -> None:
    routers = project(
        routers__a="from routemq import Router\nrouter = Router()\nrouter.on('a', 'PACKAGE.late:handle')\n",
        late="import json\n\nhandle = json.loads('{')\n",
        routers__b="from routemq import Router\nrouter = Router()\nrouter.on('b', 'PACKAGE.ended:handle')\n",
        ended="exit(0)\n",
    )
    failing, ended = load_router(routers).routes
    with pytest.raises(
        RouteError, match=r"late:handle: .* failed: JSONDecodeError: .*late\.py, line 3: handle = json\.loads"
    ):
        failing.chain()
    with pytest.raises(RouteError, match=r"ended:handle: .* failed: SystemExit: 0 .*ended\.py, line 1"):
        ended.chain()


def test_application_that_ends_the_process_is_broken_and_not_empty(project: Project) -> None:
    routers = project(routers__a="import os\nos.write(1, b'my last words')\nos._exit(0)\n")
    with pytest.raises(BrokenApplicationError, match="my last words"):
        read_rows(Path.cwd(), {**os.environ, "ROUTEMQ_ROUTERS": routers})


def test_logging_that_the_application_configures_silences_no_failure_of_a_message(project: Project) -> None:
    silence = "import logging\nfor name in ('routemq_tasks.outcomes', 'celery.worker', 'shop'):\n"
    silence += "    logging.getLogger(name).disabled = True\n"  # as `dictConfig` does, by default
    routers = project(routers__a=silence + ROUTER.format(topic="a"), late=silence + "def handle(): ...\n")
    load_router(routers)
    loggers = [logging.getLogger(name) for name in ("routemq_tasks.outcomes", "celery.worker", "shop")]
    assert [each.disabled for each in loggers] == [False, False, True]
    logging.getLogger("celery_tasks").disabled = True
    resolve(f"{routers.partition('.')[0]}.late:handle")
    assert [each.disabled for each in loggers] == [False, False, True]
    assert logging.getLogger("celery_tasks").disabled


def test_modules_of_any_kind_may_lie_beside_the_routers(project: Project) -> None:
    lazy = "def __getattr__(name):\n    return object()\n"
    facade = "import sys\nclass Facade: ...\nsys.modules[__name__] = Facade()\n"
    routers = project(routers__a=ROUTER.format(topic="a"), routers__facade=facade, routers__lazy=lazy)
    assert [route.name for route in load_router(routers).routes] == ["a"]
