"""A filter takes little time and memory, whoever wrote it; one that takes more has its endpoint disabled."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import orjson
import pytest

from cdc.access.model import Scope
from cdc.admin import endpoints
from cdc.admin.findings import endpoint_findings
from cdc.dispatch.auto_disable import FilterGuard
from cdc.model import selection
from cdc.model.endpoint import EndpointChange
from cdc.model.errors import UsageError
from cdc.model.event import Event
from cdc.model.filter.regex import regex
from cdc.model.filter.values import AVERAGE, BURST, STEPS, FilterLimit, Meter, OutOfSteps
from cdc.model.selection import Condition, ConditionTest, Filtered, FilterProblems
from cdc.outbox.store import OutboxStore
from support.dispatching import WatchedOutbox
from support.filter_fuzz import LARGE, SMALL, filters, held
from support.managing import Managed, managing
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, lease, store

ONES = "[" + ",".join("1" for _ in range(62)) + "]"
NESTED = f"{ONES}.all(a, {ONES}.all(b, {ONES}.all(c, {ONES}.all(d, true))))"
#: Two levels, which may be: the number of rows decides.
PAIRS = "data.lines.all(a, data.lines.exists(b, a.n == b.n && a.n >= 0 && b.n >= 0))"
#: Processor time (seconds) within which anything is refused or evaluated: a twentieth of what the attacks took.
SOON = 0.45


@pytest.fixture(autouse=True)
def _own_garbage() -> None:
    """As in `cdc run`, a collection leaves out everything that existed before: here the objects of earlier tests."""
    gc.collect()
    gc.freeze()


ATTACKS = {
    "loops in loops": NESTED,
    "behind a comment": f"// '\n{NESTED} // '",
    "behind a raw text": rf"size(r'\') > 0 && {NESTED} && size('') == 0",
    "behind a text of three quotes": f'size("""a"b(""") > 0 && {NESTED} // "',
    "a loop in the values of a loop": f"{ONES}.map(a, {ONES}.map(b, {ONES})).all(c, c.all(d, d.all(e, e == 1)))",
    "map in map": f"{ONES}.map(a, {ONES}.map(b, {ONES})).map(c, [c, c, c]).map(d, [d, d, d]) == []",
    "texts that double": '["aaaaaaaa"]' + ".map(x, x + x)" * 60 + ".size() == 1",
    "lists that double": "[[1]]" + ".map(x, x + x)" * 60 + ".size() == 1",
    "large classes": " || ".join(['"a".matches("(\\\\pL{200}){20}")'] * 50),
    "classes of classes": '"a".matches("[\\\\pL\\\\pN[^\\\\pS]]{999}")',
    "repetitions of repetitions": '"a".matches("((a{99}){99}){99}")',
    "a word boundary of Unicode": r'data.foreign.matches("\\b(a?){500}[^ab]")',
    "no word boundary": r'data.foreign.matches("(?:a?\\B){300}[^ab]")',
    "the beginning of a word": r'data.foreign.matches("(?:\\b{start}|a?){300}[^ab]")',
    "the end of a word": r'data.foreign.matches("(?:a?){500}\\>[^ab]")',
    "a boundary behind a group of ASCII": r'data.foreign.matches("(?-u:\\b)(a?){500}\\b[^ab]")',
    "a boundary that is Unicode again": r'data.foreign.matches("(?-u)(?:(?u)(a?){500}\\b[^ab])")',
    "a boundary in a loop": r'data.lines.exists(x, x.name.matches("(?i)\\b(a?ñ?){200}\\b[^ab]"))',
    "deep parentheses": "(" * 900 + "true" + ")" * 900,
    "deep calls": "size([" * 280 + "])" * 280,
}
#: These took all memory where each list was a copy.
HARMLESS = {
    "chained map": ONES + "".join(f".map(x, {ONES})" for _ in range(12)) + ".size() == 1",
    "two loops": f"{ONES}.all(a, {ONES}.all(b, a == b))",
}
#: These took seconds to be read.
UNREADABLE = {
    "a duration without a unit": 'duration(data.digits) == duration("1s")',
    "a duration of many parts": 'duration(data.hours) == duration("1s")',
    "a time with many digits": 'timestamp("2026-01-01T00:00:00." + data.digits + "Z") == timestamp(timestamp)',
    "a number of many digits": "int(data.digits) == 1",
    "a double of many digits": "double(data.digits) == 1.0",
}
#: These stay within the limits until an event has much to evaluate.
LATER = {
    "rows and rows": PAIRS,
    "a pattern of the event": "data.lines.exists(x, data.long.matches(data.pattern))",
    "a long pattern of the event": "data.long.matches(data.unclosed)",
    "a slow search": 'data.long.matches("[ab]*a[ab]{99}c")',
    "optional parts": 'data.random.matches("a(a?b?){100}b(a?b?){100}[^ab]")',
    "alternatives": 'data.random.matches("(a|b)*a(a|b){300}[^ab]")',
    "a few classes before a long repetition": 'data.runs.matches("a[ab]{9}a{900}[^ab]")',
    "any character": 'data.foreign.matches("a(?s:.){300}[^ab]")',
    "classes of Unicode": r'data.random.matches("a\\w{12}[^ab]")',
    "a boundary of ASCII": r'data.foreign.matches("(?-u:\\b)a(?:[^x]?){300}(?-u:\\B)[^ab]")',
    "a text of numbers": 'data.digits.matches("a?1[1-9]{3}a{400}[^1]")',
    "a text put together": "data.lines.map(x, data.long + data.long).size() == 1",
    "whole rows": "data.lines.exists(x, data.lines == data.lines && x.n < 0)",
}


