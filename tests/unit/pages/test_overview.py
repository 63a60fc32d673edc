"""The overview: problems by their cause with what repairs them, the way from sources to endpoints, percentiles."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from importlib.resources import files

import pytest

from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW, endpoint, event, lease, outcome, store

SECRET = "whsec_" + "c2VjcmV0" * 4
ANSWER = "La base de datos <b>no</b> responde"
#: CSS and JavaScript together, in bytes.
MOST = 60_000
_CARD = re.compile(r'<article class="problem (\w+)">(.*?)</article>', re.DOTALL)
_TITLE = re.compile(r'<h3><a href="(.*?)">(.*?)</a></h3>')


@pytest.fixture
async def site() -> AsyncIterator[Managed]:
    """Two endpoints gave an event up with one error, two were disabled for one reason and one for another; one fails,
    one is well."""
    async with managing(MemoryOutbox()) as managed:
        names = ("dead_1", "dead_2", "off_1", "off_2", "off_3", "failing", "well")
        for name in names:
            added = endpoint(f"ep_{name}", description=name, secret=SECRET)
            await managed.store.add_endpoint(added)
        await store(managed.store, event(1, name="invoice.paid"))
        for each in await lease(managed.store):
            due = NOW + timedelta(seconds=60)
            done = outcome(each, DeliveryState.PENDING, due, error="The endpoint answered 503.", answer=ANSWER)
            if each.endpoint_id.startswith("ep_dead"):
                done = outcome(each, DeliveryState.DEAD, duration=0.75)
            elif each.endpoint_id == "ep_well":
                done = outcome(each, duration=0.25)
            await managed.store.finish("w", [done], NOW)
        for name, reason in (("off_1", "Disabled by ann."), ("off_2", "Disabled by ann."), ("off_3", "Gone.")):
            await managed.store.change_endpoint(f"ep_{name}", EndpointChange(enabled=False, disabled_reason=reason))
        yield managed


def cards(text: str) -> dict[str, tuple[str, str, str]]:
    """Title → kind, path and text of a problem."""
    found = {}
    for kind, card in _CARD.findall(text):
        title = _TITLE.search(card)
        assert title is not None
        found[unescape(title[2])] = kind, unescape(title[1]), card
    return found


async def test_problems_with_one_cause_are_one_card_with_its_words_and_its_remedy(site: Managed) -> None:
    async with visiting(site, "ann") as ann, visiting(site, "bob") as bob:
        shown, of_viewer = cards((await ann.get("/")).text), cards((await bob.get("/")).text)
    assert {title: (kind, path) for title, (kind, path, _) in shown.items()} == {
        "2 endpoints have dead letters": ("bad", "/endpoints?state=dead"),
        "2 endpoints are disabled": ("bad", "/endpoints?state=disabled"),
        "off_3 is disabled": ("bad", "/endpoints/ep_off_3"),
        "2 endpoints accept nothing": ("warn", "/endpoints?state=failing"),  # the other cause: 500
        "failing accepts nothing": ("warn", "/endpoints/ep_failing"),  # 503
    }
    assert "2 deliveries were given up" in shown["2 endpoints have dead letters"][2]
    for name in ("off_1", "off_2"):
        assert f'<a href="/endpoints/ep_{name}">{name}</a>' in shown["2 endpoints are disabled"][2]
    alone = shown["off_3 is disabled"][2]
    assert "Gone. The endpoint answered 503." in alone
    assert 'action="/endpoints/ep_off_3/enable"' in alone
    assert "1 delivery waits" in shown["failing accepts nothing"][2]
    assert f'datetime="{NOW.isoformat()}"' in shown["failing accepts nothing"][2]
    assert 'action="/endpoints/ep_failing/retry"' in shown["failing accepts nothing"][2]
    assert ANSWER in unescape(shown["failing accepts nothing"][2])
    assert "<b>no</b>" not in shown["failing accepts nothing"][2]
    assert of_viewer.keys() == shown.keys()
    assert not any("<form" in card or "responde" in card for _, _, card in of_viewer.values())


async def test_the_picture_begins_with_trouble_and_shows_who_waits(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        text = (await ann.get("/")).text
    assert re.findall(r'<a class="node \w+" href="/sources/(\w+)"', text) == ["main"]
    nodes = re.findall(r'<a class="node (\w+)" href="/endpoints/ep_(\w+)"', text)
    assert [kind for kind, _ in nodes] == ["bad"] * 5 + ["warn"]
    assert nodes[-1] == ("warn", "failing")
    assert "and 1 more" in text
    outbox = re.search(r'<a class="node centre .*?</a>', text, re.DOTALL)
    assert outbox is not None
    assert '<span class="number">4</span>' in outbox[0]


async def test_percentiles_are_of_the_newest_attempts(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        overview, of_one = (await ann.get("/")).text, (await ann.get("/endpoints/ep_dead_1")).text
    numbers = re.findall(r'<dd class="number">(\d+ ms)</dd>', overview)
    assert numbers == ["250 ms", "750 ms", "750 ms"]
    assert "p50 <strong>750 ms</strong>" in of_one


async def test_each_page_has_the_number_of_problems_and_none_of_another_scope(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        assert 'class="health bad"' in (await ann.get("/events")).text
        assert '<span class="visually-hidden">5 problems</span>' in (await ann.get("/events")).text
    async with visiting(site) as nobody:
        assert "health" not in (await nobody.get("/sign-in")).text


def test_stylesheet_and_script_are_small() -> None:
    folder = files("cdc.pages") / "static"
    assert sum(len((folder / name).read_bytes()) for name in ("page.css", "page.js")) < MOST
