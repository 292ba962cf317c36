"""Which commands of the pages are not run, and what is looked at instead: the words of every command are."""

import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import click
import flower.options  # noqa: F401  # defines them
import yaml
from celery.bin.celery import celery
from tornado.options import options

from routemq.cli import main
from tests.documentation.blocks import Command
from tests.servers import REPOSITORY

NOT_RUN: Mapping[str, str] = {
    "docker": "needs a Docker engine; scripts/compose-smoke runs the Compose files",
    "kubectl": "needs a cluster; tests/unit/test_manifests.py validates what it applies",
    "sudo": "changes the machine",
    "pip": "needs a package index; tests/end_to_end/test_wheel.py installs the wheel",
    "uv": "needs a package index",
    "OTEL_EXPORTER_OTLP_ENDPOINT=": "needs a collector; tests/integration/test_tracing.py brings one",
    "source": "the tests run in an environment already",
    "python -m pytest": "is what runs this",
    "python -m benchmarks": "takes minutes; tests/end_to_end/test_faults.py runs one",
    "routemq bench": "takes minutes; tests/end_to_end/test_bench.py runs a short one",
    "scripts/": "each is continuous integration's or takes minutes; tests/end_to_end/test_demo.py runs the demo",
}
"""Beginning of a command → why it is not run. Its options, files and names are checked all the same."""

OF_OTHERS = ("routemq queue-work",)
"""Beginnings of commands that another project of this name has, which docs/migrating.md tells apart."""

_PLAIN = {"export", "cd", "echo", "[", "test", "true", "unset"}
"""What the shell has itself."""


def simple_commands(text: str) -> list[list[str]]:
    """Return the words of each command of a line, without assignments before it and redirections."""
    line = re.sub(r"\$\([^)]*\)", "word", text.replace("\\\n", " "))
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if re.fullmatch(r"[<>]+&?", word):
            redirected = True
        elif redirected:
            redirected = False
        elif re.fullmatch(r"[;&|()]+", word):
            found.append([])
        else:
            found[-1].append(word)
    return [words for each in found if (words := _without_assignments(each))]


def _without_assignments(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_][A-Z_0-9]*=", words[0]):
        words = words[1:]
    return words


def reason_not_to_run(command: Command) -> str | None:
    """Return why a command is only looked at, or None: it is run."""
    lines = [command.text, *(" ".join(_as_called(words)) for words in simple_commands(command.text))]
    for start, reason in NOT_RUN.items():
        beginning = re.compile(re.escape(start) + ("" if start[-1] in "/=" else r"(?![\w-])"))
        if any(map(beginning.match, lines)):
            return reason
    return None


def _as_called(words: Sequence[str]) -> list[str]:
    """Name a program without the folder of an environment, and Python without its version."""
    program = re.sub(r"^\S*/bin/", "", words[0])
    return [re.sub(r"^python[\d.]+$", "python", program), *words[1:]]


def complaints_about(command: Command) -> list[str]:
    """Say what of a command's words is not there: a program, an option, a file, a service."""
    if command.text.startswith(OF_OTHERS):
        return []
    if command.text.startswith("--"):
        option = re.split(r"[ =]", command.text)[0]
        return [] if option in _options() else [f"no command has an option {option}"]
    return [complaint for words in simple_commands(command.text) for complaint in _complaints(_as_called(words))]


def _complaints(words: list[str]) -> Iterator[str]:
    program, *rest = words
    check = _CHECKS.get(program)
    if program == "sudo":
        yield from _complaints([word for word in rest if not word.startswith("-")][:1] + rest[1:])
    elif check:
        yield from check(rest)
    elif "/" in program:
        path = REPOSITORY / program
        if not (path.is_file() and path.stat().st_mode & 0o100):
            yield f"{program} is no program of this repository"
        yield from (f"{program} has no option {word}" for word in rest if word[:2] == "--" and word not in _options())
    elif program not in _PLAIN and shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        yield f"nobody knows how to check {program!r}"


def _of_click(program: str, root: click.Command) -> Callable[[list[str]], Iterator[str]]:
    def complaints(words: list[str]) -> Iterator[str]:
        command, rest, path = root, list(words), program
        while rest:
            word = rest.pop(0)
            if word.startswith("-") and len(word) > 1:
                name, assigned, value = word.partition("=")
                option = _option(command, name)
                if option is None:
                    if not command.ignore_unknown_options:
                        yield f"{path} has no option {name}"
                    continue
                if not (option.is_flag or option.count or assigned):
                    value = _next(rest) if not "".join(rest[:1]).startswith("-") else ""
                choices = option.type.choices if isinstance(option.type, click.Choice) else [value]
                if re.fullmatch(r"[a-z-]+", value) and value not in map(str, choices):
                    yield f"{path} {name} cannot be {value!r}"
            elif isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                if found is None:
                    if re.fullmatch(r"[a-z-]+", word):
                        yield f"{path} has no command {word!r}"
                    return
                command, path = found, f"{path} {word}"

    return complaints


def _next(rest: list[str]) -> str:
    return rest.pop(0) if rest else ""


def _option(command: click.Command, name: str) -> click.Option | None:
    # Celery has an option twice, which click's own list warns of.
    for option in [*command.params, command.get_help_option(click.Context(command))]:
        if isinstance(option, click.Option):
            names = {*option.opts, *option.secondary_opts}
            # `-c4` and `-P=…` begin with their letter.
            if name in names or (name[1:2] != "-" and name[:2] in names):
                return option
    return None