def rows(count: int, number: int = 1, **fields: Any) -> Event:
    """Event ``evt_<number>`` of a document with so many lines."""
    lines = [{"n": number, "name": "x" * 20} for number in range(count)]
    data = {
        "lines": lines,
        "long": "ab" * 50_000,
        "pattern": "[ab]*a[ab]{99}c",
        "unclosed": "(?<" * 300_000,
        "total": 1.0,
        **{name: LARGE.data[name] for name in ("random", "foreign", "runs", "digits", "hours")},
    }
    return event(number, name="invoice.paid", data=data | fields)


def processor_time(work: Callable[[], object]) -> float:
    before = time.thread_time()
    work()
    return time.thread_time() - before


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_before_an_event_meets_it(text: str) -> None:
    def refuse() -> None:
        with pytest.raises(FilterLimit):
            Condition(text)

    if len(text) <= 2000:
        assert processor_time(refuse) < SOON


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_lists_of_lists_cost_what_they_have_in_the_text(text: str) -> None:
    assert processor_time(lambda: Condition(text).judge(SMALL)) < SOON


@pytest.mark.parametrize("text", LATER.values(), ids=LATER)
def test_an_attack_through_the_event_is_interrupted(text: str) -> None:
    condition, large = Condition(text), rows(1000)
    judged: list[selection.Judgement] = []
    assert processor_time(lambda: judged.append(condition.judge(large))) < SOON
    assert judged[0].exceeded
    assert judged[0].holds


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_text_that_is_too_long_is_no_number_and_no_time(text: str) -> None:
    judged: list[selection.Judgement] = []
    long = rows(1, digits="1" * 400_000, hours="1h" * 200_000)
    assert processor_time(lambda: judged.append(Condition(text).judge(long))) < SOON
    assert judged[0].problem


def test_boundaries_of_ascii_and_classes_are_no_boundaries_of_unicode() -> None:
    for pattern in (r"(?-u:\b)B-7(?-u:\b)", r"(?-u)\bB-7\b", r"(?:(?-u:\bB))-7", r"\\bB|B-7"):
        assert Condition(f"data.code.matches({orjson.dumps(pattern).decode()})").judge(rows(1, code="B-7")).holds


