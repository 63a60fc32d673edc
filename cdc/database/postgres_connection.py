"""Opens PostgreSQL connections whose search path is pinned to ``pg_catalog``.

Otherwise an account that may create objects in a schema of the search path could have its operators and functions
called with the rights of the DBA or the consumer.
"""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.database.libpq import conninfo
from cdc.model.connection import ConnectionInfo
from cdc.sqlfile import load


def connect(info: ConnectionInfo, application: str, **more: str) -> psycopg.Connection[Any]:
    """Return a connection in autocommit mode.  ``more``: further parameters of libpq.  Raises `psycopg.Error`."""
    connection = psycopg.connect(conninfo(info, application, **more), autocommit=True)
    try:
        connection.execute(_pin())
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_async(info: ConnectionInfo, application: str, **more: str) -> psycopg.AsyncConnection[Any]:
    """Return what `connect` does."""
    connection = await psycopg.AsyncConnection.connect(conninfo(info, application, **more), autocommit=True)
    try:
        await connection.execute(_pin())
    except BaseException:
        await connection.close()
        raise
    return connection


def _pin() -> bytes:
    return load("postgres/pin_names.sql").encode()
