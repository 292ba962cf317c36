"""What is written about settings and files is what there is."""

import json
import re
import runpy
from pathlib import Path

import flower.options  # noqa: F401  # defines them
import pytest
from routemq_dev.new_project import FILES
from tornado.options import options

from routemq.envelope import Envelope
from routemq.settings import Settings, load_settings, variable_of
from tests.documentation import blocks
from tests.documentation.commands import NOT_RUN, complaints_about, reason_not_to_run
from tests.servers import REPOSITORY
from tests.unit.test_import_law import FOLDERS

VARIABLES = {variable_of(name) for name in Settings.model_fields}
_COMPOSE = "".join((REPOSITORY / name).read_text("utf-8") for name in ("docker-compose.yml", "compose.tls.yaml"))
OF_COMPOSE = set(re.findall(r"\$\{(\w+)", _COMPOSE))
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])


def test_env_example_names_every_setting_and_no_other() -> None:
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)) == VARIABLES | OF_COMPOSE


@pytest.mark.parametrize("page", ["settings.md", "commands.md"])
def test_reference_says_what_the_code_says(page: str) -> None:
    made: dict[Path, str] = runpy.run_path(str(REPOSITORY / "scripts" / "reference.py"))["pages"]()
    path = REPOSITORY / "docs" / page
    assert path.read_text("utf-8") == made[path], "run .venv/bin/python scripts/reference.py"


def test_settings_name_every_variable_of_others_that_is_read() -> None:
    sources = [path.read_text("utf-8") for folder in FOLDERS.values() for path in (REPOSITORY / folder).rglob("*.py")]
    names = {name for text in sources for name in re.findall(r"""environ\w*(?:\.\w+)?[([]"([A-Z_]+)\"""", text)}
    assert names > {"NOTIFY_SOCKET"}
    told = set(re.findall(r"`([A-Z_]+)…?`", (REPOSITORY / "docs" / "settings.md").read_text("utf-8")))
    assert {name for name in names if not {name, f"{name.partition('_')[0]}_"} & told} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_within_the_project_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", ["app/routers/sensors.py", "app/controllers/alert_controller.py"])
def test_documentation_shows_the_code_of_the_sample_application(path: str) -> None:
    block = f"```python\n# {path}\n{(REPOSITORY / path).read_text('utf-8')}```\n"
    assert [page.name for page in PAGES if block in page.read_text("utf-8")] != []


@pytest.mark.parametrize("path", ["app/controllers/sensor_controller.py", "app/routers/sensors.py"])
def test_first_page_shows_the_code_of_a_new_project(path: str) -> None:
    shown = next(block for block in blocks.blocks_of("docs/start.md") if str(block.path) == path)
    assert shown.text == f"# {path}\n{FILES[path]}"


@pytest.mark.parametrize("page", blocks.PAGES)
def test_each_block_says_what_it_is_and_each_command_is_there(page: str) -> None:
    found = blocks.blocks_of(page)
    assert [str(block) for block in found if block.language not in blocks.LANGUAGES] == []
    assert [
        str(block) for block in found if block.language == "text" and re.search(r"^\$ ", block.text, re.MULTILINE)
    ] == []
    shown = [command for block in found if block.language == "console" for command in blocks.commands_of(block)]
    named = [*shown, *blocks.commands_in_text(page)]
    assert {str(command): wrong for command in named if (wrong := complaints_about(command))} == {}


@pytest.mark.parametrize("page", [page for page in blocks.PAGES if page != "docs/migrating.md"])
def test_settings_that_a_page_names_are_there(page: str) -> None:
    prefixes = {name.partition("_")[0] for name in VARIABLES}
    named = re.findall(r"`([A-Z]+_[A-Z_\d]+)(?![A-Z_\d…])", (REPOSITORY / page).read_text("utf-8"))
    ours = {name.removesuffix("_FILE") for name in named if name.partition("_")[0] in prefixes}
    of_flower = {f"FLOWER_{name.upper()}" for name in options.as_dict()} | {"FLOWER_UNAUTHENTICATED_API"}
    assert ours - VARIABLES - OF_COMPOSE - of_flower == set()


def test_each_reason_not_to_run_a_command_is_one_of_some_command() -> None:
    shown = [command for block in of_language("console") for command in blocks.commands_of(block)]
    assert set(NOT_RUN.values()) == {reason_not_to_run(command) for command in shown} - {None}


def of_language(language: str) -> list[blocks.Block]:
    return [block for page in blocks.PAGES for block in blocks.blocks_of(page) if block.language == language]


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_json_of_the_pages_is_an_envelope_if_it_looks_like_one(block: blocks.Block) -> None:
    value = json.loads(block.text)
    assert "topic" not in value or Envelope.from_wire(value).to_wire() == value


@pytest.mark.parametrize("block", of_language("ini"), ids=str)
def test_lines_of_the_environment_are_settings(
    block: blocks.Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(re.findall(r"^(\w+)=", block.text, re.MULTILINE)) <= VARIABLES | OF_COMPOSE
    (tmp_path / ".env").write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    load_settings()
