"""What every outbox keeps of rows for sources that compare."""

from __future__ import annotations

import orjson
import pytest

from cdc.kept import KeptChange, KeptRow
from cdc.outbox.base import OutboxStore
from cdc.position import Position
from support.outboxes import NOW, event

A, B, C, D = (KeptRow(bytes([0, number, 255]), bytes([number]) * 16, b"row\0" + bytes([number])) for number in range(4))


async def keep(outbox: OutboxStore, *rows: KeptRow, source: str = "main", table: str = "clientes") -> None:
    await outbox.store(source, Position("p"), [], {}, NOW, kept=KeptChange(table, rows))


async def keys(outbox: OutboxStore, table: str = "clientes", source: str = "main") -> list[bytes]:
    return [key for key, _ in await outbox.kept_digests(source, table, 100)]


async def test_nothing_is_kept_at_first(outbox: OutboxStore) -> None:
    assert await outbox.kept_digests("main", "clientes", 10) == []
    assert await outbox.kept_rows("main", "clientes", [A.key]) == {}
    assert await outbox.kept_rows("main", "clientes", []) == {}


async def test_rows_are_kept_as_they_are_in_the_order_of_their_keys(outbox: OutboxStore) -> None:
    await keep(outbox, C, A, D, B)
    assert await outbox.kept_digests("main", "clientes", 100) == [(row.key, row.digest) for row in (A, B, C, D)]
    assert await outbox.kept_rows("main", "clientes", [D.key, b"?", A.key]) == {A.key: A, D.key: D}


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
        found = await outbox.kept_digests("main", "clientes", limit, after, until)
        assert [key for key, _ in found] == [row.key for row in expected]


async def test_they_change_go_and_begin_anew(outbox: OutboxStore) -> None:
    await keep(outbox, A, B, C)
    changed = KeptRow(B.key, D.digest, D.row)
    await outbox.store("main", Position("p"), [], {}, NOW, kept=KeptChange("clientes", (changed,), (A.key, b"unknown")))
    assert await outbox.kept_rows("main", "clientes", [A.key, B.key, C.key]) == {B.key: changed, C.key: C}
    await outbox.store("main", Position("p"), [], {}, NOW, kept=KeptChange("clientes", (D,), anew=True))
    assert await keys(outbox) == [D.key]
    await outbox.store("main", Position("p"), [], {}, NOW)
    assert await keys(outbox) == [D.key], "what is not spoken of stays"


async def test_each_source_and_table_has_its_own(outbox: OutboxStore) -> None:
    await keep(outbox, A)
    await keep(outbox, B, table="users")
    await keep(outbox, C, source="shop")
    await outbox.store("main", Position("p"), [], {}, NOW, kept=KeptChange("clientes", anew=True))
    assert await keys(outbox) == []
    assert (await keys(outbox, "users"), await keys(outbox, source="shop")) == ([B.key], [C.key])


async def test_they_are_stored_with_events_and_position_or_not_at_all(outbox: OutboxStore) -> None:
    await keep(outbox, A)
    with pytest.raises(orjson.JSONEncodeError):
        await outbox.store(
            "main",
            Position("q"),
            [event(1, data={"x": object()})],
            {},
            NOW,
            kept=KeptChange("clientes", (B,), (A.key,)),
        )
    assert await keys(outbox) == [A.key]
    assert await outbox.position("main") == "p"
