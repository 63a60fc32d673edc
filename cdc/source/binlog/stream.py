"""Bytes of a replication stream → items.  Pure: whoever calls brings the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cdc.database.mysql_connection import Flavour
from cdc.source.binlog.item import Item
from cdc.source.binlog.layout import Layout
from cdc.source.binlog.log_position import LogPosition
from cdc.source.binlog.table_map import TableMap

#: Rows of one transaction beyond so many bytes are kept on disk.
SPILL_BYTES = 16 << 20


def read_log(
    chunks: Iterable[bytes],
    layouts: Callable[[TableMap], Layout | None],
    start: LogPosition,
    flavour: Flavour,
    *,
    server: str = "",
    spill_bytes: int = SPILL_BYTES,
) -> Iterator[Item]:
    """Yield what stands behind ``start``, pulling chunks lazily, until they end or the server says that its log ends.

    ``chunks``: the bytes that the server sends after the dump command, cut anywhere (`LogConnection.chunks`).
    ``layouts``: how rows of a table are read; None for tables of no interest, which are then skipped undecoded.  Asked
    once for each table map, and again after each `SchemaChange`.
    ``server``: the server's uuid, part of the tokens of transactions without GTID.
    Raises `MalformedEvent`, `LogIncomplete` (row images or formats that do not tell all) and `LogRefused` (the server's
    own error; `LogConnection.items` turns it into `LogPurged` where that is the reason).
    """
    raise NotImplementedError
