"""What such an application imports, and a table."""

import httpx
from django.db import close_old_connections, connections
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


class Measurement:
    def __init__(self, *, device: str, value: float) -> None: ...
