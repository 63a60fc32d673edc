"""The log on the page: deliveries and events, searched no longer than somebody waits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape

import pytest

from cdc.access.model import AuditFilter
from cdc.model.delivery import DeliveryState
from cdc.outbox import slices as walk
from support.browsing import Visitor, visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import EVERYTHING, endpoint, event, finish, lease, store

EVENTS = 120
DEAD = DeliveryState.DEAD


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint())
    names = {2: "stock.changed", 3: "stock.changed"}
    await store(outbox, *[event(number, name=names.get(number, "order.paid")) for number in range(1, EVENTS + 1)])
    async with managing(outbox) as managed, visiting(managed, "bob") as visitor:
        yield visitor


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at 50 events."""
    monkeypatch.setattr(walk, "FIRST", 50)
    monkeypatch.setattr(walk, "SECONDS", 0.0)


def records(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"facturascli:(\d+)</", text)]


def further(text: str) -> str:
    """Where the link to what is older leads; empty without one."""
    match = re.search(r'<a [^>]*href="([^"]+)" rel="next"', text)
    return unescape(match[1]) if match else ""


@pytest.mark.parametrize("path", ["/deliveries", "/events"])
async def test_the_log_is_read_to_its_end_page_by_page(visitor: Visitor, path: str) -> None:
    pages = []
    while path:
        text = (await visitor.get(path)).text
        pages.append(records(text))
        assert "Search further back" not in text
        path = further(text)
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [number for page in pages for number in page] == list(range(EVENTS, 0, -1))


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("path", ["/deliveries?event=stock.*", "/events?event=stock.*"])
async def test_a_page_says_how_far_it_looked(visitor: Visitor, path: str) -> None:
    first = (await visitor.get(path)).text
    assert (records(first), "fits" in first) == ([], False)
    assert "since the event of Nov 24, 2026, 12:01:11" in first.replace("\u202f", " ")  # the 71st
    assert "Search further back" in first
    second = (await visitor.get(further(first))).text
    assert "since the event of Nov 24, 2026, 12:00:21" in second.replace("\u202f", " ")
    assert "Newest" in second
    last = (await visitor.get(further(second))).text
    assert records(last) == [3, 2]
    assert further(last) == ""
    assert "was looked at" not in last


async def test_what_is_not_there_is_not_there(visitor: Visitor) -> None:
    assert "No delivery matches." in (await visitor.get("/deliveries?event=invoice.*")).text
    assert "No event matches." in (await visitor.get("/events?event=invoice.*")).text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/events?before=x", "There is no such place in the log."),
        ("/events?event=a%20b", "is not an event pattern"),
        ("/deliveries?before=x", "There is no delivery x."),
        ("/deliveries?before=dlv_999", "There is no delivery dlv_999."),
        ("/deliveries?state=odd", "There is no such state."),
    ],
)
async def test_a_place_that_is_none_is_told(visitor: Visitor, path: str, sentence: str) -> None:
    shown = await visitor.get(path)
    assert shown.status == 200
    assert sentence in unescape(shown.text)


@pytest.mark.parametrize(
    ("path", "suggested"),
    [
        ("/deliveries?event=invoice", "/deliveries?event=invoice.%2A"),
        ("/deliveries?event=factura.*", "/deliveries?event=invoice.%2A"),
        ("/deliveries?event=facturascli.paid&state=dead", "/deliveries?event=invoice.paid&amp;state=dead"),
        ("/deliveries?event=Invoce.paid", "/deliveries?event=invoice.paid"),
        ("/events?event=recibospagoscli", "/events?event=receipt.%2A"),
        ("/deliveries?endpoint=ep_b", "/deliveries?endpoint=ep_a"),
        ("/sources/mian", "/sources/main"),
        ("/endpoints/ep_b", "/endpoints/ep_a"),
        ("/catalogue/invoice.payed", "/catalogue/invoice.paid"),
    ],
)
async def test_a_misspelled_name_gets_a_suggestion(visitor: Visitor, path: str, suggested: str) -> None:
    text = (await visitor.get(path)).text
    assert "Did you mean" in text
    assert f'<a href="{suggested}">' in text


@pytest.mark.parametrize("path", ["/deliveries?event=invoice.*", "/deliveries?event=qqqq", "/events?event=order.paid"])
async def test_a_name_that_is_known_or_like_none_gets_no_suggestion(visitor: Visitor, path: str) -> None:
    assert "Did you mean" not in (await visitor.get(path)).text


async def test_a_removed_endpoint_keeps_its_name_in_the_log() -> None:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(description="Tienda vieja", secret="whsec_" + "c2VjcmV0" * 4))
    await store(outbox, event(1))
    async with managing(outbox) as managed, visiting(managed, "ann") as ann:
        await outbox.remove_endpoint("ep_a", managed.clock.now())
        for path in (
            "/deliveries",
            "/deliveries?endpoint=ep_a",
            "/deliveries/dlv_1",
            "/events/evt_1",
            "/replays/new?endpoint=ep_a",
        ):
            assert "Tienda vieja (removed)" in (await ann.get(path)).text, path


