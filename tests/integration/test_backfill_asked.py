"""Backfills that are asked for over the API: what the database says of them, and what is not told of what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.changing import fill
from support.consumer import TABLE, database_url
from support.database import Database
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox

ROWS = 250


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Managed]:
    database.execute(TABLE)
    fill(database, ROWS)
    database.execute("UPDATE contadores SET nota = 'Ann Secret'")
    main = {"url": database_url(database.info), "tables": ["contadores"]}
    async with managing(MemoryOutbox(), source={"main": main}) as managed:
        yield managed


async def test_the_database_says_what_can_be_read(api: Managed) -> None:
    wanted = {"source": "main", "table": "contadores"}
    begun = await api.ask("POST", "/backfills", json=wanted | {"where": "nota LIKE 'Ann%' AND abs(id) <> 3"})
    assert begun.status == 202, begun.text
    assert 0 <= begun.json["estimate"] <= ROWS
    for condition, told in (
        ("nada = 1", "nada"),
        ("id = = 1", "does not fit the table contadores"),
        ("nota = ANY ('Ann Secret')", "calls any"),
    ):
        refused = await api.ask("POST", "/backfills", json=wanted | {"where": condition})
        assert refused.status == 422, condition
        assert told in refused.json["detail"], refused.text
    assert len(await api.store.backfills(10)) == 1
