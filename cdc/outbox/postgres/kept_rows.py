"""Rows that the PostgreSQL outbox keeps for sources that compare (`cdc.model.snapshot_row`)."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.model.snapshot_row import SnapshotChange, SnapshotRow
from cdc.outbox.postgres.session import Db

_ALL = "DELETE FROM cdc_outbox.kept_row WHERE source = %(source)s AND table_name = %(table)s"
_SOME = f"{_ALL} AND key = ANY (%(keys)s::bytea[])"


async def keep(db: Db, source: str, change: SnapshotChange) -> None:
    if change.anew:
        await db.query(_ALL, {"source": source, "table": change.table})
    if change.gone:
        await db.query(_SOME, {"source": source, "table": change.table, "keys": list(change.gone)})
    if change.written:
        keys, digests, contents = (list(column) for column in zip(*change.written, strict=True))
        await db.write("keep_rows", source=source, table=change.table, keys=keys, digests=digests, contents=contents)


async def digests(
    db: Db, source: str, table: str, limit: int, *, after: bytes | None, until: bytes | None
) -> list[tuple[bytes, bytes]]:
    found = await db.rows("kept_digests", source=source, table=table, after=after or b"", until=until, limit=limit)
    return [(key, digest) for key, digest in found]


async def rows(db: Db, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
    found = await db.rows("kept_rows", source=source, table=table, keys=list(keys))
    return {row[0]: SnapshotRow(*row) for row in found}
