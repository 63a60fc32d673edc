"""Statistics on the page: by period, endpoint and source, from the outbox; a lag that is not known."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc.access.model import Role
from cdc.admin import endpoints
from cdc.admin.deliveries import Period, slot_edges
from cdc.model.delivery import DeliveryState
from cdc.model.errors import SourceUnavailable
from cdc.model.event import TESTS
from cdc.pages.views import endpoints as views
from cdc.pages.views import overview
from support.browsing import visiting
from support.managing import PASSWORD, Managed, managing
from support.manual_clock import START
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, finish, lease, store

MADRID = ZoneInfo("Europe/Madrid")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    """Deliveries now, two hours ago and three days ago, of a process that has counted none of them itself."""
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint("ep_a", secret="whsec_" + "c2VjcmV0" * 4, description="Tienda"))
    await outbox.add_endpoint(
        endpoint("ep_b", secret="whsec_" + "c2VjcmV0" * 4, description="Almacén", sources=("second",))
    )
    sources = {"main": START, "second": START - 2 * HOUR, "third": START - 3 * DAY}
    for number, (source, now) in enumerate(sources.items()):
        await store(outbox, event(number, source=source), now=now)
        leased = await lease(outbox, now)
        state = DeliveryState.DEAD if source == "second" else DeliveryState.DELIVERED
        await finish(outbox, *leased, state=state, now=now)
    async with managing(outbox) as managed:
        yield managed


@pytest.mark.parametrize(
    ("query", "delivered", "failed"), [("?period=hour", 1, 0), ("", 1, 2), ("?period=week", 2, 2), ("?period=x", 1, 2)]
)
async def test_the_overview_counts_what_the_outbox_holds(
    managed: Managed, query: str, delivered: int, failed: int
) -> None:
    async with visiting(managed, "ann") as ann:
        shown = (await ann.get(f"/{query}")).text
    assert f"Attempts delivered {delivered}<" in shown
    assert f"Attempts failed {failed}<" in shown


async def test_what_waits_is_counted_up_to_a_limit(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page must not wait until a million deliveries are counted; what is finished is counted as it ends."""
    for module in (endpoints, views, overview):
        monkeypatch.setattr(module, "MOST_COUNTED", 3)
    await store(managed.store, *[event(number) for number in range(10, 20)])
    async with visiting(managed, "ann") as ann:
        for path in ("/", "/endpoints", "/endpoints/ep_a"):
            assert "at least 3<" in (await ann.get(path)).text, path
        assert "at least" not in (await ann.get("/endpoints/ep_b")).text


async def test_an_endpoint_and_a_source_show_their_own_figures(managed: Managed) -> None:
    async with visiting(managed, "ann") as ann:
        one, other, source = [
            (await ann.get(f"{path}?period=month")).text
            for path in ("/endpoints/ep_a", "/endpoints/ep_b", "/sources/main")
        ]
    assert "Attempts delivered 2<" in one
    assert "Attempts failed 1<" in one
    assert "Attempts failed 1<" in other
    assert "Attempts delivered 1<" in source
    assert "Attempts failed 0<" in source
    assert "/endpoints/ep_a?period=week" in one


async def test_list_of_endpoints_counts_attempts_as_the_statistics_do(managed: Managed) -> None:
    """A test event is no delivery."""
    now = managed.clock.now()
    for number, endpoint_id in enumerate(("ep_a", "ep_b"), 50):
        tried = event(number, f"{TESTS}:{number}", source=TESTS, data={"test": True})
        sent = await managed.store.send_test(endpoint_id, tried, "test", now, now + HOUR)
        await finish(managed.store, sent, worker="test", state=DeliveryState.DELIVERED, now=now)
    async with visiting(managed, "ann") as ann:
        listed = (await ann.get("/endpoints")).text
        counted = [(await ann.get(f"/endpoints/{each}?period=month")).text for each in ("ep_a", "ep_b")]
    cells = re.findall(r'<td data-title="(?:Success rate|Attempts delivered)" class="num">(.*?)</td>', listed)
    assert cells == ["66.67%", "2", "0%", "0"]
    assert ["Attempts delivered 2<" in counted[0], "Attempts delivered 0<" in counted[1]] == [True, True]


async def test_a_user_of_some_sources_sees_figures_of_these(managed: Managed) -> None:
    await managed.accounts.add_user("cli:root", "eve", Role.VIEWER, PASSWORD, sources=("second",))
    async with visiting(managed, "eve") as eve:
        shown = (await eve.get("/?period=month")).text
    assert "Attempts delivered 0<" in shown
    assert "Attempts failed 1<" in shown
    assert "Tienda" not in shown


async def test_each_plot_has_a_name_and_the_value_of_each_slot(managed: Managed) -> None:
    async with visiting(managed, "ann") as ann:
        shown = (await ann.get("/?period=day")).text
    names = re.findall(r'<svg class="plot"[^>]* role="img" aria-label="([^"]+)"', shown)
    assert names == [
        "Delivered and failed attempts, Last 24 hours",
        "Share of the attempts that succeeded, Last 24 hours",
        "Average answer time, Last 24 hours",
        "Lag of main in the last hour",
    ]
    values = re.findall(r"<title>([^<]+: [^<]+)</title>", shown)
    assert len(values) == 3 * 24 + 60
    assert sum("1 delivered, 0 failed" in each for each in values) == 1
    table = shown[shown.index("Values as a table") :]
    assert table.count("<tr>") >= 3


async def test_a_lag_is_unknown_while_the_database_does_not_answer(managed: Managed) -> None:
    watch = managed.watch
    watch.answer(3.0)
    lag = "unknown since"
    async with visiting(managed, "ann") as ann:
        assert lag not in (await ann.get("/")).text
        watch.clock.advance(5)
        watch.monitor.ahead["main"].failed(SourceUnavailable("It cannot be reached."), watch.clock.now())
        for path in ("/", "/sources", "/sources/main"):
            shown = (await ann.get(path)).text
            assert f"{lag} Nov 24, 2026" in shown
            assert "(last: 3 s)" in shown
        watch.answer()
        assert lag not in (await ann.get("/")).text
        watch.clock.advance(60)  # a question that hangs
        assert lag in (await ann.get("/")).text
    assert managed.service.process is not None
    source = managed.service.process.source("main")
    assert (source.lag, source.last_lag) == (None, 0.0)


@pytest.mark.parametrize(("period", "slots"), [("hour", 60), ("day", 24)])
def test_the_last_slot_contains_now(period: str, slots: int) -> None:
    edges = slot_edges(Period(period), START, MADRID)
    assert len(edges) == slots + 1
    assert edges[-2] <= START < edges[-1]


@pytest.mark.parametrize("now", [datetime(2026, 10, 26, 0, 30, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)])
def test_days_begin_at_midnight_of_the_zone_also_when_clocks_change(now: datetime) -> None:
    month, week = slot_edges(Period.MONTH, now, MADRID), slot_edges(Period.WEEK, now, MADRID)
    local = [each.astimezone(MADRID) for each in month]
    assert {each.hour for each in local} == {0, 6, 12, 18}
    midnights = [each for each in local if each.hour == 0]
    assert len(midnights) == 30
    assert midnights[-1].date() == now.astimezone(MADRID).date()
    assert [each.astimezone(MADRID).hour for each in week[:24]] == list(range(24))
    assert len({each.astimezone(MADRID).date() for each in week}) == 7
    for edges in (month, week):
        assert edges[-2] <= now < edges[-1]
        assert edges == sorted(set(edges))
