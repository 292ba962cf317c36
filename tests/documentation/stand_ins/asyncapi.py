"""A router, a controller and what it answers with."""

from pydantic import BaseModel


class Reply(BaseModel):
    action: str


def handle_alert(device_id: str) -> None: ...
