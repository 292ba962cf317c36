from datetime import datetime

from pydantic import BaseModel

from app import database
from routemq import Controller, Message


class SensorReading(BaseModel):
    temperature: float
    measured_at: datetime | None = None


class SensorController(Controller):
    # Not async: sqlite3 waits for the disk, and would hold up every other message of an event loop.
    @staticmethod
    def process_data(device_id: str, payload: SensorReading, message: Message) -> None:
        """Keep a reading, once however often its message is run: a retry and a replay have the same id.

        What the MQTT broker delivers twice comes with two ids. Where that matters, take a key from the payload.
        """
        database.execute(
            "INSERT OR REPLACE INTO readings (message_id, device_id, temperature, measured_at) VALUES (?, ?, ?, ?)",
            message.id, device_id, payload.temperature, payload.measured_at and payload.measured_at.isoformat(),
        )  # fmt: skip
