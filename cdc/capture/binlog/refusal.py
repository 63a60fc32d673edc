"""The server's own error in place of its log.  Pure."""

from __future__ import annotations

from cdc.database.mysql_connection import NO_PRIVILEGE, UNAVAILABLE
from cdc.model.errors import LogRefused, SourceError, SourceUnavailable

_STATE_MARK = ord("#")
_STATE_BYTES = 6
#: The query was interrupted: KILL, or the server shuts down.
_INTERRUPTED = 1317


def refusal(packet: bytes) -> SourceError:
    """``packet``: an error packet."""
    code = int.from_bytes(packet[1:3], "little")
    start = 3 + (_STATE_BYTES if packet[3:4] == bytes([_STATE_MARK]) else 0)
    words = packet[start:].decode("utf-8", "replace").strip().rstrip(".")
    if code in UNAVAILABLE or code == _INTERRUPTED:
        return SourceUnavailable(
            f"The server ends sending its log: {words} (error {code}).", "It is tried again; see the server's own log."
        )
    if code in NO_PRIVILEGE:
        return SourceError(
            f"The server does not let this account read its log: {words} (error {code}).",
            "GRANT REPLICATION SLAVE ON *.* TO the account.",
        )
    return LogRefused(f"The server does not give its log: {words} (error {code}).")
