"""What every outbox holds: searching the log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
from cdc.model.errors import UsageError
from cdc.outbox.postgres import search as postgres_search
from cdc.outbox.sqlite import search as sqlite_search
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, NOW, at, endpoint, event, finish, lease, outcome, store


async def found(outbox: OutboxStore, **fields: object) -> list[str]:
    return [view.event_id for view in await outbox.deliveries(DeliveryFilter(**fields), 100)]  # type: ignore[arg-type] # a test's shorthand


async def events_found(outbox: OutboxStore, after: int = 0, **fields: object) -> list[str]:
    return [one.id for one in await outbox.find_events(EventFilter(**fields), 100, after)]  # type: ignore[arg-type] # as above


async def filled(outbox: OutboxStore) -> None:
    """Six events, a second apart; the last change happened first."""
    await outbox.add_endpoint(endpoint())
    await store(
        outbox,
        event(1, "a:1", name="invoice.created"),
        event(2, "a:1", name="invoice.paid", source="shop"),
        event(3, "b:1", name="invoice.paid"),
        event(4, "a:1", name="stock.changed"),
        event(5, "b:1", name="invoice_line.created"),
        event(6, "a:1", name="invoice.paid", time=at(0)),
    )


async def test_time_is_the_event_s_own(outbox: OutboxStore) -> None:
    await filled(outbox)
    assert await found(outbox, since=at(3)) == ["evt_5", "evt_4", "evt_3"]
    assert await found(outbox, until=at(3)) == ["evt_6", "evt_2", "evt_1"]
    assert await found(outbox, since=at(2), until=at(4)) == ["evt_3", "evt_2"]
    assert await found(outbox, since=at(2), until=at(2)) == []
    assert await found(outbox, since=at(2) + timedelta(microseconds=1), until=at(4)) == ["evt_3"]


async def test_a_source_narrows(outbox: OutboxStore) -> None:
    await filled(outbox)
    assert await found(outbox, source="shop") == ["evt_2"]
    assert await found(outbox, source="none") == []


async def test_the_newest_event_of_each_record_is_found(outbox: OutboxStore) -> None:
    await filled(outbox)

    async def newest(sources: tuple[str, ...] | None = None) -> set[str]:
        return {each.id for each in await outbox.newest_events(["a:1", "b:1", "none:1", "no\0thing"], sources)}

    assert await newest() == {"evt_6", "evt_5"}
    assert await newest(("shop", "none")) == {"evt_2"}
    assert await newest(()) == set()


async def test_sources_and_endpoints_narrow(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_b", sources=("shop",)))
    await filled(outbox)
    assert await events_found(outbox, sources=("shop", "none")) == ["evt_2"]
    assert await events_found(outbox, sources=()) == []
    assert await found(outbox, sources=("main",)) == ["evt_6", "evt_5", "evt_4", "evt_3", "evt_1"]
    assert await found(outbox, sources=("shop",)) == ["evt_2", "evt_2"]
    assert await found(outbox, endpoint_ids=("ep_b", "ep_none")) == ["evt_2"]
    assert await found(outbox, endpoint_ids=()) == []
    assert await found(outbox, endpoint_ids=("ep_a",), sources=("shop",), event_pattern="invoice.*") == ["evt_2"]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"event_pattern": "invoice.paid"}, [6, 3, 2]),
        ({"event_pattern": "invoice.*"}, [6, 3, 2, 1]),
        ({"event_pattern": "*.created"}, [5, 1]),
        ({"event_pattern": "invoice_line.*"}, [5]),
        ({"event_pattern": "*"}, [6, 5, 4, 3, 2, 1]),
        ({"event_pattern": "order.*"}, []),
        ({"event_pattern": "invoice.*", "record": "a:1", "since": at(1)}, [2, 1]),
        ({"event_pattern": "invoice.*", "source": "main", "until": at(3)}, [6, 1]),
        ({"event_pattern": "invoice.paid", "since": at(1), "event_id": "evt_3"}, [3]),
    ],
)
async def test_all_that_is_asked_for_holds_at_once(
    outbox: OutboxStore, fields: dict[str, object], numbers: list[int]
) -> None:
    await filled(outbox)
    wanted = [f"evt_{number}" for number in numbers]
    assert await found(outbox, **fields) == await found(outbox, endpoint_id="ep_a", **fields) == wanted
    assert await found(outbox, state=DeliveryState.WAITING, endpoint_id="ep_a", **fields) == [
        each for each in wanted if each not in ("evt_1", "evt_2", "evt_3")
    ]
    assert await events_found(outbox, **fields) == wanted[::-1]


async def test_a_search_is_the_same_page_by_page(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    names = ("invoice.paid", "invoice.created", "stock.changed")
    await store(outbox, *[event(number, f"a:{number % 4}", name=names[number % 3]) for number in range(1, 25)])
    leased = await lease(outbox)
    await outbox.finish(
        "w", [outcome(each, list(DeliveryState)[3 + number % 3]) for number, each in enumerate(leased)], NOW
    )
    filters = [
        DeliveryFilter(endpoint_id=endpoint_id, event_pattern=pattern, record=record, state=state, since=since)
        for endpoint_id in (None, "ep_b")
        for pattern in (None, "invoice.*")
        for record in (None, "a:2")
        for state in (None, *DeliveryState)
        for since in (None, at(5))
    ]
    for which in filters:
        whole = await outbox.deliveries(which, 100)
        pages, before = [], None
        while page := await outbox.deliveries(which, 3, before):
            pages += page
            before = page[-1].id
        assert pages == whole, which
        assert len({view.id for view in whole}) == len(whole)


async def test_events_are_found_behind_a_sequence(outbox: OutboxStore) -> None:
    await filled(outbox)
    assert await events_found(outbox, after=4) == ["evt_5", "evt_6"]
    assert await events_found(outbox, after=2, record="a:1") == ["evt_4", "evt_6"]
    assert await events_found(outbox, after=2, event_pattern="invoice.*") == ["evt_3", "evt_6"]
    assert [one.id for one in await outbox.find_events(EventFilter(), 2)] == ["evt_1", "evt_2"]
    assert await outbox.find_events(EventFilter(), 9) == await outbox.events(9)
    with pytest.raises(UsageError, match="not an event pattern"):
        await events_found(outbox, event_pattern="invoice.?")


async def test_a_text_is_looked_for_in_payloads(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    names = ("FAC2026A1", 'Casa "Peña" 100%', "FAC2026A12", "back\\slash", "")
    events = [event(number, f"a:{number % 2}", data={"codigo": name}) for number, name in enumerate(names, 1)]
    await store(outbox, *events)
    assert await found(outbox, text="FAC2026A1") == ["evt_3", "evt_1"]
    for text, number in (('"Peña" 100%', 2), ("back\\s", 4), ("A12", 3)):
        assert await found(outbox, text=text) == await events_found(outbox, text=text) == [f"evt_{number}"]
    assert await found(outbox, text="fac2026a1") == await found(outbox, text="\ud800\x00") == []
    assert await found(outbox, text="FAC2026A1", record="a:1") == ["evt_3", "evt_1"]
    assert await found(outbox, text="FAC2026A1", record="a:0") == []
    assert await found(outbox, text="FAC2026A1", event_id="evt_3", endpoint_id="ep_a") == ["evt_3"]
    assert await found(outbox, text="FAC2026A1", event_id="evt_2") == []
    assert await events_found(outbox, text="FAC2026A1", after=1) == ["evt_3"]
    first = await outbox.deliveries(DeliveryFilter(text="FAC2026A1"), 1)
    second = await outbox.deliveries(DeliveryFilter(text="FAC2026A1"), 9, before=first[0].id)
    assert [view.event_id for view in (*first, *second)] == ["evt_3", "evt_1"]
    await outbox.expunge(["evt_3"], NOW)
    assert await found(outbox, text="FAC2026A1") == ["evt_1"]


async def test_a_text_is_looked_for_in_the_newest_events_only(
    outbox: OutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_search, sqlite_search):
        monkeypatch.setattr(module, "TEXT_EVENTS", 2)
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(number, "a:1", data={"codigo": "same"}) for number in range(1, 5)])
    assert await found(outbox, text="same") == await found(outbox, text="same", record="a:1") == ["evt_4", "evt_3"]
    assert await events_found(outbox, text="same") == ["evt_3", "evt_4"]


@pytest.mark.parametrize("few", [20_000, 0], ids=["few", "many"])
async def test_a_code_or_a_name_is_found_however_old(
    outbox: OutboxStore, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``few``: up to so many events with such a code or name are looked up."""
    for module in (postgres_search, sqlite_search):
        monkeypatch.setattr(module, "TEXT_EVENTS", 1)
    for module in (postgres_search, sqlite_search):
        monkeypatch.setattr(module, "FEW", few)
    await outbox.add_endpoint(endpoint())
    await store(
        outbox,
        event(1, labels=("fac2026a12", "talleres ruiz & hijos, s.l.")),
        event(2, labels=("fac2026a123", "")),
        event(3, labels=("fac2026b1", "ñandú")),
        event(4, labels=("", "")),
        event(5, data={"note": "talleres"}),
    )
    assert await found(outbox, text="FAC2026A12") == ["evt_2", "evt_1"]
    assert await found(outbox, text="Talleres Ruiz", record="facturascli:1") == ["evt_1"]
    assert await found(outbox, text="talleres") == ["evt_5", "evt_1"]
    assert await found(outbox, text="Ñandú ") == ["evt_3"]
    assert await found(outbox, text="talleres", state=DeliveryState.DEAD) == []
    assert await events_found(outbox, text="fac2026") == ["evt_1", "evt_2", "evt_3"]
    assert await found(outbox, text="Ruiz") == []
    assert await found(outbox, label="FAC2026A12 ") == await events_found(outbox, label="fac2026a12") == ["evt_1"]
    assert await found(outbox, label="Talleres Ruiz & Hijos, S.L.", record="facturascli:1") == ["evt_1"]
    for part in ("FAC2026A1", "talleres", "", "\0"):
        assert await found(outbox, label=part) == await events_found(outbox, label=part) == []
    await outbox.expunge(["evt_1"], at(9))
    assert await found(outbox, text="Talleres Ruiz") == await found(outbox, label="fac2026a12") == []


async def test_events_by_their_ids(outbox: OutboxStore) -> None:
    await store(outbox, event(1), event(2), event(3))
    found = await outbox.events_of(["evt_3", "evt_1", "evt_none"])
    assert sorted(each.id for each in found) == ["evt_1", "evt_3"]
    assert found == [await outbox.event(each.id) for each in found]
    assert await outbox.events_of([]) == []


async def test_attempts_of_many_deliveries(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    for seconds in (0, 10):
        leased = await lease(outbox, at(seconds), limit=2)
        await finish(outbox, *leased, state=DeliveryState.PENDING, due_at=at(seconds + 10), now=at(seconds))
    views = await outbox.deliveries(EVERYTHING, 10)
    found = await outbox.attempts_of([*(view.id for view in views), "dlv_99", "nonsense"])
    assert found == {view.id: await outbox.attempts(view.id) for view in views if view.attempts}
    assert {delivery: len(attempts) for delivery, attempts in found.items()} == {"dlv_1": 2, "dlv_2": 1, "dlv_3": 1}
    assert await outbox.attempts_of([]) == {}
