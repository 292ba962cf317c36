"""What the scripts of a checkout do to a machine, with another `apt-get`, `sudo` and `id` on the PATH."""

import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S, wait_until

ENVIRONMENT = Path(__file__).parents[2] / "scripts" / "environment.sh"

APT_GET = """#!/bin/sh
echo "apt-get $* policy=$(test -x "$POLICY_RC_D" && echo there)" >>"$CALLS"
[ -z "$SLOW" ] || { touch "$STARTED"; exec sleep 30; }
"""


class Machine:
    """A machine on which `apt_install` is called."""

    def __init__(self, folder: Path) -> None:
        self.policy, self.calls, self.started = (folder / name for name in ("policy-rc.d", "calls", "started"))
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.program("apt-get", APT_GET)
        self.program("sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\necho "sudo $1" >>"$CALLS"\nexec "$@"\n')
        self.user(0)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text, encoding="utf-8")
        (self.programs / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"#!/bin/sh\necho {number}\n")

    def env(self, more: Mapping[str, str]) -> dict[str, str]:
        bash = shutil.which("bash")
        assert bash is not None
        path = f"{self.programs}:{Path(bash).parent}:/usr/bin:/bin"
        places = {"POLICY_RC_D": self.policy, "CALLS": self.calls, "STARTED": self.started}
        return {"PATH": path} | {name: str(place) for name, place in places.items()} | dict(more)

    def start(self, **env: str) -> "subprocess.Popen[bytes]":
        script = f"set -euo pipefail; source {ENVIRONMENT}; apt_install mosquitto redis-server || exit 7; echo on"
        return subprocess.Popen(
            ["bash", "-c", script], env=self.env(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, **env: str) -> tuple[int, str]:
        process = self.start(**env)
        _, told = process.communicate()
        return process.returncode, told.decode()

    @property
    def installed(self) -> bool:
        return self.calls.exists() and "install -y -qq --no-install-recommends mosquitto redis-server policy=there" in (
            self.calls.read_text("utf-8")
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(("user", "env"), [(0, {}), (1000, {"CI": "true"})], ids=["root", "CI"])
def test_what_is_installed_is_said_first(machine: Machine, user: int, env: dict[str, str]) -> None:
    machine.user(user)
    code, told = machine.run(**env)
    assert code == 0
    assert told.index("Not on this machine: mosquitto redis-server") < told.index("Installing mosquitto")
    assert ("with sudo" in told) == bool(user)
    assert machine.installed
    assert not machine.policy.exists()


def test_sudo_is_not_used_unasked(machine: Machine) -> None:
    machine.user(1000)
    code, told = machine.run()
    assert (code, "CI=true" in told, machine.installed) == (7, True, False)


@pytest.mark.parametrize(("answer", "installs"), [(b"\n", True), (b"n\n", False)])
def test_a_person_is_asked(machine: Machine, answer: bytes, installs: bool) -> None:
    machine.user(1000)
    ours, theirs = pty.openpty()
    script = f"source {ENVIRONMENT}; apt_install mosquitto redis-server"
    with subprocess.Popen(
        ["bash", "-c", script], env=machine.env({}), stdin=theirs, stdout=theirs, stderr=theirs
    ) as asked:
        os.write(ours, answer)
        assert asked.wait(PATIENCE_S) == (0 if installs else 1)
    os.close(theirs)
    told = b""
    # A terminal gives what was written in pieces, and an error after the last one.
    while b"Install them?" not in told:
        told += os.read(ours, 10_000)
    os.close(ours)
    assert machine.installed == installs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays_behind_when_it_is_interrupted(machine: Machine, number: signal.Signals) -> None:
    process = machine.start(SLOW="1")
    wait_until(machine.started.exists, message="apt-get runs")
    assert machine.policy.exists()
    os.killpg(process.pid, number)
    told, _ = process.communicate()
    assert process.returncode == -number
    assert told == b""
    assert not machine.policy.exists()


def test_a_policy_of_the_machine_stays_and_one_of_ours_that_was_left_goes(machine: Machine) -> None:
    process = machine.start(SLOW="1")
    wait_until(machine.started.exists, message="apt-get runs")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert machine.policy.exists()
    assert machine.run()[0] == 0
    assert not machine.policy.exists()

    machine.policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    machine.policy.chmod(0o755)
    assert machine.run()[0] == 0
    assert machine.installed
    assert machine.policy.read_text("utf-8") == "#!/bin/sh\nexit 101\n"
