"""What a source that polls tells, on a double of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cdc.event import Event
from cdc.outbox.memory.outbox import MemoryOutbox
from cdc.payload import event_payload
from cdc.source.rest.position import RestPosition
from support.facturascripts_api import Api, serving
from support.polling import PassingClock, Polling, alive, polling

INVOICE = {
    "idfactura": 12, "codigo": "FAC1", "codcliente": "1", "total": 121.0, "pagada": False, "editable": True,
    "idestado": 10, "fecha": "2026-11-24", "hora": "21:48:00", "observaciones": "O&#39;Brien",
}  # fmt: skip
CUSTOMER = {"codcliente": "1", "nombre": "Ana", "debaja": False}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as served:
        yield served


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


async def first(polled: Polling) -> None:
    """Until everything was seen once."""
    while not all(progress[1] for progress in await _progress(polled)):
        await polled.step()


async def _progress(polled: Polling) -> list[tuple[str, bool]]:
    position = RestPosition.load(await polled.store.position("main"))
    assert position is not None
    return [(each.table, position.of(each.table).known) for each in polled.source._polled.resources]


async def test_first_sight_is_silent_then_changes_are_told(api: Api) -> None:
    api.put("facturascli", INVOICE)
    api.put("clientes", CUSTOMER)
    polled = polling(api, MemoryOutbox(), PassingClock(), ("facturascli", "clientes"))
    async with alive(polled):
        assert await polled.run(400) == []
        api.put("facturascli", INVOICE | {"idfactura": 13, "codigo": "FAC2"})
        assert names(await polled.run(70)) == ["invoice.created"]
        api.put("facturascli", {"idfactura": 12, "pagada": True})
        api.put("clientes", {"codcliente": "2", "nombre": "Bea"})
        assert sorted(names(await polled.run(310))) == ["customer.created", "invoice.paid", "invoice.updated"]
        api.delete("clientes", "1")
        api.delete("facturascli", 12)
        told = await polled.run(310)
        assert sorted(names(told)) == ["customer.deleted", "invoice.deleted"]
        assert await polled.run(700) == []
    (gone,) = (event for event in told if event.name == "invoice.deleted")
    assert (gone.data["total"], gone.data["fecha"], gone.data["observaciones"]) == (121.0, "2026-11-24", "O'Brien")
    assert gone.observed
    assert b'"observed":true' in event_payload(gone)
