"""When a table is read again, and when not yet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cdc.capture.base import Reread
from cdc.capture.pages import REREAD_RATE, PageReader, PageRequest, TablePage
from cdc.model.column import Table
from support.manual_clock import ManualClock

TABLE = Table("clientes", (), ("codcliente",))
GAP = (Reread("clientes", "lost/1"),)


async def _read(reader: PageReader) -> None:
    async def page() -> TablePage:
        return TablePage((), None, 0)

    wanted = await reader.next_request(GAP, {"clientes": TABLE})
    assert isinstance(wanted, PageRequest)
    assert await reader.read(wanted, page)
    assert reader.emit(GAP).rereads == ()


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


async def test_rereads_are_limited_to_a_rate() -> None:
    """Whatever their number of tables: a page of 500 rows is followed by half a second of rest."""
    clock = ManualClock()
    reader = PageReader("main", 500, timedelta(0), clock)
    rows = [{"codcliente": str(number)} for number in range(500)]

    async def page() -> TablePage:
        return TablePage(rows, rows[-1], len(rows))

    wanted = await reader.next_request(GAP, {"clientes": TABLE})
    assert wanted is not None
    assert await reader.read(wanted, page)
    left = (*reader.emit(GAP).rereads, Reread("proveedores", "lost/1"))
    assert not reader.due(left)
    assert reader.rest(10.0) == pytest.approx(500 / REREAD_RATE)
    clock.advance(500 / REREAD_RATE)
    assert reader.due(left)
