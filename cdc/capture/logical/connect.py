"""By which way the slot is read: a replication connection, or, where there is none to be had, SQL functions."""

from __future__ import annotations

import structlog

from cdc.capture.logical.base import LogStream
from cdc.capture.logical.peek import PeekStream
from cdc.capture.logical.replication import ReplicationStream
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError

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
