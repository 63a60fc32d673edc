"""A token of one source sees and manages what is of that source; the rest is as if it were not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from cdc.access.model import Scope
from cdc.capture import estimate
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import DeliveryFilter, DeliveryState
from support.managing import API, Answered, Managed, managing
from support.tenants import BACKFILLS, SOURCES, shared_outbox

NEW = {"url": "https://shop.example.com/hook", "events": ["*"]}


@dataclass
class Tenant:
    """Of the source ``shop``, at a desk where ``main`` is read as well."""

    managed: Managed
    token: str

    async def ask(self, method: str, path: str, **more: Any) -> Answered:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.managed.client.request(method, f"{API}{path}", headers=headers, **more) as answer:
            return await Answered.of(answer)


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    async with managing(await shared_outbox(), source=SOURCES) as managed:
        _, token = await managed.accounts.add_token("cli:root", "shop", Scope.MANAGE, None, ["shop"])
        yield Tenant(managed, token)


async def _delivery(tenant: Tenant, endpoint_id: str) -> str:
    views = await tenant.managed.store.deliveries(DeliveryFilter(endpoint_id=endpoint_id), 10)
    return views[0].id


async def test_lists_hold_what_is_theirs(tenant: Tenant) -> None:
    endpoints = (await tenant.ask("GET", "/endpoints")).json["items"]
    assert [each["id"] for each in endpoints] == ["ep_shop"]
    events = (await tenant.ask("GET", "/events?limit=1")).json
    assert [each["id"] for each in events["items"]] == ["evt_2"]
    assert [each["id"] for each in (await tenant.ask("GET", f"/events?cursor={events['next']}")).json["items"]] == [
        "evt_3"
    ]
    assert (await tenant.ask("GET", "/events?source=main")).json["items"] == []
    assert (await tenant.ask("GET", "/records/main/a:1")).status == 404
    (change,) = (await tenant.ask("GET", "/records/shop/a:2")).json["items"]
    assert [each["endpoint"] for each in change["events"][0]["deliveries"]] == ["ep_shop"]
    deliveries = (await tenant.ask("GET", "/deliveries")).json["items"]
    assert {(each["endpoint"], each["source"]) for each in deliveries} == {("ep_shop", "shop")}
    assert len(deliveries) == 2
    assert (await tenant.ask("GET", "/deliveries?endpoint=ep_all")).json["items"] == []
    assert [each["id"] for each in (await tenant.ask("GET", "/replays")).json["items"]] == ["rpl_shop"]
    assert [each["id"] for each in (await tenant.ask("GET", "/backfills")).json["items"]] == ["bf_shop"]
    assert {each["name"] for each in (await tenant.ask("GET", "/sources")).json["items"]} <= {"shop"}
    kinds = {each["event"].partition(".")[0] for each in (await tenant.ask("GET", "/event-types")).json["items"]}
    assert "invoice" in kinds
    assert not kinds & {"endpoint", "source"}


@pytest.mark.parametrize("theirs", ["ep_main", "ep_all", "ep_two"])
async def test_endpoints_of_others_are_not_there(tenant: Tenant, theirs: str) -> None:
    before = await tenant.managed.store.endpoint(theirs)
    answers = [
        await tenant.ask("GET", f"/endpoints/{theirs}"),
        await tenant.ask("PATCH", f"/endpoints/{theirs}", json={"events": ["invoice.*"]}),
        await tenant.ask("POST", f"/endpoints/{theirs}/disable", json={}),
        await tenant.ask("POST", f"/endpoints/{theirs}/enable"),
        await tenant.ask("POST", f"/endpoints/{theirs}/retry"),
        await tenant.ask("POST", f"/endpoints/{theirs}/rotate-secret", json={}),
        await tenant.ask("POST", f"/endpoints/{theirs}/test", json={}),
        await tenant.ask("DELETE", f"/endpoints/{theirs}"),
    ]
    unknown = await tenant.ask("GET", "/endpoints/ep_nobody")
    assert [each.status for each in answers] == [404] * len(answers)
    assert answers[0].text.replace(theirs, "ep_nobody") == unknown.text, "nothing tells what is there"
    assert await tenant.managed.store.endpoint(theirs) == before


async def test_events_deliveries_and_replays_of_others_are_not_there(tenant: Tenant) -> None:
    foreign = [await _delivery(tenant, name) for name in ("ep_main", "ep_all", "ep_two")]
    answers = [await tenant.ask("GET", "/events/evt_1")]
    for each in foreign:
        answers.append(await tenant.ask("GET", f"/deliveries/{each}"))
        answers.append(await tenant.ask("POST", f"/deliveries/{each}/retry"))
    for each in ("rpl_main", "rpl_all"):
        answers += [await tenant.ask("GET", f"/replays/{each}"), await tenant.ask("POST", f"/replays/{each}/cancel")]
    assert [each.status for each in answers] == [404] * len(answers)
    states = {(await tenant.managed.store.delivery(each)).state for each in foreign}  # type: ignore[union-attr]  # there
    assert states == {DeliveryState.DEAD}
    own = await _delivery(tenant, "ep_shop")
    assert (await tenant.ask("GET", f"/deliveries/{own}")).status == 200
    assert (await tenant.ask("POST", f"/deliveries/{own}/retry")).status == 200
    assert (await tenant.ask("GET", "/events/evt_2")).status == 200


async def test_new_endpoints_are_of_their_sources_only(tenant: Tenant) -> None:
    made = await tenant.ask("POST", "/endpoints", json=NEW)
    assert (made.status, made.json["sources"]) == (201, ["shop"])
    for wrong in (
        {"sources": ["main"]},
        {"sources": ["shop", "main"]},
        {"events": ["component.*"]},
        {"events": ["*.failed"]},
        {"events": ["invoice.*", "component.failed"]},
    ):
        answer = await tenant.ask("POST", "/endpoints", json=NEW | wrong)
        assert answer.status == 422, wrong
        changed = await tenant.ask("PATCH", f"/endpoints/{made.json['id']}", json=wrong)
        assert changed.status == 422, wrong
    alerts = {"events": ["endpoint.*", "source.*"]}
    assert (await tenant.ask("PATCH", f"/endpoints/{made.json['id']}", json=alerts)).status == 200
    assert (await tenant.ask("PATCH", f"/endpoints/{made.json['id']}", json={"sources": []})).status == 422
    assert len(await tenant.managed.store.endpoints()) == 5


async def test_previews_and_replays_reach_their_own_only(tenant: Tenant) -> None:
    preview = await tenant.ask("POST", "/endpoint-preview", json={"events": ["*"], "last": 100})
    assert {each["source"] for each in preview.json["fitting"]} == {"shop"}
    assert (await tenant.ask("POST", "/replay-count", json={"event": "*"})).json["deliveries"] == 2
    assert (await tenant.ask("POST", "/replay-count", json={"endpoint": "ep_all"})).status == 422
    assert (await tenant.ask("POST", "/replays", json={"endpoint": "ep_main"})).status == 422
    begun = await tenant.ask("POST", "/replays", json={"event": "*"})
    kept = await tenant.managed.store.find_replay(begun.json["id"])
    assert kept is not None
    assert (kept.which.sources, kept.which.endpoint_ids) == (("shop",), ("ep_shop",))
    assert (await tenant.ask("GET", f"/replays/{begun.json['id']}")).status == 200


@pytest.mark.parametrize("theirs", ["bf_main", "bf_theirs", "bf_two", "bf_all"])
async def test_backfills_of_others_are_not_there(tenant: Tenant, theirs: str) -> None:
    before = await tenant.managed.store.find_backfill(theirs)
    answers = [await tenant.ask("GET", f"/backfills/{theirs}")]
    answers += [await tenant.ask("POST", f"/backfills/{theirs}/{each}") for each in ("pause", "resume", "cancel")]
    assert [each.status for each in answers] == [404] * len(answers)
    assert await tenant.managed.store.find_backfill(theirs) == before
    assert (await tenant.ask("POST", "/backfills/bf_shop/pause")).json["state"] == "paused"


async def test_new_backfills_are_of_their_sources_and_for_their_endpoints(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def about(_info: ConnectionInfo, _table: str, _where: str) -> int:
        return 10

    monkeypatch.setattr(estimate, "estimate", about)
    wanted = {"source": "shop", "table": "customer", "endpoint": "ep_shop"}
    for wrong in ({"source": "main"}, {"endpoint": None}, {"endpoint": "ep_two"}, {"endpoint": "ep_nobody"}):
        answer = await tenant.ask("POST", "/backfills", json=wanted | wrong)
        assert answer.status == 422, wrong
    assert len(await tenant.managed.store.backfills(10)) == len(BACKFILLS)
    begun = await tenant.ask("POST", "/backfills", json=wanted)
    assert (await tenant.ask("GET", f"/backfills/{begun.json['id']}")).json == begun.json


async def test_who_is_not_narrowed_sees_all(tenant: Tenant) -> None:
    assert len((await tenant.managed.ask("GET", "/endpoints")).json["items"]) == 4
    assert len((await tenant.managed.ask("GET", "/events")).json["items"]) == 3
