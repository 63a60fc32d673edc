"""Pages of an installation with more endpoints and sources than a list can show."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from cdc.access.model import Scope
from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.web.monitor import SourceReport
from support.browsing import Markup, Visitor, visiting
from support.managing import CONFIGURATION, Managed, managing
from support.manual_clock import START
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW, endpoint, event, finish, lease

MANY = 130
SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    """`MANY` endpoints, each of a source of its own; of ``ep_110`` there is a dead letter, ``ep_120`` is disabled."""
    outbox = MemoryOutbox()
    names = [f"tenant{number:03}" for number in range(MANY)]
    for number, name in enumerate(names):
        url = f"https://{name}.example.com/in?key=planted-{number:03}"
        fields = {"enabled": False, "disabled_reason": "by hand"} if number == 120 else {}
        await outbox.add_endpoint(endpoint(f"ep_{number:03}", url=url, sources=(name,), secret=SECRET, **fields))
    await outbox.store("tenant110", Position("1"), [event(1, source="tenant110")], {}, NOW)
    await finish(outbox, *await lease(outbox), state=DeliveryState.DEAD)
    sources = dict.fromkeys(names, CONFIGURATION["source"]["main"])
    async with managing(outbox, source=sources) as managed:
        managed.watch.reported.sources.clear()
        managed.watch.reported.sources |= {name: SourceReport(START, open_since=START) for name in names}
        yield managed


@pytest.fixture
async def visitor(managed: Managed) -> AsyncIterator[Visitor]:
    async with visiting(managed, "ann") as visitor:
        yield visitor


def links(text: str, section: str) -> list[str]:
    """The ids of a list."""
    link = rf'<td data-title="[^"]*"[^>]*>(?:<svg.+?</svg>)?\s*<a href="/{section}/([^"?/]+)"'
    return list(dict.fromkeys(re.findall(link, text, re.DOTALL)))


@pytest.mark.parametrize(("section", "name"), [("endpoints", "ep_{:03}"), ("sources", "tenant{:03}")])
async def test_pages_of_a_list_have_each_entry_once(visitor: Visitor, section: str, name: str) -> None:
    path, seen = f"/{section}", list[str]()
    while path:
        text = (await visitor.get(path)).text
        seen += links(text, section)
        further = re.search(r'<a href="([^"]+)" rel="next">Next page', text)
        path = further[1].replace("&amp;", "&") if further else ""
    assert seen == [name.format(number) for number in range(MANY)]


async def test_search_finds_an_endpoint_by_id_url_state_and_source(visitor: Visitor) -> None:
    found = {
        "search=EP_077": ["ep_077"],
        "search=tenant077.example": ["ep_077"],
        "state=disabled": ["ep_120"],
        "state=dead": ["ep_110"],
        "source=tenant005": ["ep_005"],
        "search=planted": [],
        "search=planted-077": [],
    }
    for query, ids in found.items():
        text = (await visitor.get(f"/endpoints?{query}")).text
        assert links(text, "endpoints") == ids, query
        assert ("No endpoint matches." in text) is (not ids), query


async def test_search_finds_a_source_by_name_and_state(visitor: Visitor) -> None:
    assert links((await visitor.get("/sources?search=NANT077")).text, "sources") == ["tenant077"]
    assert "No source matches." in (await visitor.get("/sources?state=failed")).text
    assert len(links((await visitor.get("/sources?state=reading&after=gone")).text, "sources")) == 50


@pytest.mark.parametrize(
    "path",
    ["/deliveries", "/replays/new", "/backfills/new", "/endpoints/new", "/endpoints/ep_000/edit", "/people", "/"],
)
async def test_no_page_lists_all_endpoints_or_sources(visitor: Visitor, path: str) -> None:
    text = (await visitor.get(path)).text
    named = [set(re.findall(name, text)) for name in (r"ep_\d{3}", r"tenant\d{3}")]
    assert len([tag for tag, _ in Markup(text).tags if tag == "option"]) < MANY
    assert max(map(len, named)) <= 100, path


async def test_field_for_an_endpoint_takes_part_of_its_name(managed: Managed, visitor: Visitor) -> None:
    text = (await visitor.get("/deliveries?endpoint=tenant110")).text
    assert 'value="ep_110"' in text
    assert "invoice.updated" in text
    text = (await visitor.get("/deliveries?endpoint=tenant11&state=dead")).text
    assert "Did you mean" in text
    assert "/deliveries?endpoint=ep_110&amp;state=dead" in text
    assert "Did you mean" in (await visitor.get("/replays/new?endpoint=tenant11")).text


async def test_overview_names_what_needs_attention_beyond_the_first_endpoints(visitor: Visitor) -> None:
    text = (await visitor.get("/")).text
    assert "tenant110.example.com" in text
    assert "tenant120.example.com" in text
    assert f"All sources: {MANY}" in text


async def test_sources_of_an_endpoint_are_entered_as_a_list(managed: Managed, visitor: Visitor) -> None:
    form = {"url": "https://new.example.com/", "patterns": "invoice.*", "sources": "tenant001, tenant129"}
    assert (await visitor.send("/endpoints/new", form)).status == 201
    made = next(each for each in await managed.store.endpoints() if each.url == form["url"])
    assert made.sources == ("tenant001", "tenant129")
    text = (await visitor.get(f"/endpoints/{made.id}/edit")).text
    assert 'value="tenant001, tenant129"' in text


async def test_api_pages_and_narrows_endpoints_and_sources(managed: Managed) -> None:
    for path, key, name in (("/endpoints", "id", "ep_{:03}"), ("/sources", "name", "tenant{:03}")):
        everything = (await managed.ask("GET", path, Scope.READ)).json
        assert ([each[key] for each in everything["items"]], everything["next"]) == (
            [name.format(number) for number in range(MANY)],
            None,
        )
        first = (await managed.ask("GET", f"{path}?limit=100", Scope.READ)).json
        rest = (await managed.ask("GET", f"{path}?limit=100&cursor={first['next']}", Scope.READ)).json
        assert [each[key] for each in (*first["items"], *rest["items"])] == [each[key] for each in everything["items"]]
        assert rest["next"] is None
        assert (await managed.ask("GET", f"{path}?cursor=foreign", Scope.READ)).status == 422
        (found,) = (await managed.ask("GET", f"{path}?search=Ant077&limit=5", Scope.READ)).json["items"]
        assert found[key] == name.format(77)
    for query, ids in {"search=planted": [], "state=disabled": ["ep_120"], "source=tenant001": ["ep_001"]}.items():
        found = (await managed.ask("GET", f"/endpoints?{query}")).json["items"]
        assert [each["id"] for each in found] == ids
