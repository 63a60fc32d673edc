"""Connections to PostgreSQL: parameters in the words of libpq, opening, and cutting one whose server is deaf.

The search path is pinned to ``pg_catalog``.  Otherwise an account that may create objects in a schema of it could
have its operators and functions called with the rights of the DBA or the consumer.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from cdc.database.sqlfile import load
from cdc.model.connection import ConnectionInfo

DEFAULT_PORT = 5432
_SOCKET_PREFIX = ".s.PGSQL."
#: Keyword → value.  Seconds, except tcp_user_timeout (milliseconds): a peer that went away without a word is noticed
#: within about half a minute, also while waiting.
_LIVENESS: dict[str, str] = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
#: The same where another server may have taken over, within half of that time.
_LIVENESS_OF_SEVERAL: dict[str, str] = {"connect_timeout": "4", "keepalives_idle": "5", "tcp_user_timeout": "10000"}


def own_words(error: psycopg.Error) -> str:
    """Return the server's own sentence, or libpq's without its explanations, which are indented, and without the
    address.  Neither ever has a password or a query's values."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    text = error.diag.message_primary or (lines or [type(error).__name__])[-1].rpartition(" failed: ")[2]
    return text.strip().rstrip(".")


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


def libpq_parameters(info: ConnectionInfo, application: str) -> dict[str, str]:
    """``application``: shown to the DBA in pg_stat_activity."""
    host, port = _where(info)
    tls = info.tls
    wanted = {
        "host": host,
        "port": port,
        "target_session_attrs": "read-write" if info.writable else "",
        "dbname": info.database,
        "user": info.user,
        "password": info.password,
        "sslmode": tls.mode,
        "sslrootcert": tls.ca,
        "sslcert": tls.certificate,
        "sslkey": tls.key,
        "application_name": application,
        "client_encoding": "UTF8",
    }
    liveness = {**_LIVENESS, **_LIVENESS_OF_SEVERAL} if info.others else _LIVENESS
    return {**liveness, **{keyword: value for keyword, value in wanted.items() if value}}


def conninfo(info: ConnectionInfo, application: str, **more: str) -> str:
    """The same as a connection string, which holds the password.  ``more``: further parameters."""
    return make_conninfo("", **libpq_parameters(info, application), **more)


def _where(info: ConnectionInfo) -> tuple[str, str]:
    """Hosts and ports; a socket may be given as its directory or as the file in it, whose name ends in the port."""
    port = str(info.port or DEFAULT_PORT)
    if not info.socket:
        hosts, ports = zip(*info.servers, strict=True)
        return ",".join(hosts), ",".join(str(each or DEFAULT_PORT) for each in ports)
    path = PurePosixPath(info.socket)
    if path.name.startswith(_SOCKET_PREFIX):
        number = path.name.removeprefix(_SOCKET_PREFIX)
        return str(path.parent), number if number.isdecimal() else port
    return str(path), port


def shut_down(descriptor: int) -> None:
    """Wake the thread that waits for this socket with an error."""
    with socket.socket(fileno=os.dup(descriptor)) as twin, suppress(OSError):  # the peer was quicker
        twin.shutdown(socket.SHUT_RDWR)
