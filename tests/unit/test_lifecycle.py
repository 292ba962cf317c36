"""The page on the life of a message tells of every script, and every script has its verb."""

import re
from importlib import resources

import routemq.lifecycle
from routemq.lifecycle.moves import FetchCommand, Moves, StartCommand
from routemq.lifecycle.scripts import script_text

FOLDER = resources.files("routemq.lifecycle")
SHARED = {"bin", "due", "hands", "letters", "look", "mark"}
WITHOUT_CLIENT = {"fetch": FetchCommand, "start": StartCommand}


def scripts() -> dict[str, str]:
    found = {path.name[:-4]: path.read_text("utf-8") for path in FOLDER.iterdir() if path.name.endswith(".lua")}
    return {name: text for name, text in found.items() if name not in SHARED}


def test_every_script_is_a_step_of_the_page_and_the_other_way_round() -> None:
    page = routemq.lifecycle.__doc__ or ""
    steps = re.findall(r"^    (\w+) +(\w+) → (\w+)(?:, (\w+))?", page, re.MULTILINE)
    assert {name for name, *_ in steps} | {"renew", "start", "pause"} == scripts().keys()
    assert {state for _, *states in steps for state in states if state} == {
        *("broker", "queued", "delayed", "held", "dead", "binned", "done", "gone")
    }


def test_every_script_has_one_verb() -> None:
    verbs = {name.rstrip("_") for name in vars(Moves) if not name.startswith("_")}
    assert verbs | WITHOUT_CLIENT.keys() == scripts().keys()
    assert not verbs & WITHOUT_CLIENT.keys()


def test_every_script_reaches_redis_only_after_a_look() -> None:
    for name, body in scripts().items():
        if name == "start":
            # It changes one key by one command, its last.
            assert re.findall(r"(\w+) redis\.call\('Z", body) == ["return", "return"]
        else:
            assert "local redis = nil" in script_text(name), name
            assert "redis." not in body, name
            assert re.search(r"answer\(|reports\(\)", body), name


def test_no_script_spells_a_key() -> None:
    for path in FOLDER.iterdir():
        if path.name.endswith(".lua"):
            code = re.sub(r"--.*", "", path.read_text("utf-8"))
            assert not re.search(r"'routemq:\w|dlq|unacked", code), path.name
