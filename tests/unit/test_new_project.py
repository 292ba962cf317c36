import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from routemq_dev.new_project import FILES, ProjectThereError, make_project

from routemq.cli import main
from tests.unit.test_pytest_plugin import pytest_in


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_new_project_has_tests_that_pass_and_files_that_are_valid(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["init", str(tmp_path / "shop")])
    assert shown.exit_code == 0
    assert f"cd {tmp_path}/shop && routemq dev" in shown.output
    assert texts(tmp_path / "shop").keys() == FILES.keys()
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        cwd=tmp_path / "shop", capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for check in (["format", "--check"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--isolated", "."]
        run_of_ruff = subprocess.run(ruff, cwd=tmp_path / "shop", capture_output=True, encoding="utf-8", check=False)
        assert run_of_ruff.returncode == 0, run_of_ruff.stdout
    # What needs servers is the same test that the sample application has.
    run = pytest_in(tmp_path / "shop", "-k", "not together")
    assert "3 passed" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["app/routers/sensors.py", ".env.example", "app", "conftest.py"])
@pytest.mark.parametrize("kind", ["file", "folder", "dead link"])
def test_what_is_there_is_left_alone_and_nothing_is_written(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("mine", encoding="utf-8")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = texts(tmp_path)
    if (name, kind) == ("app", "folder"):
        assert len(make_project(tmp_path)) == len(FILES)
        return
    with pytest.raises(ProjectThereError, match=r"nothing was written.*has these already"):
        make_project(tmp_path)
    assert texts(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()


def test_a_repository_keeps_its_own_gitignore_and_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"/.env\n__pycache__\n\xff\n")
    shown = CliRunner().invoke(main, ["init", str(tmp_path)])
    assert shown.exit_code == 0
    assert ".gitignore was there; add to it: .routemq/, .venv/\n" in shown.output
    assert (tmp_path / ".gitignore").read_bytes() == b"/.env\n__pycache__\n\xff\n"
    assert (tmp_path / "app/routers/sensors.py").exists()
    with pytest.raises(ProjectThereError):
        make_project(tmp_path)
