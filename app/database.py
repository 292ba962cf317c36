"""Where the sample application keeps what it received: one SQLite file that all its worker processes write.

Its path is APP_DATABASE, by default sample.sqlite3 in the working directory. Look inside with
`sqlite3 sample.sqlite3 'SELECT * FROM readings'`.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence

SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    message_id TEXT PRIMARY KEY, device_id TEXT NOT NULL, temperature REAL NOT NULL, measured_at TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    message_id TEXT PRIMARY KEY, gateway TEXT NOT NULL, count INTEGER NOT NULL, mean REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (
    plant TEXT, line INTEGER, state TEXT NOT NULL, received_at REAL NOT NULL, PRIMARY KEY (plant, line)
) WITHOUT ROWID;
"""


class _Connections(threading.local):
    """One connection per thread: SQLite's belong to the thread that opened them."""

    connection: sqlite3.Connection | None = None


_connections = _Connections()


def execute(statement: str, *values: object) -> None:
    """Run one statement in a transaction of its own; another process sees it when this returns."""
    _connection().execute(statement, values)


def execute_many(statement: str, rows: Iterable[Sequence[object]]) -> None:
    """Run one statement for each row, all in one transaction: either all of them are there afterwards, or none."""
    connection = _connection()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, rows)


def _connection() -> sqlite3.Connection:
    if _connections.connection is None:
        _connections.connection = _connect()
    return _connections.connection


def _connect() -> sqlite3.Connection:
    # Autocommit, so that each statement takes the write lock at its start and waits for it, instead of failing halfway.
    connection = sqlite3.connect(
        os.environ.get("APP_DATABASE") or "sample.sqlite3", timeout=30, isolation_level=None, cached_statements=16
    )
    # Writers of several processes follow one another without blocking readers; a power cut may cost the last moments.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(SCHEMA)
    return connection
