import logging
import time
from typing import Any, Literal

from pydantic import BaseModel

from app import database
from routemq import Context, Controller, Message, Middleware, Next

logger = logging.getLogger(__name__)


class LineState(BaseModel):
    state: Literal["running", "stopped", "fault"]


class Audit(Middleware):
    def handle(self, context: Context, next_handler: Next) -> Any:
        """Log how long each message of a plant took, whether its controller raised or not."""
        started = time.perf_counter()
        try:
            return next_handler(context)
        finally:
            elapsed_ms = (time.perf_counter() - started) * 1000
            logger.debug("audit topic=%s elapsed_ms=%.1f", context.message.topic, elapsed_ms)


class LineController(Controller):
    @staticmethod
    def state(plant: str, line: int, payload: LineState, message: Message) -> None:
        """Keep the latest state of a line: messages may come out of order, so the older one never wins."""
        database.execute(
            "INSERT INTO lines (plant, line, state, received_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (plant, line) DO UPDATE SET state = excluded.state, received_at = excluded.received_at "
            "WHERE excluded.received_at >= received_at",
            plant, line, payload.state, message.envelope.received_at,
        )  # fmt: skip
