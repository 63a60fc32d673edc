"""Connections to PostgreSQL: parameters in the words of libpq, opening, and cutting one whose server is deaf; the
rights of accounts, as the catalogue says.

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
from cdc.model.connection import Account, AccountChoice, AccountRole, ConnectionInfo, KnownAccount, Standing

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


def login_refused(words: str) -> bool:
    """Return whether the server refused user or password, by its words: libpq has no code for an error that comes
    while it connects."""
    return any(each in words for each in ("authentication failed", "no pg_hba.conf entry", "no password supplied"))


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
    parameters = {
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
    return {**liveness, **{keyword: value for keyword, value in parameters.items() if value}}


def conninfo(info: ConnectionInfo, application: str, **more: str) -> str:
    """The same as a connection string, which holds the password.  ``more``: further parameters."""
    return make_conninfo("", **libpq_parameters(info, application), **more)


def _where(info: ConnectionInfo) -> tuple[str, str]:
    """Hosts and ports; a socket may be named by its directory or as the file in it, whose name ends in the port."""
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


_QUERIES = "postgres/read/accounts.sql"
Connection = psycopg.Connection[Any]


def accounts_of(choice: AccountChoice, info: ConnectionInfo, connection: Connection) -> dict[AccountRole, Account]:
    """Return the accounts for which grants are printed."""

    def known(name: str) -> KnownAccount:
        row = connection.execute(load(f"{_QUERIES}#known").encode(), [name]).fetchone()
        if row is None:
            return KnownAccount(Standing.ABSENT)
        foreign, elsewhere = row
        return KnownAccount(Standing.FOREIGN if foreign else Standing.SHARED if elsewhere else Standing.OWN)

    row = connection.execute(load(f"{_QUERIES}#owner").encode()).fetchone()
    installed = str(row[0]) if row else ""
    return {
        AccountRole.INSTALLER: choice.account(AccountRole.INSTALLER, info, known, installed),
        AccountRole.CONSUMER: choice.account(AccountRole.CONSUMER, info, known),
    }


def connecting_roles(connection: Connection) -> list[str] | None:
    """Return the roles that may connect to this database only because everybody may; None where not everybody may."""
    row = connection.execute(load(f"{_QUERIES}#everybody_connects").encode()).fetchone()
    if row is None or not row[0]:
        return None
    return [str(name) for (name,) in connection.execute(load(f"{_QUERIES}#connecting").encode()).fetchall()]


def replicating(connection: Connection, roles: list[str]) -> set[str]:
    """Return those of these roles that may read the log of the whole server."""
    found = connection.execute(load(f"{_QUERIES}#replicating").encode(), [roles]).fetchall()
    return {str(name) for (name,) in found}


def readers(connection: Connection, roles: list[str]) -> dict[str, str]:
    """Return those of these roles that may read something in this database: role → a table."""
    return dict(connection.execute(load(f"{_QUERIES}#readers").encode(), [roles]).fetchall())