async def test_events_are_found_by_code_name_record_and_time_as_deliveries_are() -> None:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(secret="whsec_" + "c2VjcmV0" * 4))
    ruiz = event(1, labels=("fac2026a12", "talleres ruiz"))
    await store(outbox, ruiz, *[event(number) for number in range(2, 9)])
    async with managing(outbox) as managed, visiting(managed, "ann") as ann, visiting(managed, "bob") as bob:
        for path in ("/events", "/deliveries"):
            for query in ("text=fac2026", "text=talleres+r", "record=facturascli:1", "until=2026-11-24T12:00:02"):
                found = re.findall(r'title="facturascli:(\d+) · main">', (await ann.get(f"{path}?{query}")).text)
                assert found == ["1"], (path, query)
            assert (await bob.get(f"{path}?text=talleres")).status == 403
            assert 'name="text"' not in (await bob.get(path)).text


async def test_the_catalogue_is_searched_by_what_people_call_a_record(visitor: Visitor) -> None:
    found = (await visitor.get("/catalogue?q=albarán", headers={"Accept-Language": "es"})).text
    assert 'href="/catalogue/delivery_note.created"' in found
    assert "invoice.created" not in found


@pytest.fixture
async def failing() -> AsyncIterator[Managed]:
    """Three dead letters and one delivery that waits for its next attempt, which is in three hours."""
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(secret="whsec_" + "c2VjcmV0" * 4))
    async with managing(outbox) as managed:
        now = managed.clock.now()
        await store(outbox, *[event(number) for number in range(1, 5)], now=now)
        *dead, last = await lease(outbox, now)
        await finish(outbox, *dead, state=DeliveryState.DEAD, now=now)
        await finish(outbox, last, state=DeliveryState.PENDING, due_at=now + timedelta(hours=3), now=now)
        yield managed


async def test_chosen_deliveries_are_sent_again(failing: Managed) -> None:
    async with visiting(failing, "ann") as ann, visiting(failing, "bob") as bob:
        page = (await ann.get("/deliveries?state=dead")).text
        assert re.findall(r'name="id" value="(\w+)" form="chosen"', page) == ["dlv_3", "dlv_2", "dlv_1"]
        chosen = {"id": ["dlv_3", "dlv_1", "dlv_1", "dlv_9"], "state": "dead", "odd": "x"}
        assert (await bob.send("/deliveries/retry", chosen)).status == 403
        assert (await ann.post("/deliveries/retry", chosen)).status == 403
        assert {view.state for view in await failing.store.deliveries(EVERYTHING, 3)} <= {DeliveryState.PENDING, DEAD}
        answer = await ann.send("/deliveries/retry", chosen)
        assert answer.headers["Location"] == "/deliveries?state=dead&sent=2&refused=1"
        after = (await ann.get(answer.headers["Location"])).text
        assert "2 deliveries are sent again. 1 is not:" in after
        many = await ann.send("/deliveries/retry", {"id": [f"dlv_{number}" for number in range(201)]})
        assert (many.status, "at most 200" in many.text) == (422, True)
        assert 'name="id"' not in (await bob.get("/deliveries")).text
    states = {view.id: view.state for view in await failing.store.deliveries(EVERYTHING, 10)}
    assert states == {"dlv_1": DeliveryState.PENDING, "dlv_2": DEAD, "dlv_3": DeliveryState.PENDING} | {
        "dlv_4": DeliveryState.PENDING
    }
    entries = [each.entry for each in await failing.access.audit(AuditFilter(actor="user:ann"), 10)]
    assert [each.subject for each in entries if each.action == "delivery.retry"] == ["dlv_3", "dlv_1"]


async def test_what_waits_at_a_repaired_endpoint_is_offered_to_be_sent_now(failing: Managed) -> None:
    offer = "1 delivery waits for its next attempt."
    async with visiting(failing, "ann") as ann, visiting(failing, "bob") as bob:
        assert offer not in (await ann.get("/deliveries")).text
        assert offer in (await ann.get("/deliveries?endpoint=ep_a")).text
        assert offer in (await ann.get("/endpoints/ep_a")).text
        assert offer not in (await bob.get("/deliveries?endpoint=ep_a")).text
        assert (await bob.send("/endpoints/ep_a/retry")).status == 403
        answer = await ann.send("/endpoints/ep_a/retry", {"to": "deliveries"})
        assert answer.headers["Location"] == "/deliveries?notice=retried&endpoint=ep_a"
        after = (await ann.get(answer.headers["Location"])).text
        assert "Its waiting deliveries are being sent now." in after
        assert offer not in after
        assert (await ann.send("/endpoints/ep_none/retry")).status == 404
    assert [each.event_id for each in await lease(failing.store, failing.clock.now())] == ["evt_4"]