@cache
def _compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
    return found


def _docker(words: list[str]) -> Iterator[str]:
    if words[:1] != ["compose"]:
        if words[:1] not in (["run"], ["build"], ["exec"], ["logs"], ["ps"]):
            yield f"docker {' '.join(words)} is not known here"
        return
    services: dict[str, Any] = _compose()["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        option, value = rest.pop(0), _next(rest)
        if option == "-f" and not (REPOSITORY / value).is_file():
            yield f"there is no file {value}"
        if option == "--profile" and value not in profiles:
            yield f"no service has the profile {value}"
        if option not in ("-f", "--profile", "-p", "--env-file"):
            yield f"docker compose {option} is not known here"
    verb = _next(rest)
    if verb not in _VERBS:
        yield f"docker compose {verb} is not known here"
    yield from _services(verb, rest)


_VERBS = frozenset(
    ["up", "down", "run", "exec", "logs", "ps", "pull", "build", "stop", "start", "restart", "kill", "config", "cp"]
)
_WITH_VALUE = ("-e", "--env", "--user", "-u", "--timeout", "-t", "--tail", "--wait-timeout", "-s", "--cap-add")
"""Options of these."""


def _services(verb: str, rest: list[str]) -> Iterator[str]:
    while rest:
        word = _next(rest)
        if word == "--scale":
            word = _next(rest).partition("=")[0]
        elif word.startswith("-"):
            if word in _WITH_VALUE:
                _next(rest)
            continue
        if word not in _compose()["services"]:
            yield f"docker-compose.yml has no service {word}"
        if verb in ("run", "exec"):
            if rest and rest[0] in ("routemq", "celery"):
                yield from _complaints(rest)
            return


@cache
def _kubernetes() -> set[tuple[str, str]]:
    return {
        (item["kind"].lower(), item["metadata"]["name"])
        for path in (REPOSITORY / "deploy/kubernetes").rglob("*.yaml")
        for item in yaml.safe_load_all(path.read_text("utf-8"))
        if item and "kind" in item and "name" in item.get("metadata", {})
    }


def _kubectl(words: list[str]) -> Iterator[str]:
    for option, value in pairwise(words):
        if option == "-k" and not (REPOSITORY / value / "kustomization.yaml").is_file():
            yield f"kubectl -k: {value} is no kustomization"
    for word in words:
        named = re.fullmatch(r"(deployment|service|statefulset|cronjob|job)/([\w-]+)", word)
        if named and (named[1], named[2]) not in _kubernetes():
            yield f"deploy/kubernetes has no {word}"


def _pip(words: list[str]) -> Iterator[str]:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in words:
        ours = re.search(r"^(?:routemq-celery|\.|/.*)\[([\w,-]+)\]", word)
        if ours and (unknown := set(ours[1].split(",")) - set(extras)):
            yield f"pyproject.toml has no extra {', '.join(sorted(unknown))}"


@cache
def _options() -> set[str]:
    """Return every option that any of our commands has, or Flower."""
    found = {"--profile"}  # of docker compose
    for source in [*(REPOSITORY / "benchmarks").rglob("*.py"), *(REPOSITORY / "scripts").iterdir()]:
        if source.is_file():
            found |= set(re.findall(r"\"(--[a-z][\w-]*)\"", source.read_text("utf-8")))
    found |= {f"--{name}" for name in options.as_dict()}
    commands: list[click.Command] = [main, celery]
    while commands:
        command = commands.pop()
        for parameter in command.params:
            found |= {*parameter.opts, *parameter.secondary_opts}
        context = click.Context(command)
        if isinstance(command, click.Group):
            commands += filter(None, (command.get_command(context, name) for name in command.list_commands(context)))
    return found


def _python(words: list[str]) -> Iterator[str]:
    if words[:2] == ["-m", "pytest"] or words[:2] == ["-m", "benchmarks"]:
        yield from _paths(words[2:])
    if words[:1] == ["-m"] and words[1].startswith("benchmarks."):
        module = REPOSITORY / words[1].replace(".", "/")
        source = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        if not source.is_file():
            yield f"there is no module {words[1]}"
            return
        known = set(re.findall(r"add_argument\(\s*\"(--[\w-]+)\"", source.read_text("utf-8")))
        yield from (f"{words[1]} has no option {word}" for word in words[2:] if word[:2] == "--" and word not in known)


def _paths(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word.startswith(("tests/", "app/")) and not (REPOSITORY / word.partition("::")[0]).exists():
            yield f"there is no {word}"


def _systemctl(words: list[str]) -> Iterator[str]:
    if words[0] == "edit":
        return  # makes one
    units = {path.name for path in (REPOSITORY / "deploy/systemd").rglob("*.*")}
    for word in words:
        if word.startswith("routemq") and re.sub(r"@[\w-]+\.", "@.", word) not in units:
            yield f"deploy/systemd has no {word}"


def _nothing(_words: list[str]) -> Iterator[str]:
    yield from ()


_CHECKS: Mapping[str, Callable[[list[str]], Iterator[str]]] = {
    "dlq": lambda words: _CHECKS["routemq"](["dlq", *words]),
    "routemq": _of_click("routemq", main),
    "celery": _of_click("celery", celery),
    "docker": _docker,
    "kubectl": _kubectl,
    "pip": _pip,
    "python": _python,
    "systemctl": _systemctl,
    **dict.fromkeys(("pytest", "uv", "source"), _nothing),
}
