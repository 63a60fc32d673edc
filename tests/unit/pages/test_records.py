"""Records by their names on the page: code, customer and amount, for those who may see payloads."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from cdc.dispatch.message import record_title
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.example import ROWS
from cdc.model.errors import ConfigError
from cdc.model.event import Label
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store

NAME = "FAC2026A12 · Talleres Ruiz &amp; Hijos, S.L. · €423.50"
LABELS = ("fac2026a12", "talleres ruiz & hijos, s.l.")


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(secret="whsec_" + "c2VjcmV0" * 4))
    await store(
        outbox,
        event(1, "facturascli:12", name="invoice.paid", data=dict(ROWS["facturascli"]), labels=LABELS),
        event(2, "miplugin:7", name="miplugin.created", data={"codigo": "PLUGIN-7"}),
    )
    async with managing(outbox) as managed:
        yield managed


@pytest.mark.parametrize(
    "path",
    [
        *("/deliveries", "/deliveries/dlv_1", "/events", "/events/evt_1", "/endpoints/ep_a", "/sources/main"),
        "/records/main/facturascli:12",
    ],
)
async def test_managers_see_names_and_viewers_keys(managed: Managed, path: str) -> None:
    async with visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
        shown, hidden = (await ann.get(path)).text, (await bob.get(path)).text
    assert NAME in shown
    assert "facturascli:12" in hidden
    assert "Talleres Ruiz" not in hidden
    assert "FAC2026A12" not in hidden


async def test_a_record_without_a_label_is_shown_by_its_key(managed: Managed) -> None:
    async with visiting(managed, "ann") as ann:
        text = (await ann.get("/events")).text
    assert "miplugin:7" in text
    assert "PLUGIN-7" not in text


async def test_replays_of_a_record_show_its_name(managed: Managed) -> None:
    async with visiting(managed, "ann") as ann:
        text = (await ann.get("/replays/new?record=facturascli:12&count=1")).text
    assert NAME in text


def test_every_packaged_label_names_columns_of_the_example_rows() -> None:
    entities = load_catalogue().entities
    assert all(entity.label.columns for entity in entities)
    missing = {
        (entity.name, column)
        for entity in entities
        for column in entity.label.columns
        if column not in ROWS[entity.table]
    }
    assert missing == set()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"codigo": "F1", "nombrecliente": "Ruiz", "total": 1423.5, "coddivisa": "EUR"}, "F1 · Ruiz · 1.423,50 €"),
        ({"codigo": "F1", "nombrecliente": " ", "total": 12345, "coddivisa": "EUR"}, "F1 · 12.345,00 €"),
        ({"codigo": "F1", "total": 3.0, "coddivisa": "???"}, "F1 · 3,00"),
        ({"total": 3.0}, "facturascli:12 · 3,00"),
        ({"codigo": None, "nombrecliente": ["x"], "total": "much"}, ""),
        ({"nombrecliente": "R" * 200}, "R" * 80 + "…"),
        ({}, ""),
    ],
)
def test_a_name_has_what_the_row_has(data: dict[str, object], shown: str) -> None:
    invoice = Label("codigo", "nombrecliente", "total")
    assert record_title(invoice, data, "es", "facturascli:12").replace("\xa0", " ") == shown


def test_a_label_of_the_users_file_replaces_the_packaged_one() -> None:
    own = load_catalogue('[entity.invoice]\nlabel = { code = "numero2" }\n')
    assert next(each.label for each in own.entities if each.name == "invoice") == Label("numero2")
    with pytest.raises(ConfigError, match=r"rules\.toml, line 2: The table facturascli has no column numero2"):
        raise own.check({"facturascli": ["codigo"]})[1][0]
    with pytest.raises(ConfigError, match="there is no key 'colour' here"):
        load_catalogue('[entity.invoice]\nlabel = { colour = "x" }\n')


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("facturascli:12", "/records/main/facturascli%3A12"),
        ("invoice:12", "/records/main/facturascli%3A12"),
        ("FAC2026A12", "/records/main/facturascli%3A12"),
        ("Talleres Ruiz & Hijos, S.L.", "/records/main/facturascli%3A12"),
        ("talleres", "/records/main/facturascli%3A12"),
        ("Hijos", "/records/main/facturascli%3A12"),  # within the payload of one of the newest events
        ("evt_2", "/events/evt_2"),
        ("dlv_1", "/deliveries/dlv_1"),
    ],
)
async def test_a_text_that_means_one_record_leads_there(managed: Managed, search: str, found: str) -> None:
    async with visiting(managed, "ann") as ann:
        assert (await ann.get(f"/records?{urlencode({'search': search})}")).headers["Location"] == found


async def test_of_several_records_the_whole_code_goes_first(managed: Managed) -> None:
    more = [event(number, labels=(f"fac2026a1{number}", "talleres ruiz")) for number in (20, 21)]
    await store(managed.store, *more, event(22, "miplugin:7", source="shop", labels=("fac2026a12", "")))
    async with visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
        whole = (await ann.get("/records?search=FAC2026A12")).text
        begins = (await ann.get("/records?search=FAC2026A12&begins=1")).text
        nothing = (await ann.get("/records?search=Nobody")).text
        key, text = [(await bob.get(f"/records?search={each}")).text for each in ("none:1", "FAC2026A12")]
        missing = await ann.get("/records/main/facturascli:99")
        elsewhere = await ann.get("/records/shop/facturascli:12")
    paths = re.compile(r'<td class="whose"><a href="/records/(\w+)/([^"]+)"')
    assert paths.findall(whole) == [("shop", "miplugin%3A7"), ("main", "facturascli%3A12")]
    assert len(paths.findall(begins)) == 4  # also FAC2026A120 and FAC2026A121
    assert "begins=1" in whole
    assert "No stored event has a record" in nothing
    assert "No stored event has a record" in key
    assert "Only managers search by code and name" in text
    assert missing.status == elsewhere.status == 404
    assert 'href="/records/main/facturascli%3A12"' in elsewhere.text


async def test_a_history_shows_what_changed_to_managers_only(managed: Managed) -> None:
    for name in ("ep_b", "ep_c"):
        await managed.store.add_endpoint(endpoint(name, secret="whsec_" + "c2VjcmV0" * 4))
    shown = {"total": 900.5, "nombrecliente": "<b>Ruiz</b>", "observaciones": "x" * 300}
    link = "https://erp.example.com/EditFacturaCliente?code=12"
    await store(
        managed.store,
        event(3, "facturascli:12", data=shown, previous={"total": 423.5, "nombrecliente": None}, link=link),
    )
    path = "/records/main/facturascli:12"
    async with visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
        seen, hidden = (await ann.get(path)).text, (await bob.get(path)).text
    assert "<code>total</code> <del>423.5</del> → <ins>900.5</ins>" in seen
    assert "<ins>&lt;b&gt;Ruiz&lt;/b&gt;</ins>" in seen
    assert f'href="{link}"' in seen
    assert seen.count('href="/deliveries/dlv_') == hidden.count('href="/deliveries/dlv_') == 4
    assert "423.5" not in hidden
    assert "erp.example.com" not in hidden
