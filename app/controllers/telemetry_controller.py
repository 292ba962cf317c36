from pydantic import BaseModel, Field

from app import database
from routemq import Controller, Message


class Values(BaseModel):
    gateway: str
    values: list[float] = Field(min_length=1, max_length=10_000)


class TelemetryController(Controller):
    @staticmethod
    def process_bulk(payloads: list[Values], messages: list[Message]) -> None:
        """Keep one row for the values of each message, all rows in one transaction."""
        database.execute_many(
            "INSERT OR REPLACE INTO batches (message_id, gateway, count, mean) VALUES (?, ?, ?, ?)",
            [
                (message.id, each.gateway, len(each.values), sum(each.values) / len(each.values))
                for message, each in zip(messages, payloads, strict=True)
            ],
        )
