"""Replays on the page: what would be sent again, doing that, seeing it go on, stopping it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from cdc.access.model import AuditFilter
from cdc.admin import deliveries
from cdc.model.delivery import DeliveryState, Replay, ReplayState
from support.browsing import Markup, Shown, visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import EVERYTHING, endpoint, event, finish, lease, store
from support.waiting import HANG_SECONDS

SENT, DEAD = 12, 3


@pytest.fixture
async def site() -> AsyncIterator[Managed]:
    """`SENT` deliveries to ``ep_a``, of which `DEAD` are dead letters."""
    async with managing(MemoryOutbox()) as managed:
        await managed.store.add_endpoint(endpoint("ep_a", description="Tienda"))
        await store(managed.store, *[event(number, name="invoice.paid") for number in range(1, SENT + 1)])
        leased = await lease(managed.store, limit=100)
        await finish(managed.store, *leased[DEAD:])
        for each in leased[:DEAD]:
            await finish(managed.store, each, state=DeliveryState.DEAD)
        managed.clock.advance(60)
        yield managed


async def due(site: Managed) -> int:
    states = [view.state for view in await site.store.deliveries(EVERYTHING, 1000)]
    return states.count(DeliveryState.PENDING)


def confirmation(shown: Shown) -> dict[str, str]:
    """The fields of the form that begins what was counted."""
    form = shown.text[shown.text.index('action="/replays"') :]
    return {
        str(attributes["name"]): str(attributes["value"])
        for tag, attributes in Markup(form).tags
        if tag == "input" and attributes.get("type") == "hidden" and attributes.get("name") != "back"
    }


async def actions(site: Managed) -> list[tuple[str, str, str]]:
    """Who did what to what, of replays, newest first."""
    entries = [each.entry for each in await site.access.audit(AuditFilter(), 100)]
    return [(each.actor, each.action, each.subject) for each in entries if "replay" in each.action]


async def one(site: Managed) -> Replay:
    (found,) = await site.store.replays(10)
    return found


async def test_first_it_is_counted_and_nothing_is_sent(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        shown = await ann.get("/replays/new?endpoint=ep_a&count=1&rate=4")
    assert shown.status == 200
    assert f"{SENT} deliveries would be sent again." in shown.text
    assert "takes 3 s" in shown.text
    assert await due(site) == 0
    assert await site.store.replays(10) == []
    assert await actions(site) == []


async def test_what_was_counted_is_what_is_sent(site: Managed) -> None:
    """Also when something happened since."""
    async with visiting(site, "ann") as ann:
        form = confirmation(await ann.get("/replays/new?event=invoice.*&record=&state=dead&count=1&rate=100"))
        counted_at = site.clock.now()
        site.clock.advance(600)
        await store(site.store, event(100, name="invoice.paid", time=site.clock.now()))
        answer = await ann.post("/replays", form)
        assert (answer.status, answer.headers["Location"]) == (303, "/replays?notice=replaying")
        begun = await one(site)
        assert (begun.which.until, begun.which.state) == (counted_at, DeliveryState.DEAD)
        assert (begun.which.event_pattern, begun.actor, begun.total) == ("invoice.*", "user:ann", DEAD)
        assert await actions(site) == [("user:ann", "delivery.replay", begun.id)]
        await until_over(site)
        assert await due(site) == DEAD + 1  # and what has happened since, by itself
        shown = (await ann.get("/replays")).text
    assert f"{DEAD} of {DEAD}" in shown
    assert "done" in shown
    assert "user:ann" in shown


async def until_over(site: Managed) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(site.replaying.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        while (await one(site)).state is ReplayState.RUNNING:
            site.clock.advance(1)
            await asyncio.sleep(0)
    stop.set()
    await running


async def test_it_is_stopped(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        await ann.post("/replays", confirmation(await ann.get("/replays/new?event=*&count=1")))
        begun = await one(site)
        assert f"/replays/{begun.id}/stop" in (await ann.get("/replays")).text
        answer = await ann.send(f"/replays/{begun.id}/stop")
        assert answer.headers["Location"] == "/replays?notice=replay-stopped"
        assert (await one(site)).state is ReplayState.CANCELLED
        assert "/stop" not in (await ann.get("/replays")).text
        again = await ann.send(f"/replays/{begun.id}/stop")
        assert again.headers["Location"] == "/replays?notice=replay-over"
        assert (await ann.send("/replays/rpl_none/stop")).status == 404
    assert [action for _, action, _ in await actions(site)] == ["delivery.cancel-replay", "delivery.replay"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "Say what to send again"),
        ("event=in%20voice", "in voice"),
        ("event=*&rate=0", "more than 0"),
        ("event=*&rate=nan", "more than 0"),
        ("event=*&rate=much", "more than 0"),
        ("event=*&rate=10001", "at most 10,000"),
        ("event=*&state=pending", "Only finished deliveries"),
        ("event=*&state=gone", "There is no such state."),
        ("event=*&since=yesterday", "That is not a time."),
        ("endpoint=ep_none", "There is no endpoint ep_none."),
    ],
)
async def test_what_is_wrong_is_said_and_begins_nothing(site: Managed, query: str, told: str) -> None:
    async with visiting(site, "ann") as ann:
        counted = await ann.get(f"/replays/new?{query}&count=1")
        assert counted.status == 422
        assert told in counted.text
        assert 'action="/replays"' not in counted.text
        form = {"rate": "50"} | {name: values[0] for name, values in parse_qs(query).items()}
        begun = await ann.send("/replays", form)
        assert begun.status in (404, 422)
        assert told in begun.text
    assert await site.store.replays(10) == []


async def test_there_may_be_nothing_or_more_than_can_be_counted(site: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    async with visiting(site, "ann") as ann:
        nothing = (await ann.get("/replays/new?event=customer.*&count=1")).text
        assert "Nothing to send again." in nothing
        assert 'action="/replays"' not in nothing
        monkeypatch.setattr(deliveries, "COUNT_SECONDS", 0.0)
        monkeypatch.setattr("cdc.dispatch.replay._COUNTED", 5)
        many = await ann.get("/replays/new?event=*&count=1")
        assert "More than 5 deliveries" in many.text
        await ann.post("/replays", confirmation(many))
    assert (await one(site)).total is None


@pytest.mark.parametrize(
    ("search", "offered"),
    [
        ("event=invoice.*&state=dead", True),
        ("endpoint=ep_a&since=2026-01-01T00:00", True),
        ("", False),
        ("event=invoice.*&text=Sevilla", False),  # a replay finds no text: it would send more than is shown
        ("state=delivered", True),
    ],
)
async def test_a_search_is_taken_over(site: Managed, search: str, offered: bool) -> None:
    async with visiting(site, "ann") as ann, visiting(site, "bob") as bob:
        link = again(await ann.get(f"/deliveries?{search}"))
        assert bool(link) is offered
        if link:
            assert parse_qs(urlsplit(link).query) == {**parse_qs(search), "count": ["1"]}
            assert (await ann.get(link)).status == 200
            assert again(await bob.get(f"/deliveries?{search}")) == ""


async def test_what_is_unfinished_is_not_offered(site: Managed) -> None:
    await store(site.store, event(50))
    async with visiting(site, "ann") as ann:
        shown = await ann.get("/deliveries?state=pending")
    assert "dlv_" in shown.text
    assert again(shown) == ""


def again(shown: Shown) -> str:
    """The link that sends again what is listed."""
    links = [str(attributes.get("href")) for tag, attributes in Markup(shown.text).tags if tag == "a"]
    return next((link for link in links if link.startswith("/replays/new?")), "")


async def test_pages_of_many(site: Managed) -> None:
    for number in range(51):
        made = site.clock.now() + timedelta(seconds=number)
        await site.store.add_replay(Replay(f"rpl_{number}", "token:robot", EVERYTHING, 50.0, None, made))
    async with visiting(site, "ann") as ann:
        first = (await ann.get("/replays")).text
        older = re.search(r'href="(/replays\?before=\w+)" rel="next"', first)
        assert older is not None
        second = (await ann.get(older[1])).text
    assert (first.count("token:robot"), second.count("token:robot")) == (50, 1)
    assert "Newest" in second
