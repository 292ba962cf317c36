"""What a setting or a route names is found, or it is said why not, whatever the user's module does."""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from routemq.alerts.delivery import Delivery
from routemq.controllers import resolve
from routemq.dead_letters.hook import GuardedHook
from routemq.errors import BindingError, CodecError, ConfigurationError, NamedCodeError
from routemq.named_code import named, named_function
from routemq.named_codecs import named_codec
from routemq.settings import Settings

Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Write a module into the working directory, which is not on the import path, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(text: str) -> str:
        name = f"named_{uuid.uuid4().hex[:10]}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def test_what_is_named_is_found_in_the_working_directory_and_within_a_class(module: Module) -> None:
    name = module("class Plant:\n    @staticmethod\n    def tell(alert): return alert\n")
    assert named_function(f"{name}:Plant.tell", "alert")(1) == 1


@pytest.mark.parametrize(
    "text",
    [
        "1/0",
        "def f(:",
        "exit()",
        "import asyncio; raise asyncio.CancelledError",
        "raise GeneratorExit",
        "raise BaseExceptionGroup('all', [SystemExit(0)])",
        "class Hostile(BaseException):\n    __str__ = None\nraise Hostile",
        "def __getattr__(name): raise RuntimeError(name)",
        "def __getattr__(name): raise SystemExit(name)",
        "",
    ],
)
def test_module_that_fails_fails_alike_for_all_who_name_it(module: Module, text: str) -> None:
    name = module(text)
    with pytest.raises(BindingError):
        resolve(f"{name}:hide")
    with pytest.raises(ConfigurationError, match="DLQ_REDACT_HOOK"):
        GuardedHook.load(f"{name}:hide")
    with pytest.raises(ConfigurationError, match="ALERT_HOOK"):
        Delivery(Settings(_env_file=None, alert_hook=f"{name}:hide"))  # type: ignore[call-arg]
    with pytest.raises(CodecError):
        named_codec(f"protobuf:{name}.Message")


@pytest.mark.parametrize("name", ["", ":", "os:", ":path", "os", ".os:path", "os:path:join", "\ud800:x"])
def test_name_of_no_such_form_names_nothing(name: str) -> None:
    with pytest.raises(NamedCodeError):
        named(name)


@pytest.mark.parametrize("instance", ["Mute()", "Mute"])
def test_what_has_no_such_name_need_not_say_what_it_is(module: Module, instance: str) -> None:
    name = module(f"class Mute:\n    def __repr__(self): raise RuntimeError\nfound = {instance}\n")
    with pytest.raises(NamedCodeError, match=r"the (class )?Mute has no 'tell'"):
        named(f"{name}:found.tell")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tell = 1", "not callable"),
        ("async def tell(alert): pass", "async"),
        ("class Teller:\n    async def __call__(self, alert): pass\ntell = Teller()", "async"),
        ("from functools import partial\nasync def other(a, b): pass\ntell = partial(other, 1)", "async"),
        ("async def tell(alert): yield", "async"),
        ("def tell(alert): yield", "generator"),
        ("def tell(): pass", "too many positional arguments"),
        ("def tell(alert, more): pass", "missing a required argument: 'more'"),
        ("class Teller:\n    def tell(self, alert): pass\ntell = Teller.tell", "missing a required argument: 'alert'"),
        ("def tell(*, alert): pass", "too many positional arguments"),
    ],
)
def test_function_that_would_do_nothing_when_it_is_called_is_refused(module: Module, text: str, problem: str) -> None:
    with pytest.raises(NamedCodeError, match=problem):
        named_function(f"{module(text)}:tell", "alert")


@pytest.mark.parametrize(
    "text",
    [
        "@around\nasync def tell(alert): pass",
        "@around\ndef tell(alert): yield",
        "@around\ndef tell(alert, session): pass",
        "class Teller:\n    __signature__ = 'none'\n    def __call__(self, alert): pass\ntell = Teller()",
        "from unittest.mock import MagicMock\ntell = MagicMock()",
        "tell = [].append",
    ],
)
def test_of_what_stands_around_a_function_nothing_is_known(module: Module, text: str) -> None:
    around = (
        "import functools\ndef around(f):\n    @functools.wraps(f)\n    def run(*given): return None\n    return run\n"
    )
    named_function(f"{module(around + text)}:tell", "alert")