def test_short_searches_are_timed_only_when_few_steps_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the clock takes longer than they do; without it each is charged an eighth of its work."""
    code = regex("^[A-Z]{3}[0-9]{4}A[0-9]+$")
    monkeypatch.setattr(time, "thread_time_ns", count(0, 500).__next__)
    meter = Meter()
    assert code.found_in("FAC2026A17", meter)
    assert STEPS - meter.left == 1 + code.per_character * len("FAC2026A17") // 8
    meter = Meter(1000)
    assert code.found_in("FAC2026A17", meter)
    assert 1000 - meter.left == 1 + 5
    with pytest.raises(OutOfSteps):
        code.found_in("FAC2026A17", Meter(1))


@pytest.mark.parametrize(
    "text", [*ATTACKS.values(), *HARMLESS.values(), *LATER.values()], ids=[*ATTACKS, *HARMLESS, *LATER]
)
def test_an_attack_takes_little_memory(text: str) -> None:
    large = rows(1000)
    tracemalloc.start()
    try:
        Condition(text).judge(large)
    except FilterLimit:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize("seed", range(5))
def test_random_filters_end_soon(seed: int) -> None:
    for text in filters(seed, 60):
        took = held(text, (SMALL, LARGE))
        assert took.seconds < SOON, took
        selection.EXCEEDED.forget(Filtered("ep_1", text))


@pytest.mark.parametrize(
    ("text", "many"),
    [
        ('data.total > 1000.0 && event != "invoice.updated"', 0),
        ("data.lines.exists(line, line.n > 5000)", 5000),
        ("size(data.lines) > 3 && data.lines.filter(line, line.n > 5).size() > 2", 2500),
        ("data.lines.all(a, data.lines.exists(b, b.name == a.name))", 100),
        ('data.lines.exists(line, line.name.matches("^[A-Z]{2}[0-9]{4,6}$"))', 1000),
        (r'data.long.matches("^[\\w.+-]+@[\\w-]+\\.[\\w.]+$")', 1),
        ('data.long.contains("ba") && data.long.startsWith("ab")', 1),
    ],
)
def test_what_users_write_stays_within_the_limits(text: str, many: int) -> None:
    meter = Meter()
    assert not Condition(text).judge(rows(many), meter).problem
    assert meter.left >= 0


def test_limits_are_of_the_tree_and_not_of_the_text() -> None:
    fine = r'size(r"\") > 0 && data.lines.all(a, a.name == "b.all(c, d.all(e, f.all(g, (((") // .all(x, .all(y, .all(z,'
    assert Condition(fine).judge(rows(2)) == selection.Judgement(holds=False)


def test_many_dear_evaluations_are_too_many() -> None:
    trial, dear = ConditionTest(PAIRS), rows(60)
    meter = Meter()
    Condition(PAIRS).judge(dear, meter)
    assert AVERAGE < STEPS - meter.left < STEPS
    affordable = BURST // (STEPS - meter.left - AVERAGE)
    for _ in range(affordable):
        trial.judge(dear)
    with pytest.raises(FilterLimit, match="on average"):
        trial.judge(dear)


# -- stored filters -------------------------------------------------------------------------------------------------


class Bench:
    """An outbox with an endpoint whose filter exceeds a limit with large events, one without a filter, and one that
    wants to know what happens; and the guard of filters."""

    def __init__(self, store: OutboxStore, text: str) -> None:
        self.store = store
        self.text = text
        self.disabled = 0
        self.guard = FilterGuard(store, selection.EXCEEDED, selection.FAILED, ManualClock(), self._disabled)

    def _disabled(self) -> None:
        self.disabled += 1

    async def prepare(self) -> Bench:
        await self.store.add_endpoint(endpoint("ep_slow", condition=self.text))
        await self.store.add_endpoint(endpoint("ep_fine"))
        await self.store.add_endpoint(endpoint("ep_ops", events=("endpoint.*",)))
        return self

    async def enabled(self) -> tuple[bool, str]:
        found = await self.store.endpoint("ep_slow")
        assert found is not None
        return found.enabled, found.disabled_reason


@pytest.fixture
async def api() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        yield managed


@pytest.fixture(autouse=True)
def nothing_exceeded() -> Iterator[None]:
    selection.stored.cache_clear()
    yield
    selection.EXCEEDED.reasons.clear()
    selection.FAILED.reasons.clear()
    selection.stored.cache_clear()


@pytest.fixture(params=[PAIRS, NESTED], ids=["evaluated", "stored by an earlier version"])
async def bench(request: pytest.FixtureRequest) -> Bench:
    return await Bench(WatchedOutbox(), request.param).prepare()


async def test_a_stored_filter_that_exceeds_a_limit_has_its_endpoint_disabled(bench: Bench) -> None:
    stored = await store(bench.store, *(rows(1000, number) for number in range(1, 21)))
    assert stored.deliveries == 40  # nothing is lost: neither the other's nor its own
    await bench.guard.look()
    enabled, reason = await bench.enabled()
    assert not enabled
    assert "filter" in reason
    assert bench.disabled == 1
    leased = await lease(bench.store, START + timedelta(hours=1))
    assert {each.endpoint_id for each in leased} == {"ep_fine", "ep_ops"}
    (told,) = [each for each in leased if each.endpoint_id == "ep_ops"]
    assert told.event_name == "endpoint.disabled"


async def test_a_new_process_does_not_try_it_in_full_again(bench: Bench) -> None:
    await store(bench.store, rows(1000))
    await bench.guard.look()
    assert (await bench.enabled())[0] is False
    selection.EXCEEDED.reasons.clear()  # as in another process
    selection.stored.cache_clear()
    guard = FilterGuard(bench.store, selection.EXCEEDED, selection.FAILED, ManualClock(), bench.guard._disabled)
    await guard.look()
    assert Filtered("ep_slow", bench.text) in selection.EXCEEDED.reasons
    await bench.store.change_endpoint("ep_slow", EndpointChange(enabled=True, disabled_reason=""))
    await guard.look()
    assert await bench.enabled() == (True, "")  # whoever enables it has it tried
    assert not selection.EXCEEDED.reasons


async def test_after_the_first_it_costs_others_next_to_nothing(bench: Bench) -> None:
    large = [rows(1000, number) for number in range(1, 51)]
    took = time.thread_time()
    await store(bench.store, *large)
    assert time.thread_time() - took < 3 * SOON  # of the parsed filter, 25 s


async def test_whoever_mends_the_filter_and_enables_the_endpoint_gets_everything(bench: Bench) -> None:
    await store(bench.store, rows(1000))
    await bench.guard.look()
    await store(bench.store, rows(1, 2))
    await bench.store.change_endpoint("ep_slow", EndpointChange(enabled=True, disabled_reason="", condition=""))
    await bench.guard.look()
    assert await bench.enabled() == (True, "")
    assert not selection.EXCEEDED.reasons
    assert [each.event_id for each in await lease(bench.store) if each.endpoint_id == "ep_slow"] == ["evt_1", "evt_2"]


async def test_enabled_with_the_same_filter_it_is_tried_anew() -> None:
    bench = await Bench(WatchedOutbox(), PAIRS).prepare()
    await store(bench.store, rows(1000))
    await bench.guard.look()
    await bench.store.change_endpoint("ep_slow", EndpointChange(enabled=True, disabled_reason=""))
    await bench.guard.look()
    assert await bench.enabled() == (True, "")
    await store(bench.store, rows(3, 2))
    await bench.guard.look()
    assert await bench.enabled() == (True, "")
    await store(bench.store, rows(1000, 3))
    await bench.guard.look()
    assert (await bench.enabled())[0] is False
    assert bench.disabled == 2


async def test_another_endpoint_with_the_same_filter_is_not_disabled() -> None:
    """As one of another tenant, whose documents are small."""
    bench = await Bench(WatchedOutbox(), PAIRS).prepare()
    await bench.store.add_endpoint(endpoint("ep_other", sources=("other",), condition=PAIRS))
    await store(bench.store, rows(1000), rows(3, 2)._replace(source="other"))
    await bench.guard.look()
    other = await bench.store.endpoint("ep_other")
    assert other is not None
    assert other.enabled
    assert (await bench.enabled())[0] is False


async def test_the_guard_is_woken_by_the_event_that_exceeds() -> None:
    bench = await Bench(WatchedOutbox(), PAIRS).prepare()
    disabled, stop = asyncio.Event(), asyncio.Event()
    guard = FilterGuard(bench.store, selection.EXCEEDED, selection.FAILED, ManualClock(), disabled.set)
    running = asyncio.create_task(guard.run(stop))
    await asyncio.sleep(0)
    await asyncio.to_thread(selection.stored("ep_slow", PAIRS).holds, rows(1000))
    async with asyncio.timeout(60):
        await disabled.wait()
        stop.set()
        await running
    assert (await bench.enabled())[0] is False


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data.text > 100", "The expression compares or computes with values of different types."),
        ("data.text >", "This is not a valid expression: it ends where more is needed (line 1, character 12)."),
    ],
)
async def test_a_filter_that_fails_delivers_and_is_shown_on_its_endpoint(api: Managed, text: str, problem: str) -> None:
    await api.store.add_endpoint(endpoint("ep_slow", condition=text))
    stored = await store(api.store, rows(1, text="abc"), rows(1, 2, text="abc"))
    assert stored.deliveries == 2
    await FilterGuard(api.store, selection.EXCEEDED, selection.FAILED, ManualClock(), lambda: None).look()
    assert not selection.FAILED.reasons
    answer = await api.ask("GET", "/endpoints/ep_slow")
    assert answer.json["filter_problem"] == problem
    found = await api.store.endpoint("ep_slow")
    assert found is not None
    (finding,) = endpoint_findings(found, {}, START)
    assert problem in finding.detail


async def test_a_filter_that_no_endpoint_has_any_more_is_forgotten() -> None:
    exceeded = FilterProblems()
    exceeded.add(Filtered("ep_gone", "true"), "Too slow.")
    await FilterGuard(MemoryOutbox(), exceeded, FilterProblems(), ManualClock(), lambda: None).look()
    assert not exceeded.reasons


def test_a_row_nested_deeper_than_python_calls_is_delivered_and_disables_nothing() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    stored = selection.stored("ep_slow", "data.nested == data.nested")
    assert stored.holds(rows(1, nested=deep))
    assert not selection.EXCEEDED.reasons


# -- every way in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *(NESTED, ATTACKS["large classes"][:1950] + ")", PAIRS),
        *(
            ATTACKS["a word boundary of Unicode"],
            LATER["optional parts"],
            LATER["a few classes before a long repetition"],
        ),
    ],
)
async def test_a_read_token_cannot_try_it(api: Managed, text: str) -> None:
    await store(api.store, rows(1000))
    body = {"events": ["invoice.*"], "filter": text}
    answer = await api.ask("POST", "/endpoint-preview", Scope.READ, json=body)
    assert answer.status == 422
    assert re.search("filter|expression", str(answer.json))


async def test_filters_are_tried_one_after_another(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread that evaluates delays the event loop by a switch of threads."""
    await store(api.store, *(rows(300, number) for number in range(1, 11)))
    running = threading.Semaphore(1)
    alone, both = [], threading.Event()
    original = endpoints.preview

    def preview(*given: Any) -> Any:
        alone.append(running.acquire(blocking=False))
        if not alone[-1]:
            both.set()
        both.wait(timeout=0.5)  # gives another one the time to begin
        running.release()
        return original(*given)

    monkeypatch.setattr(endpoints, "preview", preview)
    body = {"events": ["invoice.*"], "filter": "data.lines.all(line, line.n >= 0)"}
    asked = [api.ask("POST", "/endpoint-preview", Scope.READ, json=body) for _ in range(3)]
    assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 3
    assert alone == [True] * 3


async def test_a_manage_token_cannot_save_it(api: Managed) -> None:
    body = {"url": "https://shop.example.com", "events": ["*"], "filter": NESTED}
    answer = await api.ask("POST", "/endpoints", Scope.MANAGE, json=body)
    assert answer.status == 422
    assert await api.store.endpoints() == []


def test_whoever_tries_it_is_told_why() -> None:
    with pytest.raises(UsageError) as refused:
        ConditionTest(PAIRS).judge(rows(1000))
    assert "50,000 steps" in str(refused.value)
