"""By which way the slot is read: a replication connection, or, where there is none to be had, SQL functions."""

from __future__ import annotations

import structlog

from cdc.connection import ConnectionInfo
from cdc.errors import SourceError
from cdc.source.logical.base import LogStream
from cdc.source.logical.peek import PeekStream
from cdc.source.logical.replication import ReplicationStream

log = structlog.get_logger()


async def connected(name: str, info: ConnectionInfo, slot: str, publication: str) -> LogStream:
    """``name``: of the source.  Raises `SourceError` for what neither way mends."""
    stream = ReplicationStream(info, slot, publication)
    try:
        await stream.connect()
    except SourceError as error:
        await stream.close()
        log.warning("no replication connection", source=name, error=str(error), action="reading by SQL functions")
        return PeekStream(info, slot, publication)
    return stream
