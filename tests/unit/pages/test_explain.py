"""The same answer on page and API, in the reader's language, without what the reader may not see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdc.access.model import Scope
from cdc.admin.explain import Reason
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store

DOCUMENTED = Path(__file__).resolve().parents[3] / "docs/troubleshooting.md"


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(description="Shop", condition='data.nombre == "Luis"'))
    await store(outbox, event(1, "facturascli:12", data={"nombre": "Ana"}))
    async with managing(outbox) as managed:
        yield managed


async def test_page_shows_values_to_managers_only(managed: Managed) -> None:
    path = "/explain?record=facturascli:12&endpoint=ep_a"
    async with visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
        shown = (await ann.get(path, headers={"Accept-Language": "es"})).text
        hidden = (await bob.get(path)).text
        form = await ann.get("/explain")
        unseen = (await ann.get("/explain?record=facturascli:12&event=invoice.deleted")).text
        refused = (await ann.get("/explain?record=facturascli:12&event=a+b")).text
    assert "El filtro de Shop descarta invoice.updated" in shown
    assert "data.nombre = Ana" in shown
    assert 'href="/events/evt_1"' in shown
    assert "The filter of Shop stops invoice.updated" in hidden
    assert "Ana" not in hidden
    assert "Nearest event: invoice.updated" in unseen
    assert form.status == 200
    assert "is not an event pattern" in refused


@pytest.mark.parametrize("path", ["/events/evt_1", "/endpoints/ep_a", "/deliveries", "/events?record=facturascli:99"])
async def test_pages_lead_there(managed: Managed, path: str) -> None:
    async with visiting(managed, "ann") as ann:
        assert 'href="/explain' in (await ann.get(path)).text


async def test_api_gives_key_and_evidence(managed: Managed) -> None:
    answer = await managed.ask("GET", "/explain?record=facturascli:12&endpoint=Shop", Scope.READ)
    assert answer.status == 200
    assert (answer.json["reason"], answer.json["event_id"], answer.json["delivery_id"]) == ("filtered", "evt_1", None)
    assert answer.json["evidence"]["held"] == {"data.nombre": "Ana"}
    assert (await managed.ask("GET", "/explain", Scope.READ)).status == 422
    assert (await managed.ask("GET", "/explain?record=a:1&endpoint=none", Scope.READ)).status == 404


def test_every_reason_is_documented() -> None:
    section = DOCUMENTED.read_text().split("## Why did an event not arrive?")[1].split("\n## ")[0]
    assert [each for each in Reason if f"`{each}`" not in section] == []
