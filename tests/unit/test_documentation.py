"""What is written about settings and files is what there is."""

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from routemq.settings import Settings, variable_of
from tests.documentation import blocks
from tests.documentation.commands import complaints_about
from tests.processes import clean_environment
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


def test_first_code_of_the_readme_is_a_whole_application(tmp_path: Path) -> None:
    path, code = re.findall(r"```python\n# (\S+)\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)[
        0
    ]
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(code, encoding="utf-8")
    # This checkout has an app/ too.
    (tmp_path / "app" / "__init__.py").touch()
    command = ["routemq", "routes", "--json", "--check"]
    run = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, encoding="utf-8", check=False, timeout=30
    )
    assert run.returncode == 0, run.stderr
    assert [route["template"] for route in json.loads(run.stdout)] == ["sensors/{device_id}/data"]


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
