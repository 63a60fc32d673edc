"""What a source that polls tells, on a double of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdc.capture.rest.client import ApiClient, BanGuard, Budget, Withheld
from cdc.capture.rest.reader import Resource
from cdc.capture.rest.source import ApiInspector
from cdc.facturascripts.schema import resources as resources_of
from cdc.model.change import Batch, Position
from cdc.model.errors import ApiError, PositionMoved, SourceError
from cdc.model.event import Event, event_payload
from cdc.model.finding import Severity
from support.facturascripts_api import TOKEN, Api, serving
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW
from support.polling import PassingClock, Polling, alive, polling

INVOICE = {
    "idfactura": 12, "codigo": "FAC1", "codcliente": "1", "total": 121.0, "pagada": False, "editable": True,
    "idestado": 10, "fecha": "2026-11-24", "hora": "21:48:00", "observaciones": "O&#39;Brien",
}  # fmt: skip
CUSTOMER = {"codcliente": "1", "nombre": "Ana", "debaja": False}
BOTH = ("facturascli", "clientes")
#: Longer than a comparison of everything takes to come round.
ROUND = 310.0


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as served:
        yield served


def polls(api: Api, store: MemoryOutbox | None = None, tables: tuple[str, ...] = BOTH, **options: Any) -> Polling:
    return polling(api, store or MemoryOutbox(), PassingClock(), tables, **options)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def filled(api: Api, invoices: int = 30) -> Api:
    for number in range(1, invoices + 1):
        api.put("facturascli", INVOICE | {"idfactura": number})
    api.put("clientes", CUSTOMER)
    return api


async def test_first_sight_is_silent_then_changes_are_told(api: Api) -> None:
    api.put("facturascli", INVOICE)
    api.put("clientes", CUSTOMER)
    polled = polls(api)
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


async def test_payment_shows_its_invoice_and_customer(api: Api) -> None:
    tables = ("clientes", "facturascli", "recibospagoscli", "pagoscli")
    api.put("facturascli", INVOICE | {"nombrecliente": "Ana"})
    api.put("clientes", CUSTOMER | {"email": "ana@example.com", "telefono1": "965"})
    api.put("recibospagoscli", {"idrecibo": 27, "idfactura": 12, "codcliente": "1", "importe": 121.0, "pagado": False})
    polled = polls(api, tables=tables, include=("customer", "lines"))
    async with alive(polled):
        assert await polled.run(400) == []
        api.put("pagoscli", {"idpago": 33, "idrecibo": 27, "importe": 121.0})
        (_, recorded) = await polled.run(70)
    assert (recorded.name, recorded.link) == ("payment.recorded", f"{api.url}/EditReciboCliente?code=27")
    assert recorded.related is not None
    assert (recorded.related["invoice"]["code"], recorded.related["invoice"]["total"]) == ("FAC1", 121.0)
    customer = {"code": "1", "name": "Ana", "email": "ana@example.com", "phone": "965"}
    assert customer.items() <= recorded.related["customer"].items()


async def test_rows_that_are_there_may_be_told(api: Api) -> None:
    polled = polls(filled(api), existing="read", page_size=7)
    async with alive(polled):
        assert sorted(set(names(await polled.run(60)))) == ["customer.read", "invoice.read"]
        assert len(polled.emitted) == 31
        assert await polled.run(2 * ROUND) == []


async def test_a_document_s_state_and_lines_are_looked_up(api: Api) -> None:
    api.put("presupuestoscli", {"idpresupuesto": 1, "idestado": 1, "editable": True})
    api.put("estados_documentos", {"idestado": 2, "editable": False, "generadoc": "PedidoCliente"})
    polled = polls(api, tables=("presupuestoscli",), include=("lines",))
    async with alive(polled):
        await polled.run(60)
        api.put("presupuestoscli", {"idpresupuesto": 1, "idestado": 2, "editable": False})
        api.put("lineaspresupuestoscli", {"idlinea": 5, "idpresupuesto": 1, "cantidad": 2.0})
        told = await polled.run(ROUND)
    assert "estimate.approved" in names(told)
    assert [line["cantidad"] for line in told[0].data["lines"]] == [2.0]


async def test_change_of_lines_alone_updates_document(api: Api) -> None:
    api.put("presupuestoscli", {"idpresupuesto": 1, "idestado": 1, "total": 5.0})
    api.put("lineaspresupuestoscli", {"idlinea": 5, "idpresupuesto": 1, "descripcion": "a"})
    polled = polls(api, tables=("presupuestoscli", "lineaspresupuestoscli"), include=("lines",))
    async with alive(polled):
        assert await polled.run(60) == []
        api.put("lineaspresupuestoscli", {"idlinea": 5, "idpresupuesto": 1, "descripcion": "b"})
        (event,) = await polled.run(ROUND)
    assert (event.name, event.key, event.data["total"]) == ("estimate.updated", {"idpresupuesto": 1}, 5.0)
    assert [line["descripcion"] for line in event.data["lines"]] == ["b"]
    assert event.previous is not None
    assert [line["descripcion"] for line in event.previous["lines"]] == ["a"]


async def test_what_was_not_stored_is_told_again_and_what_was_is_not(api: Api) -> None:
    polled = polls(filled(api), page_size=7)
    async with alive(polled):
        for _ in range(3):
            await polled.step(stored=False)  # nothing was seen yet
        await polled.run(60)
        for number in range(1, 31):
            api.put("facturascli", {"idfactura": number, "total": 1.0})
        lost = await _next_told(polled, stored=False)
        for _ in range(2):
            await _next_told(polled, stored=True)
            await polled.die()
        await polled.run(2 * ROUND)
    assert lost.transactions
    assert sorted(event.key["idfactura"] for event in polled.emitted) == list(range(1, 31))


async def _next_told(polled: Polling, *, stored: bool) -> Batch:
    while True:
        batch = await polled.step(stored=stored)
        if batch.transactions:
            return batch


async def test_the_same_change_of_a_row_again_is_another_event(api: Api) -> None:
    polled = polls(filled(api, 1))
    async with alive(polled):
        await polled.run(60)
        for total in (1.0, 121.0) * 3:
            api.put("facturascli", {"idfactura": 1, "total": total})
            await polled.run(ROUND)
            await polled.die()
    assert len({event.id for event in polled.emitted}) == len(polled.emitted) == 6


@pytest.mark.parametrize("page_size", [7, 500])
async def test_an_answer_that_lacks_rows_is_not_believed_at_once(api: Api, page_size: int) -> None:
    polled = polls(filled(api), page_size=page_size)
    async with alive(polled):
        await polled.run(60)
        for _ in range(8):
            api.empty = 1
            assert await polled.run(ROUND) == []
        api.data["facturascli"].clear()
        assert len(await polled.run(3 * ROUND)) == 30


async def test_a_resource_that_is_refused_does_not_hold_up_the_others(api: Api) -> None:
    polled = polls(filled(api))
    async with alive(polled):
        await polled.run(60)
        api.rights = {"clientes"}
        api.put("clientes", {"codcliente": "2"})
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        assert names(await polled.run(400)) == ["customer.created"]
        assert "facturaclientes" in await polled.store.refusals(api.url), "a new process knows of it"
        assert await polled.run(2600) == []
        assert len(api.incidents) >= 2
        api.rights = None
        assert "invoice.paid" in names(await polled.run(4000))
    assert not polled.failures


async def test_few_rights_and_many_doctors_never_come_near_a_ban(api: Api) -> None:
    """A doctor each two minutes, beside a consumer whose key may read 2 of 7 resources, the last to be asked for."""
    tables = ("facturasprov", "presupuestoscli", "pedidoscli", "albaranescli", "recibospagoscli", *BOTH)
    api.rights = set(BOTH)
    polled = polls(filled(api, 3), tables=tables, interval_seconds=30, compare_seconds=60)
    resources = [Resource(table, resources_of()[table], "x", numbered=True) for table in tables]
    async with alive(polled):
        for _ in range(15):
            await polled.run(120)
            client = ApiClient(api.url, TOKEN, Budget(60, polled.clock), BanGuard(api.url, polled.store, polled.clock))
            findings = await ApiInspector(client, api.url, 60, 500).findings(resources, ())
            assert any(each.severity is Severity.WRONG for each in findings)
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        api.put("clientes", {"codcliente": "2"})
        assert sorted(names(await polled.run(100))) == ["customer.created", "invoice.paid", "invoice.updated"]
    incidents = zip(api.incidents, api.incidents[4:], strict=False)
    assert all(fifth - first > 600 for first, fifth in incidents), "never more than four of the five that ban"


async def test_a_token_that_is_not_accepted_any_more_is_an_error_of_the_source(api: Api) -> None:
    polled = polls(filled(api))
    async with alive(polled):
        await polled.run(60)
        api.token = "another"
        await polled.run(7200)
        refused = [error for error in polled.failures if not isinstance(error, Withheld)]
        assert {error.status for error in refused if isinstance(error, ApiError)} == {401}
        assert all(fourth - first > 600 for first, fourth in zip(api.incidents, api.incidents[3:], strict=False))
        api.token = TOKEN
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        assert "invoice.paid" in names(await polled.run(2000))


async def test_when_no_resource_can_be_read_the_source_fails(api: Api) -> None:
    api.rights = set()
    polled = polls(api, tables=("facturascli",))
    async with alive(polled):
        await polled.run(120)
    assert any("No resource of the API" in error.message for error in polled.failures)


async def test_of_two_that_read_the_same_source_one_is_refused(api: Api) -> None:
    store = MemoryOutbox()
    one, other = polls(filled(api), store), polls(api, store)
    async with alive(one, other):
        await one.run(60)
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        assert "invoice.paid" in names(await other.run(60))
        api.put("facturascli", {"idfactura": 2, "pagada": True})
        with pytest.raises(PositionMoved):
            await one.run(ROUND)


async def test_what_another_way_of_capture_left_is_begun_anew(api: Api) -> None:
    store = MemoryOutbox()
    await store.store("main", Position('{"done":[],"huge":null,"rereads":[]}'), [], {}, NOW)
    polled = polls(filled(api), store)
    async with alive(polled):
        assert await polled.run(60) == []
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        assert "invoice.paid" in names(await polled.run(ROUND))


async def test_a_table_that_is_no_longer_read_is_forgotten(api: Api) -> None:
    store = MemoryOutbox()
    both, fewer = polls(filled(api), store), polls(api, store, ("facturascli",))
    async with alive(both):
        await both.run(60)
    async with alive(fewer):
        await fewer.run(60)
    assert await store.snapshot_digests("main", "clientes", 10) == []
    assert len(await store.snapshot_digests("main", "facturascli", 100)) == 30
    async with alive(again := polls(api, store)):
        assert await again.run(60) == []


async def test_a_key_that_the_database_orders_otherwise_is_told_of(api: Api) -> None:
    """A page that brings only what was seen would go round for ever."""
    for number in range(30):
        api.put("clientes", {"codcliente": f"c{number}"})
    polled = polls(api, tables=("clientes",), page_size=7)
    async with alive(polled):
        await polled.run(60)
        api.without_filters = True
        await polled.run(ROUND)
        assert polled.emitted == []
        assert any(isinstance(error, SourceError) for error in polled.failures)
