"""As much of httpx as the pages use."""

from typing import Self


class AsyncClient:
    def __init__(self, *, base_url: str, timeout: float) -> None: ...
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...
