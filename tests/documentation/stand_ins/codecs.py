"""Controllers, a codec, and a module that protoc would have made."""

import sys
from types import ModuleType
from typing import Any

from google.protobuf import struct_pb2

_package, _made = ModuleType("plant"), ModuleType("plant.state_pb2")
vars(_made)["State"] = struct_pb2.Struct
sys.modules |= {"plant": _package, "plant.state_pb2": _made}


def keep(line: str, payload: dict[str, Any]) -> None: ...


def metrics(group: str, node: str, payload: dict[str, Any]) -> None: ...


def log(logger: str, rest: str, payload: Any) -> None: ...


class Legacy:
    name = "legacy"

    def decode(self, payload: bytes) -> Any:
        return payload.decode("latin-1")

    def encode(self, value: Any) -> bytes:
        return str(value).encode("latin-1")
