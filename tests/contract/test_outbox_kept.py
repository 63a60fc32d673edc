"""What every outbox keeps of rows for sources that compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdc.model.change import Position, SnapshotChange, SnapshotRow
from cdc.model.errors import PositionMoved
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, event
from support.waiting import HANG_SECONDS

A, B, C, D = (
    SnapshotRow(bytes([0, number, 255]), bytes([number]) * 16, b"row\0" + bytes([number])) for number in range(4)
)


async def change(
    outbox: OutboxStore, rows: tuple[SnapshotRow, ...] = (), gone: tuple[bytes, ...] = (), **fields: Any
) -> None:
    source = fields.pop("source", "main")
    kept = SnapshotChange(fields.pop("table", "clientes"), rows, gone, behind=await outbox.position(source), **fields)
    await outbox.store(source, Position("p"), [], {}, NOW, kept=kept)


async def keep(outbox: OutboxStore, *rows: SnapshotRow, **fields: Any) -> None:
    await change(outbox, rows, **fields)


async def keys(outbox: OutboxStore, table: str = "clientes", source: str = "main") -> list[bytes]:
    return [key for key, _ in await outbox.snapshot_digests(source, table, 100)]


async def test_nothing_is_kept_at_first(outbox: OutboxStore) -> None:
    assert await outbox.snapshot_digests("main", "clientes", 10) == []
    assert await outbox.snapshot_rows("main", "clientes", [A.key]) == {}
    assert await outbox.snapshot_rows("main", "clientes", []) == {}


async def test_rows_are_kept_as_they_are_in_the_order_of_their_keys(outbox: OutboxStore) -> None:
    await keep(outbox, C, A, D, B)
    assert await outbox.snapshot_digests("main", "clientes", 100) == [(row.key, row.digest) for row in (A, B, C, D)]
    assert await outbox.snapshot_rows("main", "clientes", [D.key, b"?", A.key]) == {A.key: A, D.key: D}


async def test_a_stretch_of_them_is_found(outbox: OutboxStore) -> None:
    await keep(outbox, A, B, C, D)
    for after, until, limit, expected in (
        (None, None, 2, [A, B]),
        (A.key, None, 2, [B, C]),
        (A.key, C.key, 9, [B, C]),
        (None, A.key, 9, [A]),
        (b"\0", b"\1", 9, [A, B, C, D]),
        (D.key, None, 9, []),
        (C.key, B.key, 9, []),
    ):
        found = await outbox.snapshot_digests("main", "clientes", limit, after, until)
        assert [key for key, _ in found] == [row.key for row in expected]


async def test_they_change_go_and_begin_anew(outbox: OutboxStore) -> None:
    await keep(outbox, A, B, C)
    changed = SnapshotRow(B.key, D.digest, D.row)
    await change(outbox, (changed,), (A.key, b"unknown"))
    assert await outbox.snapshot_rows("main", "clientes", [A.key, B.key, C.key]) == {B.key: changed, C.key: C}
    await change(outbox, (D,), reset=True)
    assert await keys(outbox) == [D.key]
    await outbox.store("main", Position("p"), [], {}, NOW)
    assert await keys(outbox) == [D.key], "what is not spoken of stays"


async def test_each_source_and_table_has_its_own(outbox: OutboxStore) -> None:
    await keep(outbox, A)
    await keep(outbox, B, table="users")
    await keep(outbox, C, source="shop")
    await change(outbox, reset=True)
    assert await keys(outbox) == []
    assert (await keys(outbox, "users"), await keys(outbox, source="shop")) == ([B.key], [C.key])


async def test_they_are_stored_with_events_and_position_or_not_at_all(outbox: OutboxStore) -> None:
    await keep(outbox, A)
    kept = SnapshotChange("clientes", (B,), (A.key,), behind=Position("p"))
    with pytest.raises(orjson.JSONEncodeError):
        await outbox.store("main", Position("q"), [event(1, data={"x": object()})], {}, NOW, kept=kept)
    assert await keys(outbox) == [A.key]
    assert await outbox.position("main") == "p"


@pytest.mark.parametrize("behind", [None, Position("o")])
async def test_what_was_compared_behind_another_position_is_refused(
    outbox: OutboxStore, behind: Position | None
) -> None:
    await keep(outbox, A)
    kept = SnapshotChange("clientes", (B,), (A.key,), behind=behind)
    with pytest.raises(PositionMoved, match="source main"):
        await outbox.store("main", Position("q"), [event(1)], {"a": "1"}, NOW, kept=kept)
    assert (await keys(outbox), await outbox.events(9), await outbox.states("main")) == ([A.key], [], {})
    assert await outbox.position("main") == "p"


async def test_whoever_reads_a_source_may_do_so_again(outbox: OutboxStore) -> None:
    assert await outbox.become_reader("main")
    assert await outbox.become_reader("main")
    assert await outbox.become_reader("shop")
    await outbox.stop_reading("main")
    await outbox.stop_reading("main")
    await outbox.stop_reading("never")
    assert await outbox.become_reader("main")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_one_of_several_processes_reads_a_source(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def process() -> OutboxStore:
        return (
            SqliteOutbox(tmp_path / "cdc.db")
            if kind == "sqlite"
            else PostgresOutbox(request.getfixturevalue("postgres_outbox_db").info)
        )

    first, second = process(), process()
    for each in (first, second):
        await each.open()
    assert await first.become_reader("main")
    assert not await second.become_reader("main")
    assert await second.become_reader("shop")
    await first.stop_reading("main")
    assert await second.become_reader("main")
    assert not await first.become_reader("main")
    await second.close()
    async with asyncio.timeout(HANG_SECONDS):
        while not await first.become_reader("main"):  # noqa: ASYNC110 - PostgreSQL notices the end a moment later
            await asyncio.sleep(0.01)
    await first.close()
