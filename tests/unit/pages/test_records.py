"""Records by their names on the page: code, customer and amount, for those who may see payloads."""

from __future__ import annotations

from collections.abc import AsyncIterator

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


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(secret="whsec_" + "c2VjcmV0" * 4))
    await store(
        outbox,
        event(1, "facturascli:12", name="invoice.paid", data=dict(ROWS["facturascli"])),
        event(2, "miplugin:7", name="miplugin.created", data={"codigo": "PLUGIN-7"}),
    )
    async with managing(outbox) as managed:
        yield managed


@pytest.mark.parametrize(
    "path",
    ["/deliveries", "/deliveries/dlv_1", "/events", "/events/evt_1", "/endpoints/ep_a", "/sources/main"],
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
