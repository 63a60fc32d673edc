"""The documents for integrators: valid by the official schemas, with the user's own rules, for those who may read."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cdc.access.model import Scope
from cdc.api.application import DOCUMENTS
from cdc.api.documents import document as openapi_document
from cdc.api.documents import typescript
from cdc.facturascripts.schema import tables
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.schema import EventType, event_types, operation_event_types
from support.managing import API, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.tenants import shared_outbox

#: The schema of AsyncAPI's own specification, from its npm package @asyncapi/specs 6.11.1 (Apache 2.0).
ASYNCAPI = Path(__file__).parents[2] / "schemas" / "asyncapi-3.0.0.json.gz"
RULES = """
[[event]]
entity = "invoice"
name = "large"
when = "an invoice reaches */ 10,000 euros"
becomes = { total = { at_least = 10000 } }

[entity.web_order]
table = "tienda_pedidos"
title = "order of the web shop"
"""


def described() -> list[EventType]:
    """Types of each form: with lines, by time, inferred, of a table without known columns, operational."""
    chosen = ("invoice.large", "invoice.updated", "receipt.", "web_order.", "user.permissions_changed", "user.trunc")
    every = event_types(load_catalogue(RULES, "rules.toml"), tables())
    return [each for each in every if each.name.startswith(chosen)] + operation_event_types()


def built(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENTS[file](described()))
    return found


def test_openapi_describes_each_event_as_a_signed_webhook() -> None:
    document: dict[str, Any] = openapi_document((), API, described())  # the API's paths are judged elsewhere
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["webhooks"].keys() == {each.name for each in described()}
    webhook = document["webhooks"]["invoice.large"]["post"]
    assert webhook["description"].startswith("Customer invoice: an invoice reaches")
    headers = document["components"]["parameters"]
    assert webhook["parameters"] == [{"$ref": f"#/components/parameters/{name}"} for name in headers]
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} < headers.keys()
    content = webhook["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    Draft202012Validator(schema).validate(content["example"])
    assert webhook["security"] == [], "the API's tokens are not sent to receivers"


def test_asyncapi_has_each_event_as_a_message() -> None:
    document = built("asyncapi.json")
    validator = Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes())))
    assert [error.message for error in validator.iter_errors(document)] == []
    broken = {**document, "channels": {"endpoint": {"address": 1}}}
    assert not validator.is_valid(broken), "the schema judges"
    messages = document["components"]["messages"]
    assert messages.keys() == document["channels"]["endpoint"]["messages"].keys() == {k.name for k in described()}
    for name, message in messages.items():
        schema = document["components"]["schemas"][message["payload"]["$ref"].rpartition("/")[2]]
        Draft7Validator(schema).validate(message["examples"][0]["payload"])
        assert schema["properties"]["event"] == {"const": name}
    assert document["components"]["schemas"]["headers"]["required"][:3] == [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]


def test_typescript_declares_each_event_once() -> None:
    text = DOCUMENTS["events.d.ts"](described()).decode()
    assert "/** Customer invoice: an invoice reaches * / 10,000 euros. */\nexport interface InvoiceLarge" in text
    for each in described():
        assert text.count(f'\n  event: "{each.name}";') == 1
    assert text.count("export interface ReceiptData {") == 1
    assert "  data: Record<string, unknown>;" in text, "of a table whose columns are not known"
    assert '  source: "cdc";' in text


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Managed]:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    sources = {
        "main": {"url": "postgresql://cdc@db.example.com/erp", "rules": str(rules)},
        "shop": {"url": "postgresql://cdc@db.example.com/shop"},
    }
    async with managing(await shared_outbox(), source=sources) as managed:
        yield managed


async def test_readers_get_their_own_rules_and_strangers_only_the_api(own: Managed) -> None:
    stranger = (await own.ask("GET", "/openapi.json", None)).json
    assert "webhooks" not in stranger
    assert "invoice.large" not in str(stranger)
    assert (await own.ask("GET", "/openapi.json", Scope.CONSUME)).json == stranger
    read = (await own.ask("GET", "/openapi.json", Scope.READ)).json
    assert {"invoice.large", "web_order.created", "endpoint.disabled"} < read["webhooks"].keys()
    assert read["paths"] == stranger["paths"]
    assert (await own.ask("GET", "/asyncapi.json", None)).status == 401
    assert (await own.ask("GET", "/asyncapi.json", Scope.CONSUME)).status == 403
    events = (await own.ask("GET", "/asyncapi.json", Scope.READ)).json
    assert events["components"]["messages"].keys() == read["webhooks"].keys()


async def test_a_token_of_some_sources_gets_the_events_of_these(own: Managed) -> None:
    _, token = await own.accounts.add_token("cli:root", "shop", Scope.READ, None, ["shop"])
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/asyncapi.json", "/openapi.json"):
        await own.ask("GET", path, Scope.READ)  # what is kept for others is not theirs
        async with own.client.get(f"{API}{path}", headers=headers) as answer:
            text = await answer.text()
        assert "invoice.paid" in text
        assert "invoice.large" not in text
        assert "endpoint.disabled" not in text


async def test_documents_are_built_once_and_not_all_kept(own: Managed) -> None:
    kept = own.service.documents
    assert kept == {}, "nothing is built before it is asked for"
    for _ in range(2):
        await own.ask("GET", "/asyncapi.json", Scope.READ)
        assert len(kept) == 1
    before = next(iter(kept.values()))
    await own.ask("GET", "/asyncapi.json", Scope.READ)
    assert next(iter(kept.values())) is before
    for number in range(10):
        kept[typescript, (str(number),)] = b""
    await own.ask("GET", "/openapi.json", Scope.READ)
    assert len(kept) == 11, "as many as before, less one, and the new one"


async def test_strangers_are_limited_by_their_address() -> None:
    async with managing(MemoryOutbox()) as managed:
        statuses = [(await managed.ask("GET", "/openapi.json", None)).status for _ in range(21)]
    assert statuses == [200] * 20 + [429]
