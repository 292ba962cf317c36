"""The table under the log of `routemq dev`: what became of the messages, route by route."""

import threading
from types import TracebackType
from typing import Self

import redis
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live

from routemq.connections import connect_redis
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.settings import load_settings
from routemq_dev.demo_table import DemoTable
from routemq_dev.dev_session import DevSession
from routemq_dev.progress import RouteProgress, read_progress

_REFRESH_S = 1.0
_LEAST_ROWS = 3


class Footer:
    """Refreshed by a thread of its own from the beginning of a `with` block to its end; on a terminal alone."""

    def __init__(self, session: DevSession, console: Console) -> None:
        self._session, self._console = session, console
        settings = load_settings()
        if "REDIS_URL" in session.env:
            settings = settings.model_copy(update={"redis_url": SecretStr(session.env["REDIS_URL"])})
        self._keys = Keys(settings.key_prefix)
        self._client = connect_redis(settings, timeout_s=2.0)
        self._table = DemoTable()
        self._progress: dict[str, RouteProgress] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dev-footer", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._console.is_terminal:
            self._thread.join()
        self._client.close()

    def _run(self) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not self._ended.wait(_REFRESH_S):
                problem = self._look()
                where = f"Flower {self._session.flower_url}" if self._session.flower_url else "routemq dlq list"
                told = f"Redis is away: {problem}" if problem else where
                rows = max(_LEAST_ROWS, self._console.height // 3)
                live.update(self._table.render(self._progress, footer=told, most_rows=rows), refresh=True)

    def _look(self) -> str | None:
        """Read what there is; return why that cannot be done."""
        try:
            self._progress = read_progress(self._client, self._keys, self._session.router)
        except redis.RedisError as exc:
            return explain(exc)
        # A record of another program under kombu's name, as anything else here, is no reason to end the terminal.
        except Exception as exc:  # noqa: BLE001
            return f"{type(exc).__name__}: {exc}"
        return None
