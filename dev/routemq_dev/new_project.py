"""The files of a new project: one route with its controller and tests, and what it takes to run it."""

import os
from collections.abc import Iterable
from pathlib import Path

from routemq.errors import RouteMQError

_ROUTER = """\
from routemq import RetryPolicy, Router

from app.controllers.sensor_controller import SensorController

router = Router()
router.on(
    "sensors/{device_id}/data",
    SensorController.process_data,
    shared=True,  # all ingest processes share its messages
    worker_count=3,  # so many at once
    retry=RetryPolicy(max_attempts=3),  # then it is a dead letter
)
"""

_CONTROLLER = """\
from pydantic import BaseModel
from routemq import Client, Controller

HOT = 30.0


class Reading(BaseModel):
    temperature: float


class SensorController(Controller):
    @staticmethod
    async def process_data(device_id: str, payload: Reading, client: Client) -> None:
        \"\"\"Warn of what is too hot.\"\"\"
        print(f"{device_id}: {payload.temperature} degrees")
        if payload.temperature > HOT:
            client.publish(f"alerts/{device_id}", {"hot": payload.temperature}, qos=1)
"""

_TESTS = """\
from collections.abc import Callable

import pytest
from routemq.testing import Dead, Result, TestApp

from app.controllers.sensor_controller import Reading

Deliver = Callable[..., Result]


@pytest.mark.parametrize(("temperature", "topics"), [(21.5, []), (31.0, ["alerts/d1"])])
def test_only_what_is_hot_is_warned_of(
    routemq_deliver: Deliver, temperature: float, topics: list[str]
) -> None:
    reading = Reading(temperature=temperature)
    result = routemq_deliver("sensors/d1/data", reading).check()
    assert [each.topic for each in result.published] == topics


def test_what_does_not_fit_is_a_dead_letter(routemq_deliver: Deliver) -> None:
    result = routemq_deliver("sensors/d1/data", {"temperature": "warm"})
    assert result.outcome == Dead("invalid")


def test_all_of_it_together(routemq_app: TestApp) -> None:
    routemq_app.publish("sensors/d1/data", {"temperature": 31.0})
    assert routemq_app.wait_idle().published[0].json() == {"hot": 31.0}
"""

_ENV = """\
# Copy to .env, which every routemq and celery command reads. Without it `routemq dev` brings along its own servers;
# with the servers of compose.yaml these are the addresses. docs/settings.md of RouteMQ has all settings.
MQTT_BROKER=localhost
MQTT_PORT=1883
# MQTT_USERNAME=
# MQTT_PASSWORD=
REDIS_URL=redis://localhost:6379/0
"""

_COMPOSE = """\
# The two servers, for this machine: docker compose up -d; then copy .env.example to .env, and run `routemq up`.
# Both keep what they have over a restart, and drop nothing without a word.
services:
  mosquitto:
    image: eclipse-mosquitto:2.0
    restart: unless-stopped
    ports: ["127.0.0.1:1883:1883"]
    configs: [{source: mosquitto, target: /mosquitto/config/mosquitto.conf}]
    volumes: ["mosquitto-data:/mosquitto/data"]
    stop_grace_period: 60s
  redis:
    image: redis:7.2-alpine
    restart: unless-stopped
    command: [redis-server, --appendonly, "yes", --appendfsync, always, --maxmemory-policy, noeviction]
    ports: ["127.0.0.1:6379:6379"]
    volumes: ["redis-data:/data"]
    stop_grace_period: 60s

configs:
  mosquitto:
    content: |
      listener 1883
      allow_anonymous true
      max_inflight_messages 65535
      max_queued_messages 1000000
      persistence true
      persistence_location /mosquitto/data/
      autosave_interval 30
      persistent_client_expiration 7d

volumes:
  mosquitto-data:
  redis-data:
"""

FILES = {
    "app/__init__.py": "",
    "app/controllers/__init__.py": "",
    "app/controllers/sensor_controller.py": _CONTROLLER,
    "app/routers/__init__.py": '"""Every module here that has a `Router` takes part."""\n',
    "app/routers/sensors.py": _ROUTER,
    "conftest.py": '"""Being here, it puts this folder on the import path of the tests."""\n',
    "tests/test_sensors.py": _TESTS,
    "compose.yaml": _COMPOSE,
    ".env.example": _ENV,
    ".gitignore": ".env\n.routemq/\n.venv/\n__pycache__/\n",
}
"""Path of each file → what it says."""

IGNORED = ".gitignore"
"""The one of them that a new repository has already, and that it may keep."""


class ProjectThereError(RouteMQError):
    """Files of a new project are there already."""

    def __init__(self, *, folder: Path, there: Iterable[str]) -> None:
        self.folder, self.there = folder, tuple(there)
        super().__init__(
            f"nothing was written, {folder} has these already: {', '.join(self.there)}. Mend: name a folder that is "
            "not there yet."
        )


def make_project(folder: Path) -> list[Path]:
    """Write the files of a new project, and return them; a `.gitignore` that is there is left as it is.

    Raises:
        ProjectThereError: One of them is there; nothing is written.
        OSError: The folder cannot be written to.
    """
    there = [name for name in FILES if _is_taken(folder, name)]
    if there and not (there == [IGNORED] and (folder / IGNORED).is_file()):
        raise ProjectThereError(folder=folder, there=there)
    written = []
    for name, text in FILES.items():
        if name in there:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that somebody else has made meanwhile is left alone too.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    return written


def not_ignored(folder: Path) -> list[str]:
    """Return what a `.gitignore` that was there does not name, and no repository should have."""
    lines = {line.strip().strip("/") for line in (folder / IGNORED).read_text("utf-8", "replace").splitlines()}
    return [line for line in FILES[IGNORED].splitlines() if line.strip("/") not in lines]


def _is_taken(folder: Path, name: str) -> bool:
    """Whether a file cannot be made new: it is there, also as a dead link, or something on its way is no folder."""
    path = folder / name
    parents = [folder, *(folder / parent for parent in Path(name).parents)]
    return os.path.lexists(path) or any(os.path.lexists(each) and not each.is_dir() for each in parents)
