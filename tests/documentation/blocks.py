"""The fenced blocks of the pages, the commands among them, and the commands in the text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.servers import REPOSITORY

PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/**/*.md")]
)
LANGUAGES = {
    "python": "executed, with all of its page",
    "console": "each command is run, or checked as `commands.NOT_RUN` says",
    "json": "parsed",
    "yaml": "parsed, and given to its program",
    "conf": "a Mosquitto starts with it",
    "ini": "lines of a .env, which the settings read",
    "lua": "what of it is a script's",
    "text": "a drawing or an output, no command",
}
"""What is done with each."""

_A_COMMAND = re.compile(
    r"(routemq|dlq|celery|docker compose|kubectl|systemctl|python -m|pip install|scripts/[\w-]+) \S|--\w"
)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of code.

    Attributes:
        line: Of its first line of code, from 1.
        language: As its fence names it; empty if it does not, or if the block is an indented one.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def path(self) -> Path | None:
        """The file that a block of Python says it is, in its first line."""
        found = re.match(r"# (app/\S+\.py|tests/\S+\.py|\w+\.py)\b", self.text)
        return Path(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a console block, or of the text.

    Attributes:
        shown: What the page shows that it prints.
    """

    page: str
    line: int
    text: str
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks_of(page: str) -> list[Block]:
    """Return all blocks of code of a page, in their order."""
    return [_block(page, token) for token in _tokens(page) if token.type in ("fence", "code_block")]


@cache
def _tokens(page: str) -> list[Token]:
    return _MARKDOWN.parse((REPOSITORY / page).read_text("utf-8"))


def _block(page: str, token: Token) -> Block:
    first, _ = token.map or [0, 0]
    fenced = token.type == "fence"
    language = token.info.split()[0] if fenced and token.info.strip() else ""
    return Block(page=page, line=first + 1 + fenced, language=language, text=token.content)


def commands_of(block: Block) -> Iterator[Command]:
    """Read a console: `$ ` begins a command, a backslash continues it, all else is what it prints."""
    text, shown, began, open_ended = "", list[str](), 0, False
    for number, line in enumerate(block.text.splitlines(), block.line):
        if open_ended:
            text += "\n" + line
        elif line.startswith("$ "):
            if text:
                yield Command(page=block.page, line=began, text=text, shown=tuple(shown))
            text, shown, began = line.removeprefix("$ "), [], number
        else:
            if not text:
                raise ValueError(f"{block}: a console begins with `$ `")
            shown.append(line)
            continue
        open_ended = line.endswith("\\")
    if text:
        yield Command(page=block.page, line=began, text=text, shown=tuple(shown))


def commands_in_text(page: str) -> Iterator[Command]:
    """Find commands, and options alone, between backquotes in sentences and tables."""
    for token in _tokens(page):
        for child in token.children or []:
            if child.type == "code_inline" and _A_COMMAND.match(child.content):
                # `[a|b]` is one word of several.
                text = re.sub(r"[][|]", " ", child.content)
                yield Command(page=page, line=(token.map or [0])[0] + 1, text=text)
