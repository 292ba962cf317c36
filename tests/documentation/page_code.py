"""The Python of pages, executed: each page in a process of its own, its blocks in order and with one set of names.

A block whose first line names a file is that file of the page's project, and is imported; a block with tests is a file
of tests, and is left to pytest. What a page does not define, because its reader has it, is in `stand_ins`.

It is run as `python -m tests.documentation.page_code <folder> <page>…`; the folders of the pages are in that folder.
"""

import ast
import doctest
import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType

from routemq import Router
from routemq.payload_example import example_payload
from tests.documentation.blocks import Block, blocks_of
from tests.servers import REPOSITORY

STAND_INS = "tests.documentation.stand_ins"
PACKAGES = REPOSITORY / "tests/documentation/stand_ins/packages"
"""What pages import of others and no test needs for real."""


def python_of(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == "python"]


def is_tests(block: Block) -> bool:
    return any(line.startswith("def test_") for line in block.text.splitlines())


def folder_name(page: str) -> str:
    return page.removesuffix(".md").replace("/", "-")


def stand_ins_of(page: str) -> list[str]:
    """Return the modules of what a page's reader has."""
    own = f"{STAND_INS}.{Path(page).stem.lower().replace('-', '_')}"
    return [STAND_INS, own] if find_spec(own) else [STAND_INS]


def file_of(block: Block) -> Path | None:
    """Return the file that a block is, within its project: the one that it names, or one of tests."""
    if block.language != "python":
        return None
    return block.path or (Path(f"test_{folder_name(block.page)}_{block.line}.py") if is_tests(block) else None)


def write_file(block: Block, project: Path) -> None:
    """Write the file that a block is; one of the same name goes."""
    path = file_of(block)
    if path is None:
        return
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    # pytest names the page's lines.
    above = "\n" * (block.line - 1) if block.path is None else ""
    (project / path).write_text(above + block.text, encoding="utf-8")
    for folder in path.parents[:-1]:
        # This repository has an app/ too, and Python would take that one.
        (project / folder / "__init__.py").touch()


def execute(page: str) -> None:
    """Execute a page's blocks in this process and this folder."""
    module = ModuleType("page")
    # Annotations are looked up in the module that a class says it is of.
    sys.modules["page"] = module
    for given in map(importlib.import_module, stand_ins_of(page)):
        vars(module).update(_names_of(given))
    for block in python_of(page):
        try:
            _execute_block(block, vars(module))
        except Exception as exc:
            exc.add_note(f"in the block at {block}")
            raise
    _check_routes(vars(module).values())


def _execute_block(block: Block, names: dict[str, object]) -> None:
    write_file(block, Path.cwd())
    importlib.invalidate_caches()
    if is_tests(block):
        return
    if block.path:
        name = ".".join(block.path.with_suffix("").parts).removesuffix(".__init__")
        if name in sys.modules:
            # What a page has changed is loaded anew, and what builds on it.
            for loaded in [each for each in sys.modules if each.partition(".")[0] == "app"]:
                del sys.modules[loaded]
        made = _names_of(importlib.import_module(name))
        # A file's router has that file's routes; a page may show the same route twice.
        names.update({name: value for name, value in made.items() if not isinstance(value, Router)})
    elif block.text.startswith(">>> "):
        _execute_session(block, names)
    else:
        exec(_compiled(block), names)


def _names_of(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _compiled(block: Block) -> CodeType:
    """Compile with the page's lines; what a page raises by itself is only made."""
    tree = ast.parse("\n" * (block.line - 1) + block.text)
    tree.body = [
        ast.copy_location(ast.Expr(node.exc), node) if isinstance(node, ast.Raise) and node.exc else node
        for node in tree.body
    ]
    return compile(tree, str(REPOSITORY / block.page), "exec")


def _execute_session(block: Block, names: dict[str, object]) -> None:
    """Execute what is typed at `>>> `, and compare what it prints."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    session = doctest.DocTestParser().get_doctest(block.text, names, str(block), block.page, block.line - 1)
    if doctest.DocTestRunner(optionflags=options).run(session, clear_globs=False).failed:
        raise AssertionError(f"{block} does not print what it shows")


def _check_routes(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, Router):
            for route in value.routes:
                example_payload(route)


def main(folder: str, *pages: str) -> int:
    sys.path.append(str(PACKAGES))
    failed = 0
    for page in pages:
        if pid := os.fork():
            _, status = os.waitpid(pid, 0)
            failed += status != 0
            continue
        try:
            os.chdir(Path(folder, folder_name(page)))
            sys.path.insert(0, str(Path.cwd()))
            execute(page)
        except BaseException:  # noqa: BLE001  # told, and counted; also what a page exits with
            print(f"--- the code of {page} fails")
            traceback.print_exc()
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
