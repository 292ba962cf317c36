"""The devices of the sample application, made up: who publishes what."""

import random
from collections.abc import Callable

import orjson

BROKEN_PAYLOADS = (b"", b'{"temperature": 21.', b'{"temperature": "warm"}', b"\x00\xff\xfe not text", b"[]")
"""What real devices send, too, now and then: none of these fits any controller of the sample application."""


class SampleFleet:
    """Makes messages for every topic of the sample application.

    Args:
        devices: How many different devices there are.
        broken_share: Share of the messages, 0 to 1, whose payload fits no controller.
        seed: For the same messages again; None for others each time.
    """

    def __init__(self, *, devices: int = 100, broken_share: float = 0.01, seed: int | None = None) -> None:
        self._devices = devices
        self._broken_share = broken_share
        self._random = random.Random(seed)  # noqa: S311  made-up weather, no secret
        self._kinds: tuple[Callable[[], tuple[str, object]], ...] = (
            self._sensor, self._telemetry, self._line, self._job, self._alert,
        )  # fmt: skip
        self._weights = (60, 15, 10, 10, 5)

    def message(self) -> tuple[str, bytes]:
        """Return the topic and the payload of the next message."""
        (kind,) = self._random.choices(self._kinds, self._weights)
        topic, content = kind()
        if self._random.random() < self._broken_share:
            return topic, self._random.choice(BROKEN_PAYLOADS)
        return topic, orjson.dumps(content)

    def _device(self) -> str:
        return f"device-{self._random.randint(1, self._devices):04}"

    def _sensor(self) -> tuple[str, object]:
        return f"sensors/{self._device()}/data", {"temperature": round(self._random.gauss(21, 4), 2)}

    def _telemetry(self) -> tuple[str, object]:
        values = [round(self._random.random(), 3) for _ in range(20)]
        return "telemetry/bulk", {"gateway": self._device(), "values": values}

    def _line(self) -> tuple[str, object]:
        plant = self._random.choice(("berlin", "oslo", "torino"))
        state = self._random.choice(("running", "running", "stopped", "fault"))
        return f"plants/{plant}/lines/{self._random.randint(1, 12)}/state", {"state": state}

    def _job(self) -> tuple[str, object]:
        return f"flaky/job-{self._random.getrandbits(32):08x}", {"amount": self._random.randint(1, 500)}

    def _alert(self) -> tuple[str, object]:
        severity = self._random.choice(("info", "warning", "critical"))
        return f"alerts/{self._device()}", {"code": f"E{self._random.randint(1, 99):02}", "severity": severity}
