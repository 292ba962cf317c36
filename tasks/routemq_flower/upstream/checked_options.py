"""What Flower would fall over: settings that are checked before it reads them, and once more when it has them all."""

import re
from collections.abc import Callable, Iterable, MutableMapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from flower.options import options
from flower.utils import strtobool
from tornado.netutil import bind_sockets

from routemq.errors import ConfigurationError
from routemq.settings import with_service_link
from routemq.text import error_line
from routemq.value_files import SUFFIX, values_of_files

_PREFIX = "FLOWER_"
_SECRETS = ("FLOWER_BASIC_AUTH", "FLOWER_COOKIE_SECRET", "FLOWER_OAUTH2_SECRET", "FLOWER_BROKER_API")
_OPENING = "FLOWER_UNAUTHENTICATED_API"
_URL_PREFIX = re.compile(r"/?[\w.~/-]*", re.ASCII)
_YES_OR_NO = "true or false (also yes and no, on and off, 1 and 0)"
_PASSWORD = "user:password, neither of them empty"  # noqa: S105  how one is written


class RefusedOptionError(click.ClickException):
    """Flower cannot start with what it was told; Celery prints it in one line."""

    exit_code = 2


def check_environment(environment: MutableMapping[str, str]) -> None:
    """Look at each variable as Flower will, and take those away that are empty: as anywhere here, they are not set.

    `FLOWER_BASIC_AUTH_FILE` and its like are ours, as for our own settings.

    Raises:
        ConfigurationError: Flower could not read one.
    """
    known = [_PREFIX + name.upper().replace("-", "_") for name in options._options]  # noqa: SLF001  as below
    for variable, value in values_of_files(environment, known).items():
        # Flower's own reload begins the program anew with this environment: both would be refused.
        environment[variable] = value
        del environment[variable + SUFFIX]
    if not environment.get("FLOWER_BASIC_AUTH_FILE", "a path").strip():
        environment.setdefault("FLOWER_BASIC_AUTH", "")
    for variable in sorted(name for name in environment if name.startswith(_PREFIX)):
        option = options._options.get(_name(variable))  # noqa: SLF001  Flower asks so too
        value = environment[variable]
        if option is None and variable != _OPENING:
            continue
        # A password that somebody forgot to set must not become a Flower without one.
        if not value.strip() and variable != "FLOWER_BASIC_AUTH":
            del environment[variable]
            continue
        allowed = _allowed(option, value)
        if allowed is not None:
            shown = "(hidden)" if variable in _SECRETS else repr(value)
            raise ConfigurationError(variable=variable, value=shown, allowed=with_service_link(allowed, value))


def check_words(words: Iterable[str]) -> None:
    """Look at each word of the command line as Flower will.

    Raises:
        RefusedOptionError: Flower could not read one, or would pass over what is nearly one of its options, of which a
            password may be one.
    """
    known = options._options  # noqa: SLF001  as above
    for word in words:
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        option = known.get(name.replace("_", "-"))
        if option is None:
            meant = get_close_matches(name.replace("_", "-"), list(known), n=1, cutoff=0.8)
            if meant:
                raise RefusedOptionError(f"Flower has no option --{name}; is --{meant[0].replace('-', '_')} meant?")
            continue
        if not equals and option.type is not bool:
            raise RefusedOptionError(f"--{name} needs a value, and a '=' before it")
        allowed = _allowed(option, value) if equals else None
        if allowed is not None:
            shown = "(hidden)" if f"{_PREFIX}{option.name.upper()}" in _SECRETS else repr(value)
            raise RefusedOptionError(f"--{name}={shown} cannot be used: {allowed}")


def guarded(apply: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Return Flower's own reading of its options, which says in one line what it cannot read."""

    def read(program: str, words: Any) -> None:
        check_words(words)
        try:
            apply(program, words)
        except click.ClickException:
            raise
        # The configuration file is the user's code.
        except Exception as exc:
            raise RefusedOptionError(f"Flower cannot read its options: {error_line(exc)}") from exc

    return read


def check_options() -> None:
    """Look at what variables, configuration file and command line make together.

    Raises:
        RefusedOptionError: Nobody could log in, or everybody; or nothing can listen there.
    """
    if any(not _is_login(login) for login in options.basic_auth or ()):
        raise RefusedOptionError(f"--basic_auth=(hidden) cannot be used: {_PASSWORD}")
    if options.unix_socket:
        return
    try:
        for sock in bind_sockets(options.port, address=options.address):
            sock.close()
    except (OSError, OverflowError, UnicodeError) as exc:
        where = f"--address={options.address} --port={options.port}"
        raise RefusedOptionError(f"Flower cannot listen there, {where}: {exc}") from exc


def check_when_complete() -> None:
    """Have `check_options` called when Flower has read all its sources.

    It parses the command line twice when there is a configuration file, which comes between.
    """
    calls: list[None] = []

    def parsed() -> None:
        calls.append(None)
        if len(calls) > 1 or not Path(options.conf).exists():
            check_options()

    options.add_parse_callback(parsed)


def _name(variable: str) -> str:
    # Tornado keeps its options with hyphens, as they are written on a command line.
    return variable.removeprefix(_PREFIX).lower().replace("_", "-")


def _read(option: Any, value: str) -> str | None:
    """Convert a value as Flower does; return what it may be if it is of the right type and yet of no use."""
    if option is None or option.type is bool:
        strtobool(value)
    elif option.multiple:
        values = [option.type(part) for part in value.split(",")]
        if option.name.replace("-", "_") == "basic_auth" and not all(map(_is_login, values)):
            return _PASSWORD
    elif option.name.replace("-", "_") == "url_prefix" and not _URL_PREFIX.fullmatch(value):
        return "a path, such as /flower"
    elif option.type(value) is not None and option.name == "port" and not 0 <= int(value) <= 65_535:
        return _kind(option)
    return None


def _allowed(option: Any, value: str) -> str | None:
    """Return what an option may be, if a value is nothing of the kind."""
    try:
        return _read(option, value)
    # As of `int`, `float`, or of what no text can be.
    except (ValueError, TypeError):
        return _kind(option)


def _kind(option: Any) -> str:
    if option is None or option.type is bool:
        return _YES_OR_NO
    if option.name == "port":
        return "a whole number from 0 to 65535"
    kinds = {int: "a whole number", float: "a number"}
    return kinds.get(option.type, "nothing that a variable can say: use Flower's configuration file")


def _is_login(login: object) -> bool:
    user, _, password = str(login).partition(":")
    return bool(user.strip() and password.strip())
