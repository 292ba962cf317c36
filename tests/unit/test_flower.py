"""What the pages inside Flower are made of, and what they need of Flower's own."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import flower
import pytest
from routemq_flower.requests import chosen_ids, json_object, letter_filter, whole_number
from routemq_flower.route_api import awaits_answer, serving
from routemq_flower.threads import DaemonThreads
from routemq_flower.upstream.templates import EXTENSIONS, UNUSED_SCRIPTS, OverlaidTemplates, extended
from tornado.template import Loader

from routemq.errors import RouteMQError
from routemq.metrics.presence import Processes, ProcessReport
from routemq.metrics.rates import RouteRates
from routemq.metrics.totals import RouteTotals
from tests.processes import clean_environment
from tests.servers import REPOSITORY, free_port

FLOWER = Path(flower.__file__).parent
OURS = REPOSITORY / "tasks" / "routemq_flower"


def test_flowers_pages_are_the_ones_that_are_extended(caplog: pytest.LogCaptureFixture) -> None:
    texts = {}
    for name, after, ours, otherwise in EXTENSIONS:
        text = (FLOWER / "templates" / name).read_text("utf-8")
        texts[name] = extended(text, after, (OURS / "templates" / ours).read_text("utf-8"), otherwise=otherwise)
    navigation, task = texts["navbar.html"], texts["task.html"]
    assert navigation.index(">Broker</a>") < navigation.index(">Dead letters</a>") < navigation.index(">Routes</a>")
    assert navigation.index(">Routes</a>") < navigation.index("app-nav-secondary")
    assert task.index("Task details</p>") < task.index(">Dead letter</a>") < task.index('id="task-terminate"')
    assert caplog.text == ""


def test_an_unknown_page_is_left_alone_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    assert extended("<nav>another</nav>", "ours", "more", otherwise="do it by hand") == "<nav>another</nav>"
    assert "do it by hand" in caplog.text


def test_flowers_page_has_what_ours_build_on() -> None:
    base = (FLOWER / "templates" / "base.html").read_text("utf-8")
    for part in (
        "{% block title %}",
        "{% block navbar %}",
        "{% block container %}",
        "{% block extra_scripts %}",
        'id="url_prefix"',
        "js/bootstrap.bundle.min.js",
    ):
        assert base.count(part) == 1, part
    # A script in the page itself would be refused by the policy of our pages.
    assert "<script>" not in base + (FLOWER / "templates" / "navbar.html").read_text("utf-8")


def test_our_pages_load_no_script_of_flowers_that_they_do_not_use() -> None:
    base = (FLOWER / "templates" / "base.html").read_text("utf-8")
    light = UNUSED_SCRIPTS.sub("", base)
    scripts = re.findall(r"static_url\('js/([a-z]+)", light)
    assert scripts == ["theme", "bootstrap"]
    assert len(re.findall("<script", base)) == len(re.findall("<script", light)) + 5
    used = "".join(path.read_text("utf-8") for path in (OURS / "static").glob("*.js"))
    assert not re.search(r"\$\(|jQuery|moment\.tz|flower\.", used)


def test_flowers_style_has_the_classes_and_colours_that_ours_use() -> None:
    style = (FLOWER / "static" / "css" / "flower.css").read_text("utf-8")
    for name in (
        ".page-section", ".page-header", ".page-eyebrow", ".page-description", ".refresh-status", ".status-dot-live",
        ".status-dot-error", ".metric-grid", ".metric-card-danger", ".detail-page-header", ".detail-actions",
        ".detail-card", ".detail-list", ".detail-row", ".detail-code", ".task-state-filter.active", ".workers-table",
        ".empty-table-message", ".value-missing", "--flower-surface", "--flower-surface-subtle", "--flower-text-muted",
        "--flower-active", "--flower-success", "--flower-warning", "--flower-danger",
    ):  # fmt: skip
        assert name in style, name


@pytest.mark.parametrize("path", sorted((FLOWER / "templates").glob("*.html")), ids=lambda path: path.name)
def test_flowers_own_pages_stay_as_they_are(path: Path) -> None:
    overlaid = OverlaidTemplates(own=OURS / "templates", flowers=FLOWER / "templates").load(path.name)
    own = Loader(str(FLOWER / "templates")).load(path.name)
    assert (overlaid.code == own.code) == (path.name not in {name for name, *_ in EXTENSIONS})


def test_our_templates_compile_without_a_script_or_style_of_their_own() -> None:
    loader = OverlaidTemplates(own=OURS / "templates", flowers=FLOWER / "templates")
    for path in sorted((OURS / "templates").glob("*.html")):
        loader.load(path.name)
        text = path.read_text("utf-8")
        assert not [word for word in ("{% raw", "style=", " onclick", "<style", "<script>", "//cdn") if word in text]


@pytest.mark.parametrize(
    ("variables", "arguments", "address"),
    [
        ({}, [], "127.0.0.1"),
        ({"FLOWER_ADDRESS": "0.0.0.0"}, [], "0.0.0.0"),
        ({}, ["--conf={conf}"], "192.0.2.2"),
    ],
)
def test_address_is_loopback_unless_the_user_says_otherwise(
    variables: dict[str, str], arguments: list[str], address: str, tmp_path: Path
) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text('address = "192.0.2.2"\n', encoding="utf-8")
    program = (
        "import sys\n"
        "from routemq_flower import install\n"
        "from flower.command import apply_env_options, apply_options, options\n"
        "install(); install(); apply_env_options(); apply_options('flower', sys.argv[1:])\n"
        "from flower.urls import handlers\n"
        "names = [handler.name for handler in handlers if getattr(handler, 'name', None)]\n"
        "assert names.count('dead-letters') == names.count('routes') == 1, names\n"
        "print(options.address, end='')\n"
    )
    # Whoever has a Flower running on this machine has it on the usual port.
    told = [f"--port={free_port()}", *(argument.format(conf=conf) for argument in arguments)]
    command = [sys.executable, "-c", program, *told]
    environment = clean_environment(variables | {"FLOWER_PORT": "0"})  # its own may be in use
    printed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert printed.stdout.decode() == address


def test_filter_is_read_from_what_a_person_types() -> None:
    wanted = letter_filter({"route": "a/b", "reason": "failed", "since": "2026-01-01", "until": 1790000000})
    assert (wanted.route, wanted.reason, wanted.queue) == ("a/b", "failed", None)
    assert (wanted.since, wanted.until) == (1767225600.0, 1790000000.0)
    recent = letter_filter({"since": "2h"})
    assert recent.since is not None


@pytest.mark.parametrize(
    "values",
    [
        {"reason": "unlucky"},
        {"since": "yesterday"},
        {"until": "nan"},
        {"since": "-5"},
        {"topic": "a/#/b"},
        {"since": "1e300"},
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_is_refused_in_words(values: dict[str, object]) -> None:
    with pytest.raises(RouteMQError, match=str(next(iter(values.values()))).replace("#", "\\#")):
        letter_filter(values)


@pytest.mark.parametrize("values", [None, [], "a:0", [1], [""], ["a:0", None], {"a:0": 1}, ["a"] * 10_001], ids=repr)
def test_what_is_no_list_of_ids_is_refused(values: object) -> None:
    with pytest.raises(RouteMQError, match="ids="):
        chosen_ids(values)


def test_each_id_counts_once() -> None:
    assert chosen_ids(["b:0", "a:0", "b:0"]) == ["b:0", "a:0"]


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b'"text"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RouteMQError, match="a JSON object"):
        json_object(body)


@pytest.mark.parametrize(
    "text", ["", "0", "501", "-1", "+1", "ten", "9" * 50, "¹", "٥", "5_0", "5.0", "5e1", "0x5", "nan", "0000000050999"]
)
def test_a_limit_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(RouteMQError, match="from 1 to 500"):
        whole_number("limit", text, default=50, most=500)


def test_rates_come_from_the_last_moments() -> None:
    rates = RouteRates()
    assert rates.add({"a": RouteTotals(received=100, done=90)}, now=0.0) is None
    assert rates.add({"a": RouteTotals(received=100, done=90)}, now=0.5) is None
    found = rates.add({"a": RouteTotals(received=150, done=100, dead=5, replayed=10)}, now=10.0)
    assert found is not None
    assert (found["a"].incoming, found["a"].outgoing) == (6.0, 1.5)
    # Redis was emptied.
    found = rates.add({"a": RouteTotals(received=1)}, now=20.0)
    assert found is not None
    assert found["a"].incoming == 0.0


def test_hands_of_a_queue_are_those_of_its_live_workers() -> None:
    class State:
        def __init__(self, alive: bool) -> None:
            self.alive = alive

    def worker(pool: dict[str, object], *queues: str) -> dict[str, object]:
        return {"stats": {"pool": pool}, "active_queues": [{"name": name} for name in queues]}

    inspected = {
        "grown": worker({"max-concurrency": 2, "processes": [1, 2, 3]}, "a", "b"),
        "threads": worker({"max-concurrency": 4}, "a"),
        "gone": worker({"max-concurrency": 8}, "a"),
        "silent": {},
    }
    nobody = Processes(at=100.0, reports=())
    found = serving(inspected, {"grown": State(True), "gone": State(False)}, nobody)
    assert (found["a"].workers, found["a"].concurrency) == (("grown", "threads"), 7)
    assert (found["b"].workers, found["b"].concurrency) == (("grown",), 3)

    assert not awaits_answer(
        inspected, {"grown": State(True), "gone": State(False), "never asked": State(False)}, nobody
    )
    assert awaits_answer(inspected, {"grown": State(True), "silent": State(True)}, nobody)
    assert awaits_answer(inspected, {"never asked": State(True)}, nobody)

    # What workers report needs no events, and is newer than what Flower has heard.
    def report(name: str, at: float) -> ProcessReport:
        return ProcessReport(kind="worker", name=name, queues=("a",), hands=5, at=at)

    told = Processes(at=100.0, reports=(report("grown", 99.0), report("threads", 10.0), report("unheard", 99.0)))
    found = serving(inspected, {"grown": State(True), "threads": State(True), "gone": State(False)}, told)
    assert (found["a"].workers, found["a"].concurrency) == (("grown", "unheard"), 10)
    assert "b" not in found
    assert not awaits_answer({}, {"grown": State(True), "threads": State(True)}, told)


def test_no_coroutine_reads_letters_itself() -> None:
    """All who look at Flower wait for its loop: what reads Redis or decodes a message is called by a thread."""
    trees = [ast.parse(path.read_text("utf-8")) for path in OURS.glob("*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    slow = {function.name for function in functions if "backend.letters" in ast.unparse(function)}
    coroutines = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert len(coroutines) > 10
    for coroutine in coroutines:
        for call in _calls(coroutine):
            called = ast.unparse(call.func)
            of_store = ".letters." in called or called in ("letter_json.detailed", "letter_json.peeked")
            assert not of_store, ast.unparse(call)
            assert not (called.startswith("self.") and called.removeprefix("self.") in slow), ast.unparse(call)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Give the calls of a function that it makes itself, not in what it hands to another."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda | ast.FunctionDef):
            if isinstance(child, ast.Call):
                yield child
            yield from _calls(child)


def test_threads_give_results_and_errors_to_whoever_waits() -> None:
    threads = DaemonThreads(2, name="test")
    assert [future.result(5) for future in [threads.submit(pow, 2, number) for number in range(5)]] == [1, 2, 4, 8, 16]
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(5)


def test_work_that_goes_on_does_not_keep_the_process_alive() -> None:
    program = (
        "import threading\n"
        "from routemq_flower.threads import DaemonThreads\n"
        "DaemonThreads(1, name='test').submit(threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", program], env=clean_environment(), check=True)
