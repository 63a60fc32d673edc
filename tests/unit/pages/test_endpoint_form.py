"""The boxes of the endpoint's form: all of an entity, and those that patterns tick."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.dispatch.authentication import public_jwk
from cdc.model.endpoint import settings_text
from support.browsing import Visitor, visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
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


async def test_oauth2_is_entered_and_its_secret_stays_unseen(managed: Managed, visitor: Visitor) -> None:
    settings = {
        "authentication": "oauth2", "token_url": "https://auth.example.com/token", "client_id": "cdc",
        "scope": "orders", "parameters": "resource=urn:x\n", "client_authentication": "body", "lifetime": "60",
    }  # fmt: skip
    form = {"url": "https://shop.example.com/hook", "events": "invoice.*", **settings}
    missing = await visitor.send("/endpoints/new", form)
    assert (missing.status, "needs a client_secret" in missing.text) == (422, True)
    assert (await visitor.send("/endpoints/new", form | {"client_secret": "planted"})).status == 201
    (made,) = await managed.store.endpoints()
    assert made.credential == "planted"
    path = f"/endpoints/{made.id}"
    shown, edit = (await visitor.get(path)).text, (await visitor.get(f"{path}/edit")).text
    assert "OAuth2" in shown
    assert 'value="https://auth.example.com/token"' in edit
    assert "resource=urn:x" in edit
    assert "planted" not in shown + edit
    assert (await visitor.send(f"{path}/edit", form | {"scope": "invoices"})).status == 303
    changed = await managed.store.endpoint(made.id)
    assert changed is not None
    assert (changed.credential, "invoices" in changed.authentication) == ("planted", True)
    moved = await visitor.send(f"{path}/edit", form | {"url": "https://evil.example.com/"})
    assert (moved.status, "client_secret of oauth2" in moved.text) == (422, True)
    assert (await visitor.send(f"{path}/edit", form | {"authentication": ""})).status == 303
    removed = await managed.store.endpoint(made.id)
    assert removed is not None
    assert (removed.authentication, removed.credential) == ("", "")


async def test_jwt_key_is_entered_and_its_public_half_shown(managed: Managed, visitor: Visitor) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    jwt = {"authentication": "jwt", "private_key": pem, "key_id": "k1", "lifetime": "90", "header": "X-Assertion"}
    form = {"url": "https://shop.example.com/hook", "events": "invoice.*"} | jwt
    wrong = await visitor.send("/endpoints/new", form | {"private_key": "planted"})
    assert (wrong.status, "planted" in wrong.text) == (422, False)
    assert (await visitor.send("/endpoints/new", form)).status == 201
    (made,) = await managed.store.endpoints()
    shown, edit = [(await visitor.get(f"/endpoints/{made.id}{tail}")).text for tail in ("", "/edit")]
    public = public_jwk(made)
    assert public is not None
    assert public["x"] in shown
    assert 'value="X-Assertion"' in edit
    assert "PRIVATE" not in shown + edit


async def test_form_that_says_nothing_of_authentication_leaves_it(managed: Managed, visitor: Visitor) -> None:
    text = settings_text({"type": "oauth2", "token_url": "https://auth.example.com/", "client_id": "cdc"})
    given = {"authentication": text, "credential": "planted"}
    await managed.store.add_endpoint(endpoint(url="https://shop.example.com/hook", **given))
    form = {"url": "https://shop.example.com/hook", "events": "invoice.*"}
    same = {"authentication": "oauth2", "token_url": "https://auth.example.com/", "client_id": "cdc"}
    for more in ({}, same):
        assert (await visitor.send("/endpoints/ep_a/edit", form | more)).status == 303
        found = await managed.store.endpoint("ep_a")
        assert found is not None
        assert (found.authentication, found.credential) == (text, "planted")
