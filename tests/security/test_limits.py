"""A tenant that creates as much as it can, in any way, reaches its limit and leaves its neighbour unaffected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.admin.accounts import Accounts, NewPortal, PortalLinks
from cdc.admin.admin import Admin
from cdc.admin.findings import limit_checks
from cdc.admin.managed import Action, EndpointStep
from cdc.admin.principal import Principal
from cdc.capture import estimate
from cdc.config import Config
from cdc.config.section import LimitsConfig
from cdc.model.backfill import Asked
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryFilter
from cdc.model.errors import LimitReached
from cdc.model.quota import Limited
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from cdc.runtime.service import service_of
from support.browsing import visiting
from support.managing import API, Managed, managing
from support.portals import Tenant, portal_link
from support.tenants import OTHER, OWN
from support.waiting import HANG_SECONDS

SOURCES = {name: {"url": f"postgresql://cdc@db.example.com/{name}"} for name in (OTHER, OWN)}
#: The most that a source, or a principal, may have of each kind, and how often a tenant tries.
MOST, TRIES = 3, 7
LIMITS = dict.fromkeys(LimitsConfig.model_fields, MOST)
REACHED = f"The source {OWN} has reached the limit endpoints_per_source = {MOST} under [limits]."
URL = "https://shop.example.com/hook"


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backfills ask the source's database for the number of rows."""

    async def about(*_: Any) -> int:
        return 1

    monkeypatch.setattr(estimate, "estimate", about)


@asynccontextmanager
async def stores(
    request: pytest.FixtureRequest, folder: Path, dialect: str
) -> AsyncIterator[tuple[OutboxStore, AccessStore]]:
    """Open connections of one more process to the same outbox."""
    outbox: OutboxStore = SqliteOutbox(folder / "outbox.db")
    access: AccessStore = SqliteAccess(folder / "outbox.db")
    if dialect == "postgresql":
        info = request.getfixturevalue("postgres_outbox_db").info
        outbox, access = PostgresOutbox(info), PostgresAccess(info)
    for store in (outbox, access):
        await store.open()
    try:
        yield outbox, access
    finally:
        for store in (outbox, access):
            await store.close()


@asynccontextmanager
async def served(
    request: pytest.FixtureRequest, folder: Path, dialect: str = "sqlite", **limits: int
) -> AsyncIterator[Managed]:
    """``limits``: higher than `MOST`."""
    async with stores(request, folder, dialect) as (outbox, access):
        many = {"tokens_per_source": 100}
        async with managing(outbox, access=access, source=SOURCES, limits=LIMITS | many | limits) as managed:
            yield managed


async def new_token(managed: Managed, source: str, scope: Scope = Scope.MANAGE) -> dict[str, str]:
    """Return the header of a new token of one source."""
    name = f"{source}-{len(await managed.accounts.tokens())}"
    made = await managed.accounts.add_token("cli:root", name, scope, None, [source])
    return {"Authorization": f"Bearer {made[1]}"}


