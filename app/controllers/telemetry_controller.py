from pydantic import BaseModel, Field

from app import database
from routemq import Controller, Message


class Batch(BaseModel):
    gateway: str
    values: list[float] = Field(min_length=1, max_length=10_000)


class TelemetryController(Controller):
    @staticmethod
    def process_bulk(payload: Batch, message: Message) -> None:
        """Keep one row for a batch of values."""
        database.execute(
            "INSERT OR REPLACE INTO batches (message_id, gateway, count, mean) VALUES (?, ?, ?, ?)",
            message.id, payload.gateway, len(payload.values), sum(payload.values) / len(payload.values),
        )  # fmt: skip
