"""The form of an endpoint: kinds and their fields, boxes and patterns, errors, preview, and a test before saving."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.access.model import AuditFilter
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.signing import Signature, new_secret
from cdc.dispatch.transform import preset
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Order, settings_text
from cdc.pages.views.endpoint_form import KINDS
from support.browsing import Markup, Visitor, visiting
from support.http_servers import served
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, finish, lease, store


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
    assert "· 4 chosen" not in text


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
    form = {"url": "https://chat.example.com/hook", "events": "invoice.*", "language": "es"}
    shown = (await visitor.send("/endpoints/new?kind=slack", form | {"preview": "1"})).text
    assert "Factura F1 pagada · &lt;b&gt;Ruiz&lt;/b&gt; · 9,50\xa0€" in shown, "as Slack shows it"
    assert "&#34;text&#34;: message" in shown, "the preset can be changed"
    assert await managed.store.endpoints() == []

    assert (await visitor.send("/endpoints/new?kind=slack", form)).status == 303, "there is no secret to show"
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


# -- kinds of endpoints ------------------------------------------------------------------------------------------------

#: Fields of the form, by what they concern.
ADDRESS = {"telegram": {"bot_token", "chat"}, "email": {"addresses"}, "fetch": {"consumer"}}
FIELDS = {
    "order": set(KINDS),
    "format": {"program", "n8n", "broker", "fetch"},
    "batch_size": {"program", "n8n", "email"},
    "transform": {"program", "n8n", "broker", "telegram", "slack", "teams", "discord", "google-chat", "mattermost"},
    "signature": {"program", "n8n", "broker"},
    "authentication": {"program", "n8n"},
    "timeout": set(KINDS) - {"fetch"},
    "retries": set(KINDS),
}


async def test_adding_begins_with_a_tile_for_each_kind(visitor: Visitor) -> None:
    links = re.findall(r'href="/endpoints/new\?kind=([^"]+)"', (await visitor.get("/endpoints/new")).text)
    assert links == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_form_has_the_fields_of_its_kind(visitor: Visitor, kind: str) -> None:
    text = (await visitor.get(f"/endpoints/new?kind={kind}", headers={"Accept-Language": "es"})).text
    names = {str(tag.get("name")) for _, tag in Markup(text).tags if tag.get("name")}
    assert names >= ADDRESS.get(kind, {"url"})
    assert names.isdisjoint(set().union({"url"}, *ADDRESS.values()) - ADDRESS.get(kind, {"url"}))
    assert {field for field in FIELDS if field in names} == {field for field, kinds in FIELDS.items() if kind in kinds}
    steps = KINDS[kind].steps
    assert text.count("<li>", text.find('class="guide"'), text.find("</ol>")) == len(steps)
    assert not any(step in text for step in steps), "in Spanish"


async def test_telegram_is_asked_for_token_and_chat(managed: Managed, visitor: Visitor) -> None:
    form = {"bot_token": "12:AbC", "events": "invoice.paid"}
    refused = await visitor.send("/endpoints/new?kind=telegram", form)
    assert (refused.status, await managed.store.endpoints()) == (422, [])
    chat = next(tag for _, tag in Markup(refused.text).tags if tag.get("id") == "chat")
    assert (chat["aria-invalid"], chat["aria-describedby"]) == ("true", "chat-error chat-hint")
    assert '<a href="#chat">The URL names no chat of Telegram' in refused.text
    assert 'value="12:AbC"' in refused.text

    added = await visitor.send("/endpoints/new?kind=telegram", form | {"chat": "-100 123"})
    (made,) = await managed.store.endpoints()
    assert (added.status, made.url) == (303, "https://api.telegram.org/bot12:AbC/sendMessage?chat_id=-100123")
    assert (made.transform, made.rate) == (preset("telegram"), 1.0)
    assert made.secret not in added.text
    page = (await visitor.get(f"/endpoints/{made.id}")).text
    for absent in ("rotate-secret", "Signature", "php"):
        assert absent not in page, absent
    edit = (await visitor.get(f"/endpoints/{made.id}/edit")).text
    assert 'value="-100123"' in edit
    assert (await visitor.send(f"/endpoints/{made.id}/edit", {"chat": "7", "events": "invoice.paid"})).status == 303
    (changed,) = await managed.store.endpoints()
    assert (changed.url, changed.transform, changed.rate) == (made.url.replace("-100123", "7"), made.transform, 1.0)


async def test_fields_that_a_form_does_not_have_stay(managed: Managed, visitor: Visitor) -> None:
    stored = endpoint(url="mailto:ops@example.com", fields=("total",), order=Order.NONE, batch_size=7, concurrency=3)
    await managed.store.add_endpoint(stored)
    config = managed.service.config
    managed.service.config = config.model_copy(update={"mail": config.mail.model_copy(update={"host": "mail.example"})})
    sent = {"addresses": "ops@example.com, ann@example.com", "events": "*", "timeout": "20"}
    assert (await visitor.send("/endpoints/ep_a/edit", sent)).status == 303
    (changed,) = await managed.store.endpoints()
    expected = replace(stored, url="mailto:ops@example.com,ann@example.com", timeout=20.0)
    assert changed == replace(expected, events=changed.events)


async def test_each_error_is_at_its_field(managed: Managed, visitor: Visitor) -> None:
    wrong = {"url": "https://shop.example.com/", "timeout": "x", "rate": "y", "retries": "z"}
    text = (await visitor.send("/endpoints/new?kind=program", wrong)).text
    invalid = {str(tag["id"]) for _, tag in Markup(text).tags if tag.get("aria-invalid")}
    assert invalid == {"timeout", "rate", "retries"}
    assert set(re.findall(r'<a href="#(\w+)">', text)) == invalid | {"events"}
    assert 'id="events"' in text
    assert re.search(r'<details class="sheet more" open>', text)
    for field, value in {"condition": "data.", "headers": "Host: x", "batch_size": "5000"}.items():
        text = (await visitor.send("/endpoints/new?kind=program", FORM | {field: value})).text
        assert [str(tag["id"]) for _, tag in Markup(text).tags if tag.get("aria-invalid")] == [field]


# -- preview and test --------------------------------------------------------------------------------------------------

FORM = {"url": "https://shop.example.com/hook", "events": "invoice.paid"}


@pytest.mark.parametrize(
    ("kind", "fields", "shown"),
    [
        ("telegram", {"language": "es"}, "<p>Factura F1 pagada"),
        ("teams", {"language": "en"}, "<p>Invoice F1 paid"),
        ("email", {}, "<strong>[facturascripts-cdc] invoice.paid: "),
        ("program", {"format": "cloudevents"}, "&#34;specversion&#34;: &#34;1.0&#34;"),
        ("fetch", {}, "&#34;event&#34;: &#34;invoice.paid&#34;"),
    ],
)
async def test_the_message_is_shown_as_it_arrives(
    managed: Managed, visitor: Visitor, kind: str, fields: dict[str, str], shown: str
) -> None:
    form = {"events": "invoice.paid", "preview": "1", **fields}
    example = (await visitor.send(f"/endpoints/new?kind={kind}", form)).text
    assert "An example: none of the last events would have been sent." in example
    await store(managed.store, event(1, name="invoice.paid", data={"codigo": "F1"}), event(2, name="receipt.paid"))
    answer = await visitor.send(f"/endpoints/new?kind={kind}", form)
    assert (answer.status, shown in answer.text) == (200, True)
    assert "The last event that would have been sent" in answer.text
    assert "Of the last 2 events, 1 would have been sent." in answer.text
    assert await managed.store.endpoints() == []


async def test_a_test_before_saving_is_sent_with_what_was_entered_and_stores_nothing(
    managed: Managed, visitor: Visitor
) -> None:
    received = []

    async def receive(request: web.Request) -> web.Response:
        received.append((request.headers, await request.json()))
        return web.Response(status=500 if len(received) > 1 else 200, text="chat not found")

    app = web.Application()
    app.router.add_post("/any/path", receive)
    async with served(app) as url:
        form = {"url": url, "events": "invoice.paid", "language": "es", "headers": "X-Key: planted", "try": "1"}
        shown = await visitor.send("/endpoints/new?kind=slack", form)
        assert shown.status == 200
        assert "Accepted with 200 after" in shown.text
        assert "Nothing was saved." in shown.text
        assert "planted" not in shown.text
        assert "Enter the headers again" in shown.text
        ((headers, body),) = received
        assert (headers["X-Key"], headers["X-Webhook-Test"], list(body)) == ("planted", "true", ["text"])
        assert body["text"].startswith("Factura ")
        failed = await visitor.send("/endpoints/new?kind=slack", form, headers={"Accept-Language": "es"})
        assert "El destino ha respondido 500 Internal Server Error." in failed.text
        assert "chat not found" in failed.text

        stored = endpoint(url=url, headers=(("X-Key", "kept"),), secret=new_secret(Signature.V1))
        await managed.store.add_endpoint(stored)
        changed = {"url": url, "events": "receipt.paid", "patterns": "", "try": "1"}
        await visitor.send("/endpoints/ep_a/edit", changed)
        assert (received[2][0]["X-Key"], received[2][0]["X-Webhook-Event"]) == ("kept", "receipt.paid")
        assert await managed.store.endpoints() == [stored]
        moved = await visitor.send("/endpoints/ep_a/edit", changed | {"url": url.replace("127.0.0.1", "localhost")})
        assert (moved.status, len(received)) == (422, 3), "headers go to no other origin"
    assert await managed.store.counts() == {"ep_a": {}}
    entries = [each.entry for each in await managed.access.audit(AuditFilter(actor="user:ann"), 3)]
    assert {each.action for each in entries} == {"endpoint.test"}
    assert [each.subject == "ep_a" for each in entries] == [True, False, False]
    assert not any("any/path" in each.subject for each in entries)


async def test_a_test_before_saving_is_refused_as_the_endpoint_would_be() -> None:
    limits = {"endpoints_per_source": 1, "endpoints_per_principal": 1}
    async with managing(MemoryOutbox(), limits=limits) as managed, visiting(managed, "ann") as ann:
        form = FORM | {"try": "1"}
        for wrong in ({"url": "https://169.254.169.254/"}, {"url": "pull:orders"}, {"events": "invoice.payd"}):
            assert (await ann.send("/endpoints/new?kind=program", form | wrong)).status == 422, wrong
        assert (await ann.post("/endpoints/new?kind=program", form)).status == 403
        async with visiting(managed, "bob") as viewer:
            assert (await viewer.send("/endpoints/new?kind=program", form)).status == 403
        await managed.store.add_endpoint(endpoint())
        full = await ann.send("/endpoints/new?kind=program", form)
        assert (full.status, "endpoints_per_source = 1" in full.text) == (409, True)
        entries = [each.entry.action for each in await managed.access.audit(AuditFilter(), 9)]
        assert "endpoint.test" not in entries


@pytest.mark.parametrize(
    ("language", "words", "found"),
    [
        ("es", "factura vencida", "invoice.overdue"),
        ("es", "ALBARAN proveedor rechaza", "supplier_delivery_note.rejected"),
        ("es", "stock of a product below minimum", "stock.low"),
        ("en", "issued invoice", "invoice.approved"),
        ("en", "recibospagoscli due soon", "receipt.due"),
    ],
)
async def test_the_catalogue_is_searched_by_words_of_the_sentences(
    visitor: Visitor, language: str, words: str, found: str
) -> None:
    answer = await visitor.get(f"/catalogue?q={words}", headers={"Accept-Language": language})
    names = re.findall(r'href="/catalogue/([a-z_]+\.[a-z_]+)"', answer.text)
    assert found in names
    assert len(names) <= 4


async def test_an_endpoint_shows_what_waits_the_last_failure_and_its_events_in_words(
    managed: Managed, visitor: Visitor
) -> None:
    await managed.store.add_endpoint(endpoint(events=("invoice.paid", "*.deleted", "inv*.sent")))
    now = managed.clock.now()
    await store(managed.store, event(1, name="invoice.paid"), now=now)
    await finish(managed.store, *await lease(managed.store, now), state=DeliveryState.PENDING, due_at=now, now=now)
    managed.clock.advance(3600)
    spanish = {"Accept-Language": "es"}
    shown = (await visitor.get("/endpoints/ep_a", headers=spanish)).text
    for part in ("<dt>En espera</dt>", "pendiente desde el ", "El destino ha respondido 500.", "<q>oops</q>"):
        assert part in shown, part
    for sentence in ("se paga una factura", "se elimina cualquier registro", "<code>inv*.sent</code>"):
        assert sentence in shown, sentence
    async with visiting(managed, "bob") as viewer:
        seen = (await viewer.get("/endpoints/ep_a", headers=spanish)).text
    assert ("El destino ha respondido 500." in seen, "oops" in seen) == (True, False)