def wanted(kind: Limited, number: int, source: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request that creates one."""
    match kind:
        case Limited.ENDPOINTS:
            return "/endpoints", {"url": f"{URL}/{number}", "events": ("*",)}
        case Limited.CONSUMERS:
            return "/endpoints", {"url": f"pull:{source}-{number}", "events": ("*",)}
        case Limited.PORTAL_LINKS:
            return "/portal-links", {"tenant": f"tenant-{number}", "sources": [source]}
        case Limited.REPLAYS:
            return "/replays", {"event": "*"}
        case _:
            return "/endpoint-preview", {"events": ("*",)}


async def create(managed: Managed, kind: Limited, number: int, source: str, token: dict[str, str]) -> int:
    path, body = wanted(kind, number, source)
    answer = await managed.ask("POST", path, None, json=body, headers=token)
    if answer.status == 409:
        assert f"has reached the limit {kind}_per_" in answer.json["detail"]
        assert answer.json["detail"].endswith(f" = {MOST} under [limits].")
        assert answer.json["hint"]
    return answer.status


async def by_one_token(managed: Managed, kind: Limited) -> list[int]:
    token = await new_token(managed, OWN)
    return [await create(managed, kind, number, OWN, token) for number in range(TRIES)]


async def by_many_tokens(managed: Managed, kind: Limited) -> list[int]:
    tokens = [await new_token(managed, OWN) for _ in range(TRIES)]
    return [await create(managed, kind, number, OWN, token) for number, token in enumerate(tokens)]


async def by_many_tokens_at_once(managed: Managed, kind: Limited) -> list[int]:
    tokens = [await new_token(managed, OWN) for _ in range(TRIES)]
    tries = [create(managed, kind, number, OWN, token) for number, token in enumerate(tokens)]
    return list(await asyncio.gather(*tries))


async def by_operator(managed: Managed, kind: Limited) -> list[int]:
    """A token of all sources, for one of them."""
    token = {"Authorization": f"Bearer {managed.tokens[Scope.MANAGE]}"}
    made = []
    for number in range(TRIES):
        path, body = wanted(kind, number, OWN)
        named = {} if kind in (Limited.REPLAYS, Limited.PORTAL_LINKS) else {"sources": [OWN]}
        made.append((await managed.ask("POST", path, None, json=body | named, headers=token)).status)
    return made


async def after_removals(managed: Managed, kind: Limited) -> list[int]:
    """What was removed or has ended makes room."""
    token = await new_token(managed, OWN)
    end = {
        Limited.REPLAYS: lambda each: ("POST", f"/replays/{each}/cancel"),
        Limited.PORTAL_LINKS: lambda _: ("DELETE", "/portal-links/tenant-0"),
    }.get(kind, lambda each: ("DELETE", f"/endpoints/{each}"))
    for number in range(2 * MOST):  # each is ended before the next is made
        path, body = wanted(kind, 0, OWN)
        answer = await managed.ask("POST", path, None, json=body, headers=token)
        assert answer.status in (201, 202), answer.text
        method, path = end(answer.json.get("id"))
        assert (await managed.ask(method, path, None, headers=token)).status in (200, 204), number
    return [await create(managed, kind, number, OWN, token) for number in range(TRIES)]


STORED = (Limited.ENDPOINTS, Limited.CONSUMERS, Limited.PORTAL_LINKS, Limited.REPLAYS)
ATTACKS = (by_one_token, by_many_tokens, by_many_tokens_at_once, by_operator, after_removals)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_flood_through_the_api_ends_at_the_limit(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    dialect: str,
    attack: Callable[[Managed, Limited], Awaitable[list[int]]],
) -> None:
    async with served(request, tmp_path, dialect) as managed:
        neighbour = await new_token(managed, OTHER)
        for kind in STORED:
            managed.clock.advance(60)  # the rates of tokens are another test
            statuses = Counter(await attack(managed, kind))
            created = statuses[201] + statuses[202]
            assert (created, statuses[409]) == (MOST, TRIES - MOST), (kind, statuses)
            assert await create(managed, kind, 99, OTHER, neighbour) in (201, 202), kind


# -- the page and the portal -------------------------------------------------------------------------------------------


async def add_by_form(visitor: Any, number: int, **more: str) -> int:
    form = {"url": f"{URL}/{number}", "events": "invoice.*"} | more
    return int((await visitor.send("/endpoints/new", form)).status)


@pytest.mark.parametrize(
    ("through", "form"),
    [
        ("portal", {}),
        ("portal", {"url": "pull:orders"}),
        ("portals", {}),
        ("page", {"sources": OWN}),
        ("page", {"sources": OWN, "url": "pull:orders"}),
        ("page", {}),
    ],
)
async def test_flood_through_pages_ends_at_the_limit(
    request: pytest.FixtureRequest, tmp_path: Path, through: str, form: dict[str, str]
) -> None:
    async with served(request, tmp_path) as managed, AsyncExitStack() as stack:
        visitors = []
        for number in range(2 if through == "portals" else 1):
            visitor = await stack.enter_async_context(visiting(managed, "ann" if through == "page" else ""))
            if through != "page":
                visitor = Tenant(visitor.session, visitor.root)
                assert (await visitor.open(await portal_link(managed, tenant=f"acme{number}"))).status == 303
            visitors.append(visitor)
        statuses = Counter([await add_by_form(visitors[each % len(visitors)], each, **form) for each in range(TRIES)])
        assert (statuses[201] + statuses[303], statuses[409]) == (MOST, TRIES - MOST)
        refused = await visitors[0].send("/endpoints/new", {"url": URL, "events": "invoice.*"} | form)
        holder = "What is for all sources" if (through, form) == ("page", {}) else f"The source {OWN}"
        assert f"{holder} has reached the limit" in refused.text
        neighbour = await new_token(managed, OTHER)
        assert await create(managed, Limited.ENDPOINTS, 1, OTHER, neighbour) == 201


async def test_overview_metrics_and_doctor_name_the_limit(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with served(request, tmp_path) as managed, visiting(managed, "ann") as ann:
        await by_one_token(managed, Limited.ENDPOINTS)
        assert managed.watch.reported.refusals == {"endpoints": TRIES - MOST}
        overview = (await ann.get("/")).text
        assert REACHED in overview
        managed.clock.advance(2 * 3600)
        assert REACHED not in (await ann.get("/")).text
        checks = limit_checks(managed.service.config, await managed.store.usage(managed.clock.now()))
        found = {(each.finding.check, each.finding.detail) for each in checks}
        assert ("endpoints_per_source", REACHED) in found
        assert not [each for each in checks if OTHER in each.finding.detail]


# -- processes side by side --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*STORED[:4], Limited.BACKFILLS, Limited.TOKENS])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_processes_do_not_exceed_a_limit_together(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str, kind: Limited
) -> None:
    clock, config = SystemClock(), Config.model_validate({"source": SOURCES, "limits": LIMITS, "web": {}})

    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(stores(request, tmp_path, dialect)) for _ in range(3)]

        async def attempt(number: int) -> bool:
            outbox, access = processes[number % len(processes)]
            principal = Principal(f"token:{number}", (OWN,))
            admin = Admin(service_of(config, outbox, clock), principal)
            try:
                match kind:
                    case Limited.ENDPOINTS | Limited.CONSUMERS:
                        await admin.endpoints.add(admin.endpoints.new(wanted(kind, number, OWN)[1]))
                    case Limited.PORTAL_LINKS:
                        await PortalLinks(access, clock, config).create(principal, NewPortal(f"t{number}"))
                    case Limited.REPLAYS:
                        await admin.deliveries.start_replay(DeliveryFilter(event_pattern="*"), 1.0)
                    case Limited.BACKFILLS:
                        operator = Admin(service_of(config, outbox, clock), Principal(principal.name))
                        await operator.backfills.start(OWN, Asked(("facturascli",)))
                    case _:
                        accounts = Accounts(access, clock, limits=config.limits)
                        await accounts.add_token("cli:root", f"t{number}", Scope.READ, sources=[OWN])
            except LimitReached:
                return False
            return True

        made = await asyncio.gather(*(attempt(number) for number in range(4 * MOST)))
        assert made.count(True) == MOST
        usage = await processes[0][0].usage(clock.now())
        assert [each.number for each in usage if (each.kind, each.source) == (kind, OWN)] == [MOST]


# -- other ways --------------------------------------------------------------------------------------------------------


def tenant(managed: Managed, name: str = "token:shop") -> Admin:
    return Admin(managed.service, Principal(name, (OWN,)))


async def test_backfill_of_many_tables_is_refused_whole(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with served(request, tmp_path, backfills_per_principal=10) as managed:
        operator = Admin(managed.service, Principal("cli:root", operator=True))
        with pytest.raises(LimitReached, match=f"The source {OWN} has reached the limit backfills_per_source"):
            await operator.backfills.start(OWN, Asked(("facturascli", "clientes", "productos", "proveedores")))
        assert await managed.store.backfills(10) == []
        assert len(await operator.backfills.start(OWN, Asked(("facturascli", "clientes", "productos")))) == MOST
        assert len(await operator.backfills.start(OTHER, Asked(("facturascli",)))) == 1


async def test_applied_file_and_changed_sources_are_limited(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with served(request, tmp_path, endpoints_per_principal=10) as managed:
        operator = Admin(managed.service, Principal("cli:root", operator=True))
        shop, main = [
            [
                operator.endpoints.new({"url": f"{URL}/{number}", "events": ("*",), "sources": (source,)})
                for number in range(4)
            ]
            for source in (OWN, OTHER)
        ]
        for made in shop[:MOST]:
            await operator.managed.carry_out(EndpointStep(Action.CREATE, "a", made, {}))
        with pytest.raises(LimitReached):
            await operator.managed.carry_out(EndpointStep(Action.CREATE, "a", shop[MOST], {}))
        other = await operator.endpoints.add(main[0])
        for sources in ((OWN,), (OWN, OTHER), (OTHER, OWN)):
            with pytest.raises(LimitReached):
                await operator.endpoints.change(other, {"sources": sources})
            step = EndpointStep(Action.CHANGE, "a", other, {"sources": sources})
            with pytest.raises(LimitReached):
                await operator.managed.carry_out(step)
        (stored,) = [each for each in await managed.store.endpoints() if each.id == other.id]
        assert stored.sources == (OTHER,)
        await operator.endpoints.change(other, {"description": "at the limit", "sources": (OTHER,)})
        full = next(each for each in await managed.store.endpoints() if each.sources == (OWN,))
        await operator.endpoints.change(full, {"description": "too"})


@pytest.mark.parametrize("tokens", [1, 2, TRIES])
@pytest.mark.parametrize("at_once", [False, True])
async def test_idempotency_keys_of_a_tenant_are_limited(
    request: pytest.FixtureRequest, tmp_path: Path, tokens: int, at_once: bool
) -> None:
    async with served(request, tmp_path, endpoints_per_source=100, endpoints_per_principal=100) as managed:
        headers = [await new_token(managed, OWN) for _ in range(tokens)]

        async def ask(number: int, token: dict[str, str]) -> int:
            key = {"Idempotency-Key": f"k{number}"}
            path, body = wanted(Limited.ENDPOINTS, number, OWN)
            return (await managed.ask("POST", path, None, json=body, headers=token | key)).status

        tries = [ask(number, headers[number % tokens]) for number in range(TRIES)]
        statuses = Counter(await asyncio.gather(*tries) if at_once else [await each for each in tries])
        assert statuses == {201: MOST, 429: TRIES - MOST}
        assert await ask(99, await new_token(managed, OTHER)) == 201


@pytest.mark.parametrize("through", ["one token", "many tokens", "portal"])
async def test_previews_at_once_are_limited(request: pytest.FixtureRequest, tmp_path: Path, through: str) -> None:
    async with served(request, tmp_path) as managed, AsyncExitStack() as stack:
        headers = [await new_token(managed, OWN) for _ in range(TRIES if through == "many tokens" else 1)]
        visitor = Tenant(*_parts(await stack.enter_async_context(visiting(managed))))
        await visitor.open(await portal_link(managed))
        csrf = await visitor.csrf()

        async def preview(number: int) -> int:
            if through == "portal":
                form = {"csrf": csrf, "url": URL, "events": "invoice.*", "preview": "1"}
                return (await visitor.post("/endpoints/new", form, headers={"Origin": visitor.root})).status
            path, body = wanted(Limited.PREVIEWS, number, OWN)
            token = headers[number % len(headers)]
            return (await managed.ask("POST", path, None, json=body, headers=token)).status

        async with managed.service.previewing:  # each takes long
            asked = [asyncio.create_task(preview(number)) for number in range(TRIES)]
            done = asyncio.Queue[int]()
            for each in asked:
                each.add_done_callback(lambda task: done.put_nowait(task.result()))
            async with asyncio.timeout(HANG_SECONDS):
                refused = [await done.get() for _ in range(TRIES - MOST)]
            assert set(refused) == {429}
            neighbour = asyncio.create_task(_preview_of_neighbour(managed))
        assert Counter(await asyncio.gather(*asked))[200] == MOST
        assert await neighbour == 200
        assert await preview(0) == 200


def _parts(visitor: Any) -> tuple[Any, str]:
    return visitor.session, visitor.root


async def _preview_of_neighbour(managed: Managed) -> int:
    path, body = wanted(Limited.PREVIEWS, 0, OTHER)
    return (await managed.ask("POST", path, None, json=body, headers=await new_token(managed, OTHER))).status


@pytest.mark.parametrize("path", ["/live/deliveries", "/live/events", f"{API}/events/stream"])
@pytest.mark.parametrize("many", [False, True])
async def test_open_streams_of_a_tenant_are_limited(
    request: pytest.FixtureRequest, tmp_path: Path, path: str, many: bool
) -> None:
    """By one portal or token, and by several of one tenant."""
    async with served(request, tmp_path) as managed, AsyncExitStack() as stack:

        async def visitor(source: str, name: str) -> tuple[Any, dict[str, str]]:
            opened = Tenant(*_parts(await stack.enter_async_context(visiting(managed))))
            if path.startswith(API):
                return opened, await new_token(managed, source, Scope.READ)
            link = await PortalLinks(managed.access, managed.clock, managed.service.config).create(
                Principal("cli:root"), NewPortal(name, [source])
            )
            assert (await opened.open(urlsplit(link[1]).path)).status == 303
            return opened, {}

        async def status(opened: Tenant, headers: dict[str, str]) -> int:
            answer = await stack.enter_async_context(opened.session.get(opened.root + path, headers=headers))
            return int(answer.status)

        visitors = [await visitor(OWN, f"tenant{number}") for number in range(2 if many else 1)]
        statuses = [await status(*visitors[number % len(visitors)]) for number in range(TRIES)]
        assert statuses == [200] * MOST + [429] * (TRIES - MOST)
        assert await status(*await visitor(OTHER, "neighbour")) == 200
