"""PostgreSQL's errors as sentences."""

from __future__ import annotations

from typing import Final

import psycopg

from cdc.model.connection import ConnectionInfo
from cdc.model.errors import OutboxError, OutboxUnavailable

_ROLE = "See the user and password in [outbox] url, and the server's pg_hba.conf."
#: SQLSTATE, or its class of two characters → what is wrong, and how to mend it
_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "53100": ("has no room: the server's disk is full", "Free space on that disk; nothing was half-written."),
    "53200": ("has no memory left", "See the server's log."),
    "53300": ("takes no more connections", "Raise max_connections on the server: each process of cdc needs six."),
    "55P03": ("is locked by another process", "It is tried again; pg_locks shows who holds the lock."),
    "42501": (
        "refuses this user a table or schema",
        "Let the user own the schema cdc_outbox: cdc outbox sql prints it.",
    ),
    "25006": ("cannot be written: the server is a standby or read-only", "Name the primary server in [outbox] url."),
    "28": ("refuses the user", _ROLE),
    "3D": ("does not exist on this server", "Create the database (CREATE DATABASE), or name another in [outbox] url."),
    "3F": ("has no schema cdc_outbox any more", "Restore it from a backup, or start again: cdc makes it."),
    "42P01": ("lacks one of its tables", "Restore the schema cdc_outbox from a backup."),
    "XX001": ("is damaged", "See the server's log; restore the database from a backup."),
    "XX002": ("has a damaged index", "REINDEX SCHEMA cdc_outbox"),
    "58": ("cannot be read or written: the server's disk failed", "See the server's log about that disk."),
}
#: Classes and codes of a server that went away or is not there yet.
_AWAY: Final = ("08", "57P", "25P03")


def sentence(error: psycopg.Error, info: ConnectionInfo) -> OutboxError:
    """The error to raise from ``error``.  The server's primary message names the operation, never a value."""
    where = f"The outbox in {info.describe()}"
    state = error.sqlstate or ""
    what = _SENTENCES.get(state) or _SENTENCES.get(state[:2])
    if what is not None:
        return OutboxError(f"{where} {what[0]}.", what[1])
    reason = (error.diag.message_primary or _last_line(error)).strip().rstrip(".")
    if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
        if refused := _refusal(reason):
            return OutboxError(f"{where} {refused[0]}.", refused[1])
        return OutboxUnavailable(f"{where} does not answer: {reason}.", "Is the server up and reachable?")
    return OutboxError(f"{where} refused an operation: {reason}.")


def _refusal(reason: str) -> tuple[str, str] | None:
    """libpq gives no code for what a server said while connecting."""
    if "authentication failed" in reason or "no pg_hba.conf entry" in reason or "no password supplied" in reason:
        return _SENTENCES["28"]
    return _SENTENCES["3D"] if reason.endswith("does not exist") and "database" in reason else None


def _last_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
