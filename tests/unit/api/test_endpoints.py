"""Endpoints over the API: made, shown, changed, removed; their secrets once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cdc.access.model import AuditFilter, Scope
from cdc.dispatch.signing import new_secret
from cdc.model.delivery import DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.http_servers import served
from support.managing import API, Managed, managing
from support.manual_clock import START
from support.outboxes import endpoint, event, finish, lease, store

NEW = {"url": "https://shop.example.com/webhooks", "events": ["invoice.*"]}


async def added(api: Managed, **fields: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/endpoints", json=NEW | fields)
    assert answer.status == 201, answer.text
    return dict(answer.json)


async def audited(api: Managed) -> list[tuple[str, str, str]]:
    """By tokens, oldest first."""
    entries = await api.access.audit(AuditFilter(actor="token:manage"), 100)
    return [(each.entry.actor, each.entry.action, each.entry.subject) for each in reversed(entries)]


async def test_one_is_made_and_its_secret_is_shown_this_once(api: Managed) -> None:
    answer = await api.ask("POST", "/endpoints", json=NEW | {"description": "Shop", "timeout": 3, "retries": [1, 2]})
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"{API}/endpoints/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert made["secret"].startswith("whsec_")
    stored = await api.store.endpoint(made["id"])
    assert stored is not None
    assert (stored.secret, stored.timeout, stored.retry_schedule) == (made["secret"], 3.0, (1.0, 2.0))
    shown = (await api.ask("GET", f"/endpoints/{made['id']}", Scope.READ)).json
    hidden = {"url": f"https://shop.example.com/…{made['id'][-4:]}"}
    assert shown == {name: value for name, value in made.items() if name != "secret"} | hidden
    assert (await api.ask("GET", "/endpoints", Scope.READ)).json == {"items": [shown], "next": None}
    assert await audited(api) == [("token:manage", "endpoint.add", made["id"])]


async def test_secrets_and_headers_that_are_given_are_kept_and_never_shown(api: Managed) -> None:
    secret = new_secret()
    made = await added(api, secret=secret, headers={"X-Key": "planted-header"})
    assert made["secret"] == secret
    assert made["headers"] == ["X-Key"]
    stored = await api.store.endpoint(made["id"])
    assert stored is not None
    assert stored.headers == (("X-Key", "planted-header"),)
    for path in ("/endpoints", f"/endpoints/{made['id']}"):
        text = (await api.ask("GET", path)).text
        assert secret not in text
        assert "planted-header" not in text


async def test_a_key_pair_shows_its_public_half_only(api: Managed) -> None:
    made = await added(api, signature="v1a")
    assert (made["secret"], made["signature"]) == (None, "v1a")
    assert made["public_key"].startswith("whpk_")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"url": "ftp://shop.example.com"}, "body.url"),
        ({"url": "https://user:word@shop.example.com"}, "body.url"),
        ({"url": "https://api.telegram.org/bot12:AbC/sendMessage", "preset": "telegram"}, "body.url"),
        ({"events": []}, "body.events"),
        ({"events": ["no-such*pattern!"]}, "body.events"),
        ({"events": ["invoice.nothing_known"]}, "body.events"),
        ({"timeout": 0}, "body.timeout"),
        ({"retries": [-1]}, "body.retries.0"),
        ({"format": "xml"}, "body.format"),
        ({"filter": "data.total >"}, "body.filter"),
        ({"proxy": "nobody"}, "body.proxy"),
        ({"sources": ["nowhere"]}, "body.sources"),
        ({"headers": {"Host": "elsewhere"}}, "body.headers"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "body.headers"),
        ({"secret": "planted-secret"}, None),
        ({"surprise": 1}, "body.surprise"),
        ({"description": "a\0b"}, None),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_made(
    api: Managed, fields: dict[str, Any], where: str | None
) -> None:
    answer = await api.ask("POST", "/endpoints", json=NEW | fields)
    assert answer.status == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == 422
    assert answer.json["detail"]
    assert [each["where"] for each in answer.json.get("errors", [])] == ([where] if where else [])
    assert "planted-secret" not in answer.text
    assert await api.store.endpoints() == []
    assert await audited(api) == []


async def test_path_and_query_of_a_url_are_hidden_from_who_only_reads(api: Managed) -> None:
    made = await added(api, url="https://shop.example.com/hook?key=planted-secret")
    for path in (f"/endpoints/{made['id']}", "/endpoints"):
        answer = await api.ask("GET", path, Scope.READ)
        assert "planted-secret" not in answer.text
        assert f"https://shop.example.com/…{made['id'][-4:]}" in answer.text
        assert "planted-secret" in (await api.ask("GET", path)).text


async def test_what_is_given_is_changed_and_the_rest_stays(api: Managed) -> None:
    made = await added(api, description="Shop")
    answer = await api.ask("PATCH", f"/endpoints/{made['id']}", json={"rate": 5, "filter": "data.total > 1.0"})
    assert answer.status == 200
    former = {name: value for name, value in made.items() if name != "secret"}
    assert answer.json == former | {"rate": 5.0, "filter": "data.total > 1.0"}
    assert (await api.ask("PATCH", f"/endpoints/{made['id']}", json={"timeout": 1e9})).status == 422
    assert (await api.ask("GET", f"/endpoints/{made['id']}")).json == answer.json


async def test_all_fields_that_do_not_hold_are_named_at_once(api: Managed) -> None:
    wrong = {"url": "ftp://h/", "events": ["invoice.payd"], "filter": "data.total >", "proxy": "none", "batch": 5}
    answer = await api.ask("POST", "/endpoints", json=wrong | {"transform": "{", "sources": ["nowhere"]})
    errors = answer.json["errors"]
    assert {each["pointer"] for each in errors} == {
        *("#/url", "#/events", "#/filter", "#/proxy", "#/transform", "#/sources", "#/batch")
    }
    assert all(each["code"] == "invalid" and each["detail"].endswith(".") for each in errors)
    assert next(each["hint"] for each in errors if each["pointer"] == "#/events").startswith(
        "Did you mean invoice.paid"
    )
    assert answer.json["detail"] in [each["detail"] for each in errors], "the first of them, as before"
    made = await added(api)
    answer = await api.ask("PATCH", f"/endpoints/{made['id']}", json={"filter": "data.total >", "proxy": "none"})
    assert [each["pointer"] for each in answer.json["errors"]] == ["#/filter", "#/proxy"]


@pytest.mark.parametrize("key", ["name", "description"])
async def test_name_is_accepted_by_its_former_key_and_shown_by_both(api: Managed, key: str) -> None:
    made = await added(api, **{key: "Shop"})
    assert (made["name"], made["description"]) == ("Shop", "Shop")
    changed = await api.ask("PATCH", f"/endpoints/{made['id']}", json={key: "Store"})
    assert (changed.json["name"], changed.json["description"]) == ("Store", "Store")
    both = await api.ask("PATCH", f"/endpoints/{made['id']}", json={"name": "a", "description": "b"})
    assert (both.status, both.json["errors"][0]["pointer"]) == (422, "#/description")


async def test_disabling_enabling_removing(api: Managed) -> None:
    made = await added(api)
    here = f"/endpoints/{made['id']}"
    disabled = await api.ask("POST", f"{here}/disable", json={"reason": "Moving house."})
    assert (disabled.json["enabled"], disabled.json["disabled_reason"]) == (False, "Moving house.")
    assert (await api.ask("POST", f"{here}/disable")).json["disabled_reason"] == "Disabled by hand."
    enabled = await api.ask("POST", f"{here}/enable")
    assert (enabled.json["enabled"], enabled.json["disabled_reason"]) == (True, None)
    removed = await api.ask("DELETE", here)
    assert (removed.status, removed.text) == (204, "")
    assert (await api.ask("GET", here)).status == 404
    actions = [action for _, action, _ in await audited(api)]
    assert actions == [f"endpoint.{each}" for each in ("add", "disable", "disable", "enable", "remove")]


async def test_a_new_secret_overlaps_with_the_former(api: Managed) -> None:
    made = await added(api)
    here = f"/endpoints/{made['id']}/rotate-secret"
    answer = await api.ask("POST", here, json={"overlap_hours": 2})
    assert answer.status == 200
    assert answer.json["secret"] != made["secret"]
    assert answer.json["former_secret_until"] == "2026-11-24T23:48:00.000000Z"
    stored = await api.store.endpoint(made["id"])
    assert stored is not None
    assert (stored.secret, stored.former_secret) == (answer.json["secret"], made["secret"])
    assert stored.former_secret_until == START + timedelta(hours=2)
    pair = await api.ask("POST", here, json={"signature": "v1a"})
    assert (pair.json["secret"], pair.json["signature"]) == (None, "v1a")
    assert (await api.ask("POST", here, json={"signature": "v1", "secret": "whsk_x"})).status == 422


async def test_a_preview_changes_nothing(api: Managed) -> None:
    cheap = event(1, data={"idfactura": 1, "total": 1.0})
    dear = event(2, data={"idfactura": 2, "total": 2000.0})
    await store(api.store, cheap, dear, event(3, name="stock.changed"))
    body = {"events": ["invoice.*"], "filter": "data.total > 1000.0"}
    answer = await api.ask("POST", "/endpoint-preview", Scope.READ, json=body)
    assert answer.status == 200
    assert answer.json["looked_at"] == 3
    assert [each["id"] for each in answer.json["fitting"]] == ["evt_2"]
    assert await api.store.endpoints() == []
    assert await audited(api) == []


async def test_a_preview_has_the_bodies_of_a_transform(api: Managed) -> None:
    await store(api.store, event(1, name="invoice.paid", data={"codigo": "F1"}), event(2, data={"total": 1.0}))
    body = {"events": ["invoice.*"], "transform": '{"body": {"code": data.codigo}, "headers": {"X-Code": data.codigo}}'}
    bodies = (await api.ask("POST", "/endpoint-preview", Scope.READ, json=body)).json["bodies"]
    assert [(each["event"], each["body"], each["headers"]) for each in bodies] == [
        ("evt_1", '{"code":"F1"}', {"X-Code": "F1"}),
        ("evt_2", None, {}),
    ]
    assert "field or an element that the event does not have" in bodies[1]["failure"]
    ones = "[" + ",".join("1" for _ in range(62)) + "]"
    hostile = body | {"transform": f"{ones}.map(a, {ones}.map(b, {ones}))"}
    answer = await api.ask("POST", "/endpoint-preview", Scope.READ, json=hostile)
    assert (answer.status, "more than 50,000 steps" in answer.json["detail"]) == (422, True)


async def test_a_preset_is_a_transform(api: Managed) -> None:
    made = await added(api, preset="discord", language="es")
    assert ("allowed_mentions" in made["transform"], made["language"]) == (True, "es")
    here = f"/endpoints/{made['id']}"
    both = {"preset": "slack", "transform": "event"}
    assert (await api.ask("PATCH", here, json=both)).status == 422
    assert (await api.ask("PATCH", here, json={"batch": 10})).status == 422
    assert (await api.ask("PATCH", here, json={"transform": ""})).json["transform"] == ""


async def test_counts_come_with_an_endpoint(api: Managed) -> None:
    made = await added(api)
    await store(api.store, event(1), event(2), now=START)
    await finish(api.store, (await lease(api.store, START))[0], now=START)
    shown = (await api.ask("GET", f"/endpoints/{made['id']}")).json
    counted = {state: number for state, number in shown["deliveries"].items() if number}
    assert counted == {"delivered": 1, "leased": 1}


async def test_a_test_event_says_what_came_of_it(tmp_path: Path) -> None:
    """It is sent over an outbox of its own: a file."""
    url, status = f"sqlite:///{tmp_path / 'cdc.db'}", 204
    got: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(request.headers["X-Webhook-Event"])
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/any/path", receive)
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    async with served(app) as receiver, managing(outbox, outbox={"url": url}) as api:
        made = await added(api, url=receiver)
        here = f"/endpoints/{made['id']}/test"
        answer = await api.ask("POST", here)
        assert (answer.status, answer.json["accepted"], answer.json["status"]) == (200, True, 204)
        status = 500
        answer = await api.ask("POST", here, json={"event": "invoice.paid"})
        assert (answer.json["accepted"], answer.json["status"], answer.json["event"]) == (False, 500, "invoice.paid")
        assert answer.json["error"]
        assert got == ["endpoint.test", "invoice.paid"]
        assert (await api.ask("POST", "/endpoints/ep_none/test")).status == 404
    await outbox.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/enable"),
        ("POST", "/disable"),
        ("POST", "/rotate-secret"),
    ],
)
async def test_an_endpoint_that_is_not_there(api: Managed, method: str, path: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    answer = await api.ask(method, f"/endpoints/ep_none{path}", **body)
    assert (answer.status, answer.json["title"], answer.json["detail"]) == (
        404,
        "Not Found",
        "There is no endpoint ep_none.",
    )


async def test_what_waits_for_its_next_attempt_is_sent_now(api: Managed) -> None:
    await api.store.add_endpoint(endpoint())
    await store(api.store, event(1), now=api.clock.now())
    later = api.clock.now() + timedelta(hours=3)
    await finish(api.store, *await lease(api.store, api.clock.now()), state=DeliveryState.PENDING, due_at=later)
    assert (await api.ask("POST", "/endpoints/ep_a/retry", Scope.READ)).status == 403
    answers = [(await api.ask("POST", "/endpoints/ep_a/retry")).json for _ in range(2)]
    assert answers == [{"deliveries": 1}, {"deliveries": 0}]
    assert (await api.ask("POST", "/endpoints/ep_none/retry")).status == 404
    assert await audited(api) == [("token:manage", "endpoint.retry", "ep_a")] * 2
