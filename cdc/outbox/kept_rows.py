"""Rows that the outbox keeps for sources that compare (`cdc.model.snapshot_row`)."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.model.snapshot_row import SnapshotChange, SnapshotRow
from cdc.outbox.database import Database


async def keep(db: Database, source: str, change: SnapshotChange) -> None:
    table = change.table
    if change.anew:
        await db.write("forget_kept_rows", source=source, table=table)
    if change.gone:
        await db.write_each("forget_kept_row", {"key": list(change.gone)}, source=source, table=table)
    if change.written:
        columns = dict(zip(("key", "digest", "content"), map(list, zip(*change.written, strict=True)), strict=True))
        await db.write_each("keep_row", columns, source=source, table=table)


async def digests(
    db: Database, source: str, table: str, limit: int, *, after: bytes | None, until: bytes | None
) -> list[tuple[bytes, bytes]]:
    found = await db.rows("kept_digests", source=source, table=table, after=after or b"", until=until, limit=limit)
    return [(key, digest) for key, digest in found]


async def rows(db: Database, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
    found = await db.rows_each("kept_row", {"key": list(keys)}, source=source, table=table)
    return {row[0]: SnapshotRow(*row) for row in found}
