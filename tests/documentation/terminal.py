"""A reader at a terminal: types what a page shows, and looks at what comes."""

import contextlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.documentation.blocks import Block, Command
from tests.documentation.commands import simple_commands
from tests.documentation.page_code import file_of, write_file
from tests.processes import RunningProcess, running, wait_until
from tests.servers import find_program

LASTING: Mapping[str, str] = {
    "routemq dev": "Ctrl-C stops all of it",
    "routemq up": "everything is ready",
    "routemq ingest": "ingest is ready",
    "routemq dlq tail": "",
    "routemq simulate": "",
    "routemq top": "",
    "celery -A routemq worker": " ready.",
    "celery -A routemq beat": " is starting.",
    "celery -A routemq flower": "Visit me ",
    "mosquitto_sub": "",
}
"""Beginning of a command that goes on until it is stopped → what it says when it is there."""

EXITS: Mapping[str, tuple[int, ...]] = {"routemq doctor": (0, 1)}
"""What else than 0 says that a command has done what it is for: the doctor found something to tell."""

_RELOADED = "reloaded in"


@dataclass(kw_only=True)
class Terminal:
    """One page's terminal, or as many as it takes.

    Attributes:
        words: What the page says → what is meant here: addresses, folders.
        options: Program → those that lead it to the servers of the tests.
    """

    folder: Path
    env: dict[str, str]
    words: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _lasting: dict[str, tuple[Command, RunningProcess, contextlib.ExitStack]] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        shims = self.folder / ".shims"
        shims.mkdir()
        for program, options in self.options.items():
            shim = shims / program
            shim.write_text(f'#!/bin/sh\nexec {find_program(program)} {shlex.join(options)} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
        self.env["PATH"] = f"{shims}:{self.env['PATH']}"
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with contextlib.ExitStack() as ending:
            for name in list(self._lasting):
                # What fails first says why.
                ending.callback(self.stop, name, looking=error is None)

    def save(self, block: Block) -> None:
        """Save the file that a block is; who reloads code has it then."""
        if file_of(block) is None:
            return
        _, dev, _ = self._lasting.get("routemq dev", (None, None, None))
        reloads = dev.output().count(_RELOADED) if dev else 0
        write_file(block, self.folder)
        if dev and block.path and block.path.parts[0] == "app":
            wait_until(lambda: dev.output().count(_RELOADED) > reloads, message=f"{block} is reloaded")

    def type(self, command: Command) -> None:
        """Run a command to its end, or until it is there.

        Raises:
            AssertionError: It fails, or does not print what the page shows.
        """
        text = command.text
        for said, meant in self.words.items():
            text = text.replace(said, meant)
        words = shlex.split(text, comments=True)
        if words[0] == "cd":
            self.folder = self.folder / words[1]
        elif words[0] == "export":
            self.env.update(dict([words[1].split("=", 1)]))
        elif lasting := next((start for start in LASTING if _called(text).startswith(start)), None):
            self._start(command, text, lasting)
        else:
            self._run(command, text)
        # `# "d1: 21.5 degrees"`: what is seen, here or in another terminal.
        for seen in re.findall(r'"([^"]+)"', _comment_of(text)):
            self._wait_for(command, seen)

    def _start(self, command: Command, text: str, lasting: str) -> None:
        self.stop(lasting)
        stack = contextlib.ExitStack()
        argv, env = _words_and_env(text)
        process = stack.enter_context(running(argv, cwd=self.folder, env=self.env | env, fork=True))
        # Another of the same is another terminal, but a supervisor is one for all.
        self._lasting[lasting if lasting in ("routemq dev", "routemq up") else text] = command, process, stack
        try:
            process.wait_for_output(LASTING[lasting])
        except AssertionError as exc:
            raise AssertionError(f"{command} does not come up: {exc}\n{process.output()}") from exc

    def stop(self, name: str, *, looking: bool = True) -> None:
        """End what goes on, if it was begun.

        Raises:
            AssertionError: It has ended by itself.
        """
        if name not in self._lasting:
            return
        command, process, stack = self._lasting.pop(name)
        goes_on, output = process.is_alive, process.output()
        stack.close()
        assert goes_on or not looking, f"{command} has ended by itself:\n{output}"

    def _run(self, command: Command, text: str) -> None:
        ended = ""

        def as_shown() -> bool:
            nonlocal ended
            code, ended = self._output_of(text)
            if code not in next((codes for start, codes in EXITS.items() if text.startswith(start)), (0,)):
                raise AssertionError(f"{command} ends with {code}:\n{ended}")
            return shows(command.shown, ended)

        try:
            # What it tells may take a moment to be so.
            wait_until(as_shown, message="it prints what is shown")
        except AssertionError as exc:
            shown = "\n".join(command.shown)
            raise AssertionError(f"{command}: {exc}\n--- the page shows\n{shown}\n--- it prints\n{ended}") from exc

    def _output_of(self, text: str) -> tuple[int, str]:
        written = re.search(r" > ([\w.-]+)$", _without_comment(text).rstrip())
        text = text if written is None else text[: written.start()]
        plain = not re.search(r"[|&;<>$`*?()]", re.sub(r"'[^']*'|\"[^\"$`]*\"", "", _without_comment(text)))
        argv, env = _words_and_env(text)
        if not plain or argv[0] not in ("routemq", "celery"):
            argv, env = ["bash", "-eo", "pipefail", "-c", text], {}
        with running(argv, cwd=self.folder, env=self.env | env, fork=True) as process:
            code, output = process.wait(), process.output()
        if written:
            (self.folder / written[1]).write_text(output, encoding="utf-8")
        return code, output

    def _wait_for(self, command: Command, seen: str) -> None:
        def is_seen() -> bool:
            return any(seen in process.output() for _, process, _ in self._lasting.values())

        wait_until(is_seen, message=f"{seen!r} is seen, as {command} says")


def _called(text: str) -> str:
    return shlex.join(next(iter(simple_commands(text)), [""]))


def _words_and_env(text: str) -> tuple[list[str], dict[str, str]]:
    words, env = shlex.split(text.replace("\\\n", " "), comments=True), {}
    while words and re.match(r"[A-Z_][A-Z_0-9]*=", words[0]):
        name, _, env_value = words.pop(0).partition("=")
        env[name] = env_value
    return words, env


def _comment_of(text: str) -> str:
    return text[len(_without_comment(text)) :]


def _without_comment(text: str) -> str:
    """Return a command without the comment after it; a `#` within quotes begins none."""
    found = re.match(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^#'\"\\]|(?<!\s)#)*", text, re.DOTALL)
    return found[0] if found else text


def shows(shown: tuple[str, ...], output: str) -> bool:
    """Tell whether an output has the lines that are shown, in their order; `…` is anything."""
    patterns = [_pattern(line) for line in shown if line.strip() not in ("", "…")]
    lines = iter(output.splitlines())
    return all(any(pattern.search(line) for line in lines) for pattern in patterns)


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split(r"(…|\s+)", line.strip())
    return re.compile("".join({"…": ".*"}.get(part, r"\s+" if part.isspace() else re.escape(part)) for part in parts))
