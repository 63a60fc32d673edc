"""Backfills on the page: what would be sent, doing that, seeing it go on, pausing, stopping it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from cdc.access.model import AuditFilter
from cdc.capture import estimate
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Batch, Position
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceUnavailable
from support.browsing import Markup, Shown, visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint

ROWS = 1200
WANTED = {"source": "main", "table": "invoice", "where": "pagada", "endpoint": "", "rate": "2,5"}


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Managed]:
    async def about(_info: ConnectionInfo, table: str, _where: str) -> int:
        if table == "proveedores":
            raise SourceUnavailable("No connection to the database erp.")
        return ROWS

    monkeypatch.setattr(estimate, "estimate", about)
    sources = {
        "main": {"url": "postgresql://cdc@db.example.com/erp"},
        "api": {"capture": "rest", "rest": {"url": "https://shop.example.com", "token": "t"}},
    }
    async with managing(MemoryOutbox(), source=sources) as managed:
        await managed.store.add_endpoint(endpoint("ep_a", description="Tienda", events=("*.existing",)))
        await managed.store.add_endpoint(endpoint("ep_b", description="Libros", enabled=False))
        yield managed


def plan(shown: Shown) -> str:
    """What the page says would be done; empty when it says nothing."""
    found = re.search(r'<section class="sheet" id="plan">.*?</section>', shown.text, re.DOTALL)
    return "" if found is None else found[0]


def confirmation(shown: Shown) -> dict[str, str]:
    """The fields of the form that begins what was looked at."""
    return {
        str(attributes["name"]): str(attributes["value"])
        for tag, attributes in Markup(plan(shown)).tags
        if tag == "input" and attributes.get("type") == "hidden"
    }


async def one(site: Managed) -> Backfill:
    (found,) = await site.store.backfills(10)
    return found


async def actions(site: Managed) -> list[tuple[str, str, str]]:
    """Who did what to what, of backfills, oldest first."""
    entries = [each.entry for each in await site.access.audit(AuditFilter(), 100)]
    return [(each.actor, each.action, each.subject) for each in entries if "backfill" in each.action][::-1]


async def test_the_form_offers_what_can_be_read(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        shown = (await ann.get("/backfills/new?table=clientes&endpoint=ep_b")).text
    assert re.findall(r'<option value="(\w+)">\1<', shown) == ["main"]  # not the one that is read through the API
    assert '<option value="facturascli">' in shown
    assert 'value="clientes"' in shown
    assert '<option value="ep_b" selected>Libros' in shown


async def test_first_it_is_looked_at_and_nothing_is_kept(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        told = plan(await ann.send("/backfills/new", WANTED))
        for_one = plan(await ann.send("/backfills/new", WANTED | {"endpoint": "ep_b", "rate": ""}))
        await site.store.remove_endpoint("ep_a", site.clock.now())
        for_nobody = plan(await ann.send("/backfills/new", WANTED))
    assert "About 1,200 rows would be sent." in told
    assert "8 minutes at least" in told
    assert ("Tienda" in told, "Libros" in told) == (True, False)
    assert "Libros" in for_one
    assert "disabled" in for_one
    assert "at least" not in for_one
    assert "stored but not sent" in for_nobody
    assert await site.store.backfills(10) == []
    assert await actions(site) == []


async def test_what_was_looked_at_is_begun_and_seen_going_on(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        answer = await ann.post("/backfills", confirmation(await ann.send("/backfills/new", WANTED)))
        assert (answer.status, answer.headers["Location"]) == (303, "/backfills?notice=backfill-begun")
        begun = await one(site)
        assert (begun.source, begun.table, begun.where, begun.rate) == ("main", "facturascli", "pagada", 2.5)
        assert (begun.actor, begun.endpoint, begun.estimate) == ("user:ann", "", ROWS)
        for _ in range(3):
            site.clock.advance(1)
            step = BackfillStep(begun.id, 100, {"idfactura": 1}, finished=False)
            await site.store.store("main", Position("p"), [], {}, site.clock.now(), step=step)
            site.watch.reported.stored("main", Batch((), Position("p"), step=step), [], 0)
        shown = (await ann.get("/backfills")).text
    assert "300 of about 1,200" in shown
    assert "9 s to go" in shown
    assert re.search(r">100<br><span class=\"soft\">at most 2.5<", shown)
    assert await actions(site) == [("user:ann", "backfill.begin", begun.id)]


async def test_it_rests_goes_on_and_is_stopped(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        await ann.send("/backfills", WANTED)
        begun = await one(site)
        states = []
        for action, offered in (("pause", "resume"), ("resume", "pause"), ("cancel", "")):
            answer = await ann.send(f"/backfills/{begun.id}/{action}")
            assert answer.headers["Location"] == f"/backfills?notice=backfill-{action}"
            states.append((await one(site)).state)
            shown = (await ann.get("/backfills")).text
            assert re.findall(r'action="/backfills/\w+/(\w+)"', shown) == ([offered, "cancel"] if offered else [])
        assert states == [BackfillState.PAUSED, BackfillState.RUNNING, BackfillState.CANCELLED]
        again = await ann.send(f"/backfills/{begun.id}/resume")
        assert again.headers["Location"] == "/backfills?notice=backfill-over"
        assert (await ann.send("/backfills/bf_none/pause")).status == 404
    assert [action for _, action, _ in await actions(site)] == [
        "backfill.begin",
        "backfill.pause",
        "backfill.resume",
        "backfill.cancel",
    ]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"table": ""}, "Choose a table."),
        ({"table": "nada"}, "No event reports existing rows of nada."),
        ({"table": "supplier"}, "No connection to the database erp."),
        ({"source": "other"}, "no source"),
        ({"source": "api"}, "cannot do"),
        ({"endpoint": "ep_none"}, "There is no endpoint ep_none."),
        ({"where": "codcliente = (SELECT 1)"}, "has the word select"),
        ({"where": "a; b"}, "a semicolon"),
        ({"rate": "-1"}, "number of rows a second"),
        ({"rate": "nan"}, "number of rows a second"),
        ({"rate": "much"}, "number of rows a second"),
    ],
)
async def test_what_is_wrong_is_said_and_begins_nothing(site: Managed, form: dict[str, Any], told: str) -> None:
    async with visiting(site, "ann") as ann:
        for path in ("/backfills/new", "/backfills"):
            shown = await ann.send(path, WANTED | form)
            assert shown.status == 422
            assert told in shown.text
            assert plan(shown) == ""
            assert 'value="2,5"' in shown.text or "rate" in form  # what was typed is still there
    assert await site.store.backfills(10) == []


async def test_viewers_begin_nothing_and_see_no_condition(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        await ann.send("/backfills", WANTED)
    async with visiting(site, "bob") as bob:
        assert (await bob.get("/backfills")).status == 403
        assert (await bob.send("/backfills", WANTED)).status == 403
        assert (await bob.send(f"/backfills/{(await one(site)).id}/cancel")).status == 403
        assert "/backfills" not in (await bob.get("/sources")).text
    assert (await one(site)).state is BackfillState.RUNNING


async def test_why_one_failed_and_that_many_are_in_pages(site: Managed) -> None:
    for number in range(51):
        made = site.clock.now() + timedelta(seconds=number)
        await site.store.add_backfill(Backfill(f"bf_{number}", "main", "clientes", "token:robot", made))
    await site.store.set_backfill("bf_50", BackfillState.FAILED, "The table clientes is gone.", site.clock.now())
    async with visiting(site, "ann") as ann:
        first = (await ann.get("/backfills")).text
        older = re.search(r'href="(/backfills\?before=\w+)" rel="next"', first)
        assert older is not None
        second = (await ann.get(older[1])).text
    assert (first.count("token:robot"), second.count("token:robot")) == (50, 1)
    assert "The table clientes is gone." in first
    assert "Newest" in second
