"""What every outbox holds: endpoints, and what becomes of their deliveries."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from enum import EnumType
from pathlib import Path
from typing import Any

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState, LeasedDelivery
from cdc.model.endpoint import (
    CHANGEABLE,
    CREDENTIALS,
    OPTIONS,
    Endpoint,
    EndpointChange,
    EndpointFilter,
    EndpointOption,
    EndpointState,
    Order,
    PayloadFormat,
)
from cdc.model.errors import CredentialsNotGiven, UsageError
from cdc.model.event import event_payload
from cdc.outbox.base import Stored
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.slices import TimeBudget
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    NOW,
    at,
    delivery_of,
    endpoint,
    event,
    event_ids,
    finish,
    lease,
    outcome,
    states_of,
    store,
)
from support.statements_seen import SeenStatements, postgres_seen, sqlite_seen

_FULL = Endpoint(
    id="ep_full",
    url="https://hooks.example.com/é?x=1",
    events=("invoice.*", "receipt.paid"),
    secret="whsec_c2VjcmV0",
    created_at=datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC),
    enabled=False,
    description="Accounting, “main”",
    sources=("main", "shop"),
    format=PayloadFormat.CLOUDEVENTS,
    timeout=2.5,
    retry_schedule=(0.5, 300, 1800),
    concurrency=3,
    disabled_reason="by hand",
    former_secret="whsec_b2xk",
    former_secret_until=at(3600),
    origin="events.example.com",
    order=Order.ENDPOINT,
    rate=2.5,
    batch_size=50,
    batch_wait=0.25,
    condition='data.total > 100.0 && name != "é"',
    fields=("idfactura", "total"),
    headers=(("X-Api-Key", "k1, “quoted”"), ("X-Tenant", ""), ("X-Api-Key", "k2")),
    proxy="outgoing",
    client_certificate="bank",
    disable_after=86_400.5,
    failing_since=datetime(2026, 11, 24, 11, 0, 0, 654321, tzinfo=UTC),
    credentials_of=("main", "shop"),
    transform="event",
    language="es",
    managed="endpoints.toml:full",
    authentication='{"client_id": "ñ", "token_url": "https://login.example.com/t", "type": "oauth2"}',
    credential="s3cret, “quoted”",
    filter_problem="It failed.",
    added_by="token:shop",
)


def _other(each: EndpointOption) -> Any:
    """Return a value of an option that is not its default."""
    if isinstance(each.type, EnumType):
        return next(value for value in each.type if value != each.default)
    if each.type is bool:
        return not each.default
    return each.default + 1 if each.type in (int, float) else "other" if each.type is str else ("other",)


#: With a value of its own for each option.
FULL = replace(_FULL, **{name: _other(each) for name, each in OPTIONS.items() if getattr(_FULL, name) == each.default})


def test_no_field_is_left_out_here() -> None:
    """What an endpoint has beside its defaults must be stored, and what may change must be changed."""
    assert [one.name for one in fields(Endpoint) if getattr(FULL, one.name) == _default(one)] == []
    assert set(CHANGES) == set(CHANGEABLE) - {"secret", "former_secret_until"}
    assert [name for name, value in CHANGES.items() if getattr(FULL, name) == value] == []


def _default(one: Any) -> object:
    return one.default_factory() if one.default_factory is not MISSING else one.default


async def test_an_endpoint_reads_as_it_was_added(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(FULL)
    assert await outbox.endpoint("ep_full") == FULL
    assert await outbox.endpoints() == [FULL]
    assert await outbox.endpoint("ep_none") is None


async def test_endpoints_are_listed_oldest_first(outbox: OutboxStore) -> None:
    for name, seconds in (("ep_c", 3), ("ep_a", 1), ("ep_b", 1)):
        await outbox.add_endpoint(endpoint(name, created_at=at(seconds)))
    assert [one.id for one in await outbox.endpoints()] == ["ep_a", "ep_b", "ep_c"]


async def test_an_endpoint_id_is_used_once(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    with pytest.raises(UsageError, match="endpoint ep_a"):
        await outbox.add_endpoint(FULL.__class__("ep_a", "https://x.example", ("*",), "whsec_x", NOW))
    await outbox.remove_endpoint("ep_a", NOW)
    with pytest.raises(UsageError, match="endpoint ep_a"):
        await outbox.add_endpoint(endpoint("ep_a"))
    assert await outbox.endpoints() == []


CHANGES: dict[str, Any] = {
    "url": "https://hooks.example.com/other",
    "events": ("*",),
    "enabled": True,
    "disabled_reason": "",
    "description": "",
    "sources": (),
    "format": PayloadFormat.STANDARD,
    "timeout": 7.5,
    "retry_schedule": (),
    "concurrency": 1,
    "origin": "",
    "order": Order.NONE,
    "rate": 0.0,
    "batch_size": 1,
    "batch_wait": 3.0,
    "condition": "",
    "fields": (),
    "headers": (),
    "proxy": "",
    "client_certificate": "",
    "transform": "",
    "language": "en",
    "managed": "",
    "disable_after": 0.0,
    "credentials_of": ("main",),
    "authentication": "",
    "credential": "",
}
CHANGES |= {name: each.default for name, each in OPTIONS.items() if name not in CHANGES}


#: what goes with a change: an endpoint that is enabled fails no longer; who sets credentials is the operator; without
#: authentication there is no credential
WITH: dict[str, dict[str, Any]] = {
    "enabled": {"failing_since": None},
    "condition": {"filter_problem": ""},
    **{name: {"credentials_of": ()} for name in CREDENTIALS},
    "authentication": {"credentials_of": (), "credential": ""},
}


@pytest.mark.parametrize("field", CHANGES)
async def test_a_change_touches_what_is_given_and_nothing_else(outbox: OutboxStore, field: str) -> None:
    await outbox.add_endpoint(FULL)
    await outbox.add_endpoint(endpoint("ep_other"))
    wanted = replace(FULL, **{field: CHANGES[field]}, **WITH.get(field, {}))
    assert await outbox.change_endpoint("ep_full", EndpointChange(**{field: CHANGES[field]})) == wanted
    assert await outbox.endpoint("ep_full") == wanted
    assert await outbox.endpoint("ep_other") == endpoint("ep_other")


async def test_many_changes_are_one_and_none_is_none(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(FULL)
    assert await outbox.change_endpoint("ep_full", EndpointChange()) == FULL
    assert await outbox.change_endpoint("ep_full", EndpointChange(**CHANGES)) == replace(
        FULL, **CHANGES, failing_since=None, filter_problem=""
    )


async def test_a_new_secret_makes_the_present_one_the_former_one(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", secret="whsec_b25l"))
    for secret, former, until in (("whsec_dHdv", "whsec_b25l", at(60)), ("whsec_dHJl", "whsec_dHdv", at(90))):
        changed = await outbox.change_endpoint("ep_a", EndpointChange(secret=secret, former_secret_until=until))
        assert (changed.secret, changed.former_secret, changed.former_secret_until) == (secret, former, until)
        assert await outbox.endpoint("ep_a") == changed


async def test_a_changed_endpoint_reads_so_with_all_its_fields(outbox: OutboxStore) -> None:
    """From defaults to everything."""
    await outbox.add_endpoint(endpoint("ep_a"))
    change = EndpointChange(**{name: getattr(FULL, name) for name in CHANGES})
    wanted = replace(FULL, id="ep_a", secret="whsec_c2VjcmV0", created_at=NOW, former_secret=None)
    wanted = replace(wanted, former_secret_until=None, failing_since=None, filter_problem="", added_by="")
    assert await outbox.change_endpoint("ep_a", change) == wanted
    assert await outbox.endpoint("ep_a") == wanted


async def test_only_an_endpoint_that_is_there_can_be_changed(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.remove_endpoint("ep_a", NOW)
    for name in ("ep_a", "ep_none"):
        with pytest.raises(UsageError, match=f"no endpoint {name}"):
            await outbox.change_endpoint(name, EndpointChange(enabled=True))


async def test_a_change_does_not_undo_what_dispatch_found_meanwhile(outbox: OutboxStore) -> None:
    """Whoever edits an endpoint has read it before; the receiver answers 410 Gone in between."""
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    read = await outbox.endpoint("ep_a")
    assert read is not None
    assert read.enabled
    await outbox.finish("w", [outcome(leased, DeliveryState.PENDING, NOW, "It answered 410 Gone.")], NOW)
    for change in (EndpointChange(description="Edited."), EndpointChange(secret="whsec_dHdv", former_secret_until=NOW)):
        changed = await outbox.change_endpoint("ep_a", change)
        assert (changed.enabled, changed.disabled_reason) == (False, "It answered 410 Gone.")
    assert await lease(outbox, at(100)) == []
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True, disabled_reason=""))
    assert event_ids(await lease(outbox, at(100))) == ["evt_1"]


async def test_an_update_changes_what_later_events_make(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("invoice.*",)))
    assert await store(outbox, event(1)) == Stored(1, 1)
    await outbox.change_endpoint("ep_a", EndpointChange(events=("stock.*",)))
    assert await store(outbox, event(2)) == Stored(1, 0)
    assert event_ids(await lease(outbox)) == ["evt_1"]


async def test_a_disabled_endpoint_keeps_its_deliveries_until_it_is_enabled(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=False))
    assert await store(outbox, event(2)) == Stored(1, 1)
    assert await lease(outbox, at(1e6)) == []
    assert await outbox.next_due(NOW) is None
    assert await states_of(outbox, 1, 2) == "pending pending"
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True))
    assert await outbox.next_due(NOW) == NOW
    assert event_ids(await lease(outbox)) == ["evt_1", "evt_2"]


async def test_what_a_disabled_endpoint_has_in_flight_can_be_finished(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    leased = await lease(outbox)
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=False))
    await finish(outbox, *leased)
    assert await states_of(outbox, 1, 2) == "delivered pending"


async def test_removing_an_endpoint_cancels_what_is_unfinished(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox))
    await store(outbox, event(2, "a:1"), event(3, "a:1"), event(4))
    leased = await lease(outbox, limit=1)
    await outbox.remove_endpoint("ep_a", at(9))
    assert await states_of(outbox, 1, 2, 3, 4) == "delivered cancelled cancelled cancelled"
    assert (await delivery_of(outbox, 3)).finished_at == at(9)
    assert await outbox.endpoint("ep_a") is None
    assert await outbox.endpoints() == []
    assert await store(outbox, event(5)) == Stored(1, 0)
    assert await lease(outbox, at(1e6)) == []
    assert await outbox.release("w", at(10)) == 0
    assert await outbox.next_due(NOW) is None
    await finish(outbox, *leased)
    assert await states_of(outbox, 2) == "cancelled"


async def test_the_log_of_a_removed_endpoint_stays_readable(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox))
    await outbox.remove_endpoint("ep_a", at(9))
    (view,) = await outbox.deliveries(DeliveryFilter(endpoint_id="ep_a"), 10)
    assert (view.endpoint_id, view.event_id) == ("ep_a", "evt_1")
    assert len(await outbox.attempts(view.id)) == 1
    assert await outbox.counts() == {}


async def test_only_an_endpoint_that_is_there_can_be_removed(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.remove_endpoint("ep_a", NOW)
    for name in ("ep_a", "ep_none"):
        with pytest.raises(UsageError, match=f"no endpoint {name}"):
            await outbox.remove_endpoint(name, NOW)


async def test_removing_one_endpoint_leaves_the_others_alone(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await outbox.remove_endpoint("ep_a", NOW)
    assert [(one.endpoint_id, one.event_id) for one in await lease(outbox)] == [("ep_b", "evt_1")]


async def test_a_test_goes_to_one_endpoint_whatever_it_wants(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", events=("stock.*",), sources=("shop",)))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1))
    leased = await outbox.send_test("ep_a", event(2), "t", at(3), at(63))
    assert leased == LeasedDelivery(
        leased.id, "ep_a", "evt_2", "invoice.updated", "facturascli:2", 1, at(63), event_payload(event(2)), "main"
    )
    (view,) = await outbox.deliveries(DeliveryFilter(endpoint_id="ep_a"), 10)
    assert (view.id, view.created_at, view.state, view.attempts) == (leased.id, at(3), DeliveryState.LEASED, 1)
    assert await outbox.event("evt_2") is not None
    assert event_ids(await lease(outbox, at(3))) == ["evt_1"]
    await finish(outbox, leased, worker="t", now=at(4))
    assert await states_of(outbox, 1, 2) == "leased delivered"
    assert len(await outbox.attempts(leased.id)) == 1


async def test_a_test_that_was_broken_off_is_sent_when_its_lease_expires(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    leased = await outbox.send_test("ep_a", event(1), "t", at(3), at(63))
    assert await outbox.next_due(at(3)) == at(63)
    assert await lease(outbox, at(62)) == []
    (again,) = await lease(outbox, at(63))
    assert (again.id, again.attempt, again.body_event) == (leased.id, 2, leased.body_event)
    await finish(outbox, leased, worker="t", state=DeliveryState.DEAD)  # late: someone else has it
    assert await states_of(outbox, 1) == "leased"


async def test_a_test_needs_an_endpoint_and_an_event_of_its_own(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1))
    await outbox.add_endpoint(endpoint("ep_off", enabled=False))
    for name, made, refusal in (
        ("ep_none", event(2), "no endpoint ep_none"),
        ("ep_off", event(2), "ep_off is disabled"),
        ("ep_a", event(1), "evt_1 is stored already"),
        ("ep_a", event(2, "facturascli:1"), "unfinished deliveries of facturascli:1"),
    ):
        with pytest.raises(UsageError, match=refusal):
            await outbox.send_test(name, made, "t", NOW, at(60))
    assert [one.id for one in await outbox.events(10)] == ["evt_1"]
    assert await states_of(outbox, 1) == "pending"


async def test_a_url_of_another_origin_is_refused_in_the_write_itself(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(FULL)
    with pytest.raises(CredentialsNotGiven, match="the header X-Tenant"):
        await outbox.change_endpoint("ep_full", EndpointChange(url="https://evil.example.com/"))
    assert await outbox.endpoint("ep_full") == FULL


async def test_a_guard_sees_the_endpoint_as_it_is_stored(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(FULL)

    def guard(found: Endpoint) -> None:
        raise UsageError(found.description)

    with pytest.raises(UsageError, match="Accounting"):
        await outbox.change_endpoint("ep_full", EndpointChange(description="x", guard=guard))
    assert await outbox.endpoint("ep_full") == FULL


async def test_removed_endpoints_keep_their_names(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", description="Shop"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await outbox.add_endpoint(endpoint("ep_c", description="stays"))
    await outbox.remove_endpoint("ep_a", NOW)
    await outbox.remove_endpoint("ep_b", NOW)
    assert await outbox.removed_endpoints(["ep_a", "ep_b", "ep_c", "ep_none"]) == {
        "ep_a": ("Shop", "https://ep_a.example.com"),
        "ep_b": ("", "https://ep_b.example.com"),
    }


async def _found(outbox: OutboxStore, which: EndpointFilter, limit: int = 2) -> list[list[str]]:
    """The ids of each page of a search that has no time for more than three endpoints a page."""
    pages: list[list[str]] = []
    after: str | None = "0"
    while after is not None:
        budget = TimeBudget(iter(range(1000)).__next__, seconds=1.0, events=3)
        page = await outbox.search_endpoints(which, limit, budget, int(after))
        pages.append([each.id for each in page.found])
        after = page.further
    return pages


async def test_pages_of_endpoints_follow_the_order_of_adding(outbox: OutboxStore) -> None:
    for number in range(5):
        await outbox.add_endpoint(endpoint(f"ep_{number}", created_at=at(-number)))
    first = await outbox.search_endpoints(EndpointFilter(), 2, TimeBudget(lambda: 0.0))
    await outbox.remove_endpoint("ep_1", NOW)
    await outbox.add_endpoint(endpoint("ep_5"))
    second = await outbox.search_endpoints(EndpointFilter(), 10, TimeBudget(lambda: 0.0), int(first.further or 0))

    assert [each.id for each in first.found] == ["ep_0", "ep_1"]
    assert ([each.id for each in second.found], second.further) == (["ep_2", "ep_3", "ep_4", "ep_5"], None)
    assert [each.id for each in second.found[:1]] == [each.id for each in await outbox.endpoints_of(["ep_2", "ep_1"])]


async def test_search_of_endpoints_narrows_by_text_state_and_sources(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", description="Talleres Núñez", sources=("main",)))
    await outbox.add_endpoint(endpoint("ep_b", url="https://Hooks.example.com/ruiz", sources=("main", "shop")))
    await outbox.add_endpoint(endpoint("ep_c", enabled=False, sources=("shop",)))
    await outbox.add_endpoint(endpoint("ep_d", failing_since=NOW))

    async def ids(**fields: Any) -> list[str]:
        return [each for page in await _found(outbox, EndpointFilter(**fields)) for each in page]

    assert await ids() == ["ep_a", "ep_b", "ep_c", "ep_d"]
    assert await ids(text="talleres Nú") == ["ep_a"]
    assert await ids(text="HOOKS.EXAMPLE.COM") == ["ep_b"]
    assert await ids(text="/ruiz") == []
    assert await ids(text="P_C") == ["ep_c"]
    assert await ids(text="%") == []
    assert await ids(state=EndpointState.ENABLED) == ["ep_a", "ep_b"]
    assert await ids(state=EndpointState.FAILING) == ["ep_d"]
    assert await ids(state=EndpointState.DISABLED) == ["ep_c"]
    assert await ids(state=EndpointState.DEAD) == []
    await store(outbox, event(1, source="shop"))
    await finish(
        outbox, *[each for each in await lease(outbox) if each.endpoint_id == "ep_d"], state=DeliveryState.DEAD
    )
    assert await ids(state=EndpointState.DEAD) == ["ep_d"]
    assert await ids(source="shop") == ["ep_b", "ep_c", "ep_d"]
    assert await ids(sources=("main",)) == ["ep_a"]
    assert await ids(sources=("main", "shop")) == ["ep_a", "ep_b", "ep_c"]
    assert await ids(text="ep", state=EndpointState.ENABLED, sources=("shop", "main", "x")) == ["ep_a", "ep_b"]


async def test_search_of_endpoints_ends_in_time_and_names_where_to_continue(outbox: OutboxStore) -> None:
    for number in range(9):
        await outbox.add_endpoint(endpoint(f"ep_{number}"))

    assert await _found(outbox, EndpointFilter(text="ep_8")) == [[], [], ["ep_8"]]
    assert await _found(outbox, EndpointFilter(), limit=4) == [
        ["ep_0", "ep_1", "ep_2"],
        ["ep_3", "ep_4", "ep_5"],
        ["ep_6", "ep_7", "ep_8"],
    ]


async def test_search_that_refuses_what_fits_still_fills_its_page(outbox: OutboxStore) -> None:
    for number in range(20):
        await outbox.add_endpoint(endpoint(f"ep_{number}"))

    page = await outbox.search_endpoints(
        EndpointFilter(), 3, TimeBudget(lambda: 0.0), fits=lambda each: int(each.id[3:]) % 5 == 4
    )
    assert [each.id for each in page.found] == ["ep_4", "ep_9", "ep_14"]
    assert page.further is not None


async def test_counts_and_activity_of_some_endpoints(outbox: OutboxStore) -> None:
    for name in ("ep_a", "ep_b", "ep_c"):
        await outbox.add_endpoint(endpoint(name))
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox))
    await store(outbox, event(2))

    expected = {DeliveryState.DELIVERED: 1, DeliveryState.PENDING: 1}
    assert await outbox.counts(None, ["ep_b", "ep_none"]) == {"ep_b": expected}
    assert await outbox.counts(10, []) == {}
    edges = [at(-3600), at(3600)]
    assert [each[1] for each in await outbox.activity(edges, ["ep_c", "ep_none"])] == ["ep_c"]
    assert len(await outbox.activity(edges)) == 3
    assert await outbox.activity(edges, []) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_endpoints_are_read_again_only_after_a_change(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Monitor and dispatch of each process ask for all of them every few seconds."""
    seen = SeenStatements()
    with sqlite_seen(seen), postgres_seen(seen):
        outbox: OutboxStore = SqliteOutbox(tmp_path / "outbox.db")
        if kind == "postgresql":
            outbox = PostgresOutbox(request.getfixturevalue("postgres_db").info)
        await outbox.open()
        for name in ("ep_a", "ep_b"):
            await outbox.add_endpoint(endpoint(name))
        assert len(await outbox.endpoints()) == 2
        del seen.texts[:]
        assert [each.id for each in await outbox.endpoints()] == ["ep_a", "ep_b"]
        assert seen.texts
        assert not [text for text in seen.texts if "settings" in text]
        await outbox.change_endpoint("ep_b", EndpointChange(description="changed"))
        assert [each.description for each in await outbox.endpoints()] == ["", "changed"]
        await store(outbox, event(1))
        failed = [outcome(each, DeliveryState.PENDING, NOW, started_at=NOW) for each in await lease(outbox)]
        await outbox.finish("w", failed, NOW)
        assert [each.failing_since for each in await outbox.endpoints()] == [NOW, NOW]
        await outbox.change_endpoint("ep_a", EndpointChange(enabled=True))
        assert [each.failing_since for each in await outbox.endpoints()] == [None, NOW]
        await outbox.close()
