"""Another controller, and what two of them are sent."""

from pydantic import BaseModel


class Order(BaseModel):
    in_s: int


class Survey(BaseModel):
    devices: list[str]


def limits(device_id: str) -> Order:
    return Order(in_s=1)
