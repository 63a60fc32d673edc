"""Answers that lack rows which are there: a renamed or half restored table, a proxy that answers ``[]``; and rows that
are really deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from cdc.model.event import Event
from support.facturascripts_api import Api, serving
from support.memory_outbox import MemoryOutbox
from support.polling import PassingClock, Polling, alive, polling

TABLES = ("facturascli", "clientes", "stocks")
#: Longer than a comparison of everything takes to come round.
ROUND = 320.0


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as served:
        for number in range(1, 61):
            served.put("facturascli", {"idfactura": number, "pagada": True, "total": 1.0})
            served.put("clientes", {"codcliente": f"c{number:02}", "nombre": "Ana"})
            served.put("stocks", {"idstock": number, "cantidad": 1.0})
        yield served


@pytest.fixture(params=[7, 500])
async def polled(api: Api, request: pytest.FixtureRequest) -> AsyncIterator[Polling]:
    source = polling(api, MemoryOutbox(), PassingClock(), TABLES, page_size=request.param)
    async with alive(source):
        await source.run(60)
        assert source.emitted == []
        yield source


def deleted(events: Iterable[Event]) -> list[Any]:
    assert all(event.name.endswith(".deleted") for event in events)
    return sorted(key for event in events for key in event.key.values())


@pytest.mark.parametrize("seconds", [4.0, 60.0, 250.0])
@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_table_that_is_renamed_away_gives_no_events(
    api: Api, polled: Polling, table: str, seconds: float
) -> None:
    for start in (3.0, 100.0, 290.0):
        await polled.run(start)
        api.away = {table}
        await polled.run(seconds)
        api.away = set()
    assert await polled.run(4 * ROUND) == []


@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_table_that_goes_away_while_it_is_read_first_gives_no_events(api: Api, table: str) -> None:
    polled = polling(api, MemoryOutbox(), PassingClock(), (table,), page_size=7)
    answers = 0

    def leave(_table: str) -> None:
        nonlocal answers
        answers += 1
        if answers == 4:
            api.away = {table}

    api.before_answer = leave
    async with alive(polled):
        await polled.run(20)
        api.away = set()
        assert await polled.run(2 * ROUND) == []
        api.put("facturascli", {"idfactura": 61})
        api.put("clientes", {"codcliente": "c61"})
        assert [event.table for event in await polled.run(ROUND)] == [table]


async def test_row_that_is_deleted_at_the_end_of_a_page_of_the_first_reading_ends_nothing(api: Api) -> None:
    api.data["facturascli"] = {key: row for key, row in api.data["facturascli"].items() if key <= 7}
    polled = polling(api, MemoryOutbox(), PassingClock(), ("facturascli",), page_size=7)
    answers = 0

    def delete(_table: str) -> None:
        nonlocal answers
        answers += 1
        if answers == 2:
            api.delete("facturascli", 7)

    api.before_answer = delete
    async with alive(polled):
        await polled.run(20)
        assert polled.failures == []
        assert [event.name for event in await polled.run(2 * ROUND)] == ["invoice.deleted"]


async def test_changes_of_other_tables_are_reported_while_one_is_away(api: Api, polled: Polling) -> None:
    api.away = {"facturascli"}
    api.put("clientes", {"codcliente": "c01", "nombre": "Bea"})
    api.delete("stocks", 5)
    told = await polled.run(ROUND)
    assert sorted(event.name for event in told) == ["customer.updated", "stock.deleted"]


@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_table_that_is_restored_row_by_row_gives_no_events(api: Api, polled: Polling, table: str) -> None:
    rows = api.data[table]
    api.data[table] = {}
    for key, row in rows.items():
        await polled.run(10)
        api.data[table][key] = row
    assert await polled.run(4 * ROUND) == []


async def test_restored_backup_gives_the_differences_alone(api: Api, polled: Polling) -> None:
    backup = dict(api.data["facturascli"])
    api.put("facturascli", {"idfactura": 61, "total": 5.0})
    api.put("facturascli", {"idfactura": 3, "total": 5.0})
    assert sorted(event.name for event in await polled.run(ROUND)) == ["invoice.created", "invoice.updated"]
    api.away = {"facturascli"}
    await polled.run(90)
    api.data["facturascli"] = {key: dict(row) for key, row in backup.items()} | {3: backup[3] | {"total": 1.0}}
    api.away = set()
    told = await polled.run(4 * ROUND)
    assert sorted(event.name for event in told) == ["invoice.deleted", "invoice.updated"]


@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_half_of_the_rows_away_for_minutes_gives_no_events(api: Api, polled: Polling, table: str) -> None:
    rows = api.data[table]
    api.data[table] = dict(list(rows.items())[::2])
    await polled.run(250)
    api.data[table] = rows
    assert await polled.run(4 * ROUND) == []


@pytest.mark.parametrize("body", ["[]", "{}", "<html>"])
async def test_answers_of_a_proxy_give_no_events(api: Api, polled: Polling, body: str) -> None:
    api.instead = body
    assert await polled.run(1200) == []
    api.instead = None
    assert await polled.run(4 * ROUND) == []


@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_few_deleted_rows_are_reported_with_the_next_comparison(api: Api, polled: Polling, table: str) -> None:
    keys = list(api.data[table])
    gone = [keys[0], keys[20], keys[-1]]
    for key in gone:
        api.delete(table, key)
    assert deleted(await polled.run(ROUND)) == gone


@pytest.mark.parametrize("share", [1, 2])
@pytest.mark.parametrize("table", ["facturascli", "clientes"])
async def test_emptied_table_is_reported_after_minutes(api: Api, polled: Polling, table: str, share: int) -> None:
    gone = list(api.data[table])[::share]
    for key in gone:
        api.delete(table, key)
    assert await polled.run(290) == []
    assert deleted(await polled.run(2 * ROUND)) == gone
    assert await polled.run(2 * ROUND) == []


async def test_all_tables_without_rows_are_a_gap_and_not_deletions(api: Api, polled: Polling) -> None:
    api.away = set(TABLES)
    assert await polled.run(2000) == []
    assert sorted(gap.table for gap in polled.gaps) == sorted(TABLES)
    assert all("not given 60 of 60 rows" in gap.reason for gap in polled.gaps)
    api.away = set()
    api.put("stocks", {"idstock": 1, "cantidad": 2.0})
    assert {event.table for event in await polled.run(ROUND)} == {"stocks"}


async def test_lookup_of_a_table_that_is_away_waits_for_it(api: Api) -> None:
    api.put("presupuestoscli", {"idpresupuesto": 1, "idestado": 1, "editable": True})
    api.put("presupuestoscli", {"idpresupuesto": 2, "idestado": 1, "editable": True})
    api.put("estados_documentos", {"idestado": 2, "editable": False, "generadoc": "PedidoCliente"})
    polled = polling(api, MemoryOutbox(), PassingClock(), ("presupuestoscli",))
    async with alive(polled):
        await polled.run(60)
        api.put("presupuestoscli", {"idpresupuesto": 1, "idestado": 2, "editable": False})
        assert "estimate.approved" in [event.name for event in await polled.run(ROUND)]
        api.away = {"estados_documentos"}
        api.put("presupuestoscli", {"idpresupuesto": 2, "idestado": 2, "editable": False})
        assert await polled.run(ROUND) == []
        api.away = set()
        assert "estimate.approved" in [event.name for event in await polled.run(60)]
