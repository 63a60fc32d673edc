"""When a table is read again, and when not yet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cdc.column import Table
from cdc.source.pages import Page, PageReader, Wanted
from cdc.source.reread import Reread
from support.manual_clock import ManualClock

TABLE = Table("clientes", (), ("codcliente",))
GAP = (Reread("clientes", "lost/1"),)


async def _read(reader: PageReader) -> None:
    async def page() -> Page:
        return Page((), None, 0)

    wanted = await reader.wanted(GAP, {"clientes": TABLE})
    assert isinstance(wanted, Wanted)
    assert await reader.read(wanted, page)
    assert reader.told(GAP).rereads == ()


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_setting_the_clock_changes_no_pause_between_two_rereads(step: float) -> None:
    clock = ManualClock()
    reader = PageReader("main", 10, timedelta(minutes=1), clock)
    await _read(reader)
    clock.set_wall(step)
    clock.advance(59)
    assert not reader.due(GAP)
    clock.advance(1)
    assert reader.due(GAP)
