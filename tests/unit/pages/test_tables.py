"""Tables of a source on the page: captured or not, and why; the lines that make events of more."""

from __future__ import annotations

from collections.abc import Sequence
from html import unescape

import pytest

from cdc.config import SourceConfig
from cdc.model.errors import SourceUnavailable
from cdc.model.finding import DescribedTable
from support.browsing import visiting
from support.managing import managing
from support.memory_outbox import MemoryOutbox

NO_RULE = "no rule names it"
FOUND = (
    DescribedTable("facturascli", 1200, True, "invoice", "entity invoice", "", "FacturaCliente", ("clave",)),
    DescribedTable("clientes", 3, True, "customer", "entity customer", "cdc install-triggers", "Cliente", ()),
    DescribedTable("familias", None, False, "", NO_RULE, "", "Familia", (), unnamed=True),
    DescribedTable("tpv_cajas", 4, False, "", NO_RULE, "", "", (), unnamed=True),
    DescribedTable("tpv_<b>", 4, False, "", NO_RULE, "", "", (), unnamed=True),
    DescribedTable("otra", 0, False, "", "it has no primary key", "", "", ()),
)
URL = "postgresql://cdc@db.example.com/erp"


async def test_every_table_and_the_lines_that_make_events_of_a_plugin_s(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def describe(source: SourceConfig) -> Sequence[DescribedTable]:
        asked.append(source.name)
        return FOUND

    async with managing(MemoryOutbox(), source={"main": {"url": URL, "tables": ["agentes"]}}) as managed:
        monkeypatch.setattr(managed.service, "describe_tables", describe)
        async with visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
            page = (await ann.get("/sources/main/tables")).text
            spanish = (await ann.get("/sources/main/tables", headers={"Accept-Language": "es"})).text
            make = unescape((await ann.get("/sources/main/tables?make=tpv_*")).text)
            one = unescape((await ann.get("/sources/main/tables?make=familias")).text)
            odd = (await ann.get("/sources/main/tables?make=facturascli")).text
            assert (await bob.get("/sources/main/tables")).status == 403
            assert (await ann.get("/sources/none/tables")).status == 404
            assert asked == ["main"]  # once in a minute
            managed.clock.advance(60)
            await ann.get("/sources/main/tables")
        assert asked == ["main", "main"]
    assert "2 of 6 make events." in page
    assert "2 tables of plugins make no events." in page
    assert "no triggers yet" in page
    assert "1 secret column is not read" in page
    assert "tpv_&lt;b&gt;" in page
    assert page.count("Make events of it") == 3
    assert "ninguna regla la nombra" in spanish
    assert "no tiene clave primaria" in spanish
    assert '[source.main]\ntables = ["agentes", "tpv_*"]\n' in make
    assert '[source.main]\ntables = ["agentes", "familias"]\n' in one
    assert "[source.main]" not in odd


async def test_a_database_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def describe(_source: SourceConfig) -> Sequence[DescribedTable]:
        raise SourceUnavailable("The server does not answer.")

    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        monkeypatch.setattr(managed.service, "describe_tables", describe)
        shown = await ann.get("/sources/main/tables")
    assert (shown.status, "The server does not answer." in shown.text) == (200, True)
