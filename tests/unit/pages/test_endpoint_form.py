"""The boxes of the endpoint's form: all of an entity, and those that patterns tick."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from support.browsing import Visitor, visiting
from support.managing import Managed, managing
from support.memory_outbox.outbox import MemoryOutbox
from support.outboxes import endpoint, event, store


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        yield managed


@pytest.fixture
async def visitor(managed: Managed) -> AsyncIterator[Visitor]:
    async with visiting(managed, "ann") as visitor:
        yield visitor


def box(text: str, name: str) -> str:
    """The checkbox of this event or pattern."""
    match = re.search(rf'<input type="checkbox" [^>]*value="{re.escape(name)}"[^>]*>', text)
    assert match, name
    return match[0]


async def test_patterns_show_which_boxes_they_tick(managed: Managed, visitor: Visitor) -> None:
    await managed.store.add_endpoint(endpoint(events=("invoice.*", "*.deleted", "receipt.paid")))
    text = (await visitor.get("/endpoints/ep_a/edit")).text
    assert " checked" in box(text, "invoice.*")
    assert " checked disabled" in box(text, "invoice.paid")
    assert " checked disabled" in box(text, "customer.deleted")
    assert re.search(r" checked(?! disabled)", box(text, "receipt.paid"))
    assert "checked" not in box(text, "invoice.existing")
    assert "checked" not in box(text, "customer.created")
    assert "by invoice.*" in text
    assert 'value="*.deleted"' in text
    assert "4 chosen" not in text


async def test_a_star_selects_no_operational_event(managed: Managed, visitor: Visitor) -> None:
    await managed.store.add_endpoint(endpoint(events=("*",)))
    text = (await visitor.get("/endpoints/ep_a/edit")).text
    assert " checked disabled" in box(text, "invoice.paid")
    assert "checked" not in box(text, "endpoint.disabled")


async def test_all_of_an_entity_is_its_pattern(managed: Managed, visitor: Visitor) -> None:
    form = {"url": "https://shop.example.com/hook", "events": "invoice.*"}
    assert (await visitor.send("/endpoints/new", form)).status == 201
    (made,) = await managed.store.endpoints()
    assert made.events == ("invoice.*",)
    again = (await visitor.get(f"/endpoints/{made.id}/edit")).text
    assert " checked" in box(again, "invoice.*")
    assert re.search(r'name="patterns" type="text" value=""', again)


async def test_a_form_warns_where_a_file_describes_the_endpoint(managed: Managed, visitor: Visitor) -> None:
    await managed.store.add_endpoint(endpoint("ep_a", managed="endpoints.toml:shop"))
    await managed.store.add_endpoint(endpoint("ep_b"))
    for path in ("/endpoints/ep_a", "/endpoints/ep_a/edit"):
        assert "Described by the file endpoints.toml" in (await visitor.get(path)).text
    assert "Described by the file" not in (await visitor.get("/endpoints/ep_b/edit")).text


async def test_a_preset_is_shown_on_recent_events_before_it_is_stored(managed: Managed, visitor: Visitor) -> None:
    data = {"codigo": "F1", "nombrecliente": "<b>Ruiz</b>", "total": 9.5, "coddivisa": "EUR"}
    await store(managed.store, event(1, name="invoice.paid", data=data))
    form = {"url": "https://chat.example.com/hook", "events": "invoice.*", "preset": "slack", "language": "es"}
    shown = (await visitor.send("/endpoints/new", form | {"preview": "1"})).text
    assert "Factura F1 pagada · &amp;lt;b&amp;gt;Ruiz&amp;lt;/b&amp;gt; · 9,50\xa0€" in shown
    assert "&#34;text&#34;: message" in shown, "the preset can be changed"
    assert await managed.store.endpoints() == []

    assert (await visitor.send("/endpoints/new", form)).status == 201
    (made,) = await managed.store.endpoints()
    assert ("message" in made.transform, made.language) == (True, "es")
    assert "message.replace" in (await visitor.get(f"/endpoints/{made.id}")).text
    again = {"url": made.url, "events": "invoice.*", "transform": "data.nothing", "language": "es"}
    failing = (await visitor.send(f"/endpoints/{made.id}/edit", again | {"preview": "1"})).text
    assert "asks for a field or an element that the event does not have" in failing
    refused = (await visitor.send(f"/endpoints/{made.id}/edit", again | {"batch_size": "5"})).text
    assert "does not go with batches" in refused


@pytest.mark.parametrize(
    ("code", "seconds", "retries"), [("en", "2.5", "2.5, 10, 2592000"), ("es", "2,5", "2,5; 10; 2592000")]
)
async def test_numbers_are_written_and_read_as_the_language_does(
    managed: Managed, visitor: Visitor, code: str, seconds: str, retries: str
) -> None:
    stored = endpoint(url="https://shop.example.com/hook", timeout=2.5, retry_schedule=(2.5, 10.0, 2592000.0))
    await managed.store.add_endpoint(stored)
    language = {"Accept-Language": code}
    text = (await visitor.get("/endpoints/ep_a/edit", headers=language)).text
    shown = dict(re.findall(r'name="(\w+)" type="text" value="([^"]*)"', text))
    assert (shown["timeout"], shown["retries"]) == (seconds, retries)
    sent = shown | {
        "url": stored.url,
        "events": "*",
        "format": stored.format.value,
        "order": stored.order.value,
        "description": "new",
    }
    answer = await visitor.send("/endpoints/ep_a/edit", sent, headers=language)
    assert answer.status == 303, re.findall(r"role=.alert.*", answer.text)
    (changed,) = await managed.store.endpoints()
    assert (changed.description, changed.timeout, changed.retry_schedule) == ("new", 2.5, stored.retry_schedule)
