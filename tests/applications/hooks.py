"""Redaction hooks that do what no hook should."""

import sys
import time
from typing import Any, NoReturn


def returns_text(_topic: str, payload: bytes) -> Any:
    return payload.decode()


def leaves(_topic: str, _payload: bytes) -> NoReturn:
    sys.exit(3)


def hangs(_topic: str, payload: bytes) -> bytes:
    time.sleep(30)
    return payload
