"""When the server is asked to write its log to the disk: where a page waits for that, and nobody else has it done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from cdc.capture.base import Reread
from cdc.capture.logical.source import SlotPages
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.model.column import Table
from support.manual_clock import ManualClock

WANTED = PageRequest(Table("clientes", (), ("codcliente",)), None, 10, reread=Reread("clientes", "lost/1"))


class Server:
    """Its log ends at 1000; what is asked of it beside pages is kept."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.link = self

    async def read_page(
        self, _: PageRequest, __: str, ___: Mapping[str, Any]
    ) -> tuple[TablePage, list[tuple[str, str]]]:
        return TablePage((), None, 0), [("10:10:", "0/1000")]

    async def query(self, sql: str) -> list[Any]:
        self.asked.append(sql)
        return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def pages(clock: ManualClock, server: Server) -> SlotPages:
    """A page has been read, and waits."""
    pages = SlotPages(cast("PostgresLookup", server), clock)
    assert await pages.read(WANTED) is not None
    assert not pages.emitted()
    assert pages.longest_wait(idle=1.0) == pytest.approx(0.01), "it looks again when it would ask"
    return pages


async def test_others_may_have_it_done_first(pages: SlotPages, server: Server, clock: ManualClock) -> None:
    await pages.hurry()
    clock.advance(0.005)
    pages.reach(0x1000)
    clock.advance(1)
    await pages.hurry()
    assert pages.emitted()
    assert server.asked == []


async def test_a_page_that_waits_asks_once(pages: SlotPages, server: Server, clock: ManualClock) -> None:
    pages.reach(0xFFF)
    clock.advance(0.02)
    await pages.hurry()
    clock.advance(1)
    await pages.hurry()
    assert pages.longest_wait(idle=1.0) == 1.0, "the server says when"
    (sql,) = server.asked
    assert "pg_logical_emit_message" in sql
    assert not pages.emitted()


async def test_the_next_page_asks_again(pages: SlotPages, server: Server, clock: ManualClock) -> None:
    for _ in range(2):
        clock.advance(0.02)
        await pages.hurry()
        await pages.read(WANTED)
    assert len(server.asked) == 2
