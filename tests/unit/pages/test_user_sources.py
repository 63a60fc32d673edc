"""A user of one source sees and manages on the page what is of that source; the rest is as if it did not exist."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from cdc.access.model import AuditFilter, Role
from cdc.dispatch.signing import new_secret
from cdc.model.delivery import DeliveryFilter
from cdc.model.endpoint import EndpointChange
from cdc.pages.application import routes
from cdc.pages.page import Route
from support.browsing import Visitor, visiting
from support.managing import PASSWORD, Managed, managing
from support.tenants import FOREIGN_BACKFILLS, FOREIGN_ENDPOINTS, FOREIGN_REPLAYS, OTHER, OWN, SOURCES, shared_outbox

#: No page that the tenant opens may hold one of these.
HIDDEN = re.compile(rf"\b({OTHER}|ep_(?!shop)\w+|rpl_(?!shop)\w+|bf_(?!shop)\w+|a:1|evt_1)\b")
#: For users of all sources.
OPERATORS = ("/people", "/audit")


@dataclass(frozen=True)
class Tenant:
    """``visitor``: a manager of one source.  ``deliveries``: ids of those that it may not see."""

    managed: Managed
    visitor: Visitor
    deliveries: tuple[str, ...]

    def foreign_paths(self, route: Route) -> Iterator[str]:
        """Fill a route's place with each object that is none of this tenant's."""
        for start, ids in (
            ("/endpoints/", FOREIGN_ENDPOINTS),
            ("/deliveries/", self.deliveries),
            ("/events/", ("evt_1",)),
            ("/replays/", FOREIGN_REPLAYS),
            ("/backfills/", FOREIGN_BACKFILLS),
            ("/sources/", (OTHER,)),
            ("/catalogue/", ("source.failed",)),
        ):
            if route.path.startswith(start) and "{" in route.path:
                yield from (
                    re.sub(r"\{(id|name)\}", each, route.path).replace("{state:enable|disable}", "disable")
                    for each in ids
                )


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    async with managing(await shared_outbox(), source=SOURCES) as managed:
        foreign = [
            view.id
            for each in FOREIGN_ENDPOINTS
            for view in await managed.store.deliveries(DeliveryFilter(endpoint_id=each), 10)
        ]
        await managed.accounts.add_user("cli:root", "tom", Role.MANAGER, PASSWORD, [OWN])
        async with visiting(managed, "tom") as visitor:
            yield Tenant(managed, visitor, tuple(foreign))


async def test_pages_show_nothing_of_other_sources(tenant: Tenant) -> None:
    seen = []
    for route in routes():
        if route.method == "GET" and "{" not in route.path and not route.path.startswith(("/live/", *OPERATORS)):
            page = await tenant.visitor.get(route.path)
            assert not HIDDEN.findall(re.sub(r"</?main|#main\b|id=\"main\"|/tree/main/", "", page.text)), route.path
            seen += re.findall(r"\b(?:ep|rpl|bf)_shop\b|\ba:[23]\b", page.text)
    assert {"ep_shop", "rpl_shop", "a:2", "a:3"} <= set(seen)


async def test_delivery_of_a_test_is_shown(tenant: Tenant) -> None:
    change = EndpointChange(url="https://127.0.0.1:1/", secret=new_secret())
    await tenant.managed.store.change_endpoint("ep_shop", change)
    tested = await tenant.visitor.send("/endpoints/ep_shop/test", {"event": "endpoint.test"})
    (path,) = re.findall(r'href="(/deliveries/\w+)">Go to the delivery', tested.text)
    assert (await tenant.visitor.get(path)).status == 200


async def test_objects_of_other_sources_do_not_exist(tenant: Tenant) -> None:
    before = [await tenant.managed.store.endpoint(each) for each in FOREIGN_ENDPOINTS]
    tried = set()
    for route in routes():
        for path in tenant.foreign_paths(route):
            send = tenant.visitor.get if route.method == "GET" else tenant.visitor.send
            answer = await send(path)
            assert answer.status == 404, path
            tried.add(route.path)
    assert len(tried) >= 15
    assert [await tenant.managed.store.endpoint(each) for each in FOREIGN_ENDPOINTS] == before


async def test_users_tokens_and_the_audit_log_are_for_users_of_all_sources(tenant: Tenant) -> None:
    guarded = [route for route in routes() if route.path.startswith(OPERATORS)]
    assert len(guarded) == 8
    for route in guarded:
        send = tenant.visitor.get if route.method == "GET" else tenant.visitor.send
        answer = await send(re.sub(r"\{\w+\}", "ann", route.path))
        assert (answer.status, "For managers of all sources only." in answer.text) == (403, True), route.path
    assert "/people" not in (await tenant.visitor.get("/")).text


async def test_new_endpoints_and_backfills_are_of_the_users_sources(tenant: Tenant) -> None:
    form = {"url": "https://shop.example.com/hook", "patterns": "invoice.*"}
    assert (await tenant.visitor.send("/endpoints/new", {**form, "sources": OTHER})).status == 422
    mail = {"addresses": "ann@example.com", "patterns": "invoice.*"}
    for refused in ({**form, "sources": OTHER}, {**form, "patterns": "component.failed"}):
        assert (await tenant.visitor.send("/endpoints/new", refused | {"try": "1"})).status == 422
    assert (await tenant.visitor.send("/endpoints/new?kind=email", mail | {"try": "1"})).status == 422
    assert "kind=email" not in (await tenant.visitor.get("/endpoints/new")).text
    assert (await tenant.visitor.send("/endpoints/new", form)).status == 201
    made = [each for each in await tenant.managed.store.endpoints() if each.url == form["url"]]
    assert [each.sources for each in made] == [(OWN,)]
    asked = {"table": "customer", "endpoint": "ep_shop", "rate": "", "where": ""}
    assert (await tenant.visitor.send("/backfills", {**asked, "source": OTHER})).status == 422


async def test_sources_are_given_changed_and_taken_by_a_manager_of_all(tenant: Tenant) -> None:
    async with visiting(tenant.managed, "ann") as manager:
        unknown = await manager.send("/people/users/tom/role", {"role": "manager", "sources": "nobody"})
        assert unknown.status == 422
        assert (await tenant.visitor.get("/endpoints/ep_main")).status == 404
        await manager.send("/people/users/tom/role", {"role": "viewer", "sources": OTHER})
        assert (await tenant.visitor.get("/endpoints/ep_main")).status == 200, "at once, in the open session"
        assert (await tenant.visitor.get("/endpoints/ep_shop")).status == 404
        await manager.send("/people/users/tom/role", {"role": "manager", "sources": ""})
        assert (await tenant.visitor.get("/people")).status == 200
        new = {"name": "eva", "role": "viewer", "password": PASSWORD, "sources": f"{OWN}, {OTHER}"}
        assert (await manager.send("/people/users", new)).status == 303
    users = {each.name: each.sources for each in await tenant.managed.access.users()}
    assert (users["tom"], users["eva"]) == ((), (OWN, OTHER))
    entries = [each.entry for each in await tenant.managed.access.audit(AuditFilter(actor="user:ann"), 10)]
    assert [each.detail for each in entries if each.action != "session.begin"] == [
        {"role": "viewer", "sources": f"{OWN}, {OTHER}"},
        {"role": "manager", "former": "viewer", "sources": "all"},
        {"role": "viewer", "former": "manager", "sources": OTHER},
    ]


async def test_deliveries_name_their_source_to_those_who_see_several(tenant: Tenant) -> None:
    named = re.compile(rf'<span class="soft">({OTHER}|{OWN})</span>')
    async with visiting(tenant.managed, "ann") as operator:
        for path in ("/deliveries", "/endpoints/ep_all"):
            assert set(named.findall((await operator.get(path)).text)) >= {OWN, OTHER}, path
    shown = (await tenant.visitor.get("/deliveries")).text
    assert "ep_shop" in shown
    assert not named.search(shown)
