"""A publisher on the bus stops nothing, and makes events of no source but those of its subjects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from cdc.capture.bus import BusSettings, BusSource
from cdc.config import SourceConfig
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.broker import StreamMessage, StreamState, source_of_subject, source_subject_problem
from cdc.model.change import Batch
from cdc.model.clock import SystemClock
from cdc.model.event import Event, event_payload
from cdc.model.observer import Observer
from cdc.model.operation import OPERATION_TYPES
from cdc.relay import Relay, nobody
from support.dispatching import event
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

SUBJECT = "facturascripts.main.facturascli:1.invoice.paid"
PAYLOAD: dict[str, Any] = orjson.loads(event_payload(event(1)))


class Stream:
    """A `cdc.model.broker.EventStream` of these messages."""

    def __init__(self, messages: Sequence[StreamMessage]) -> None:
        self._messages = list(messages)

    async def state(self) -> StreamState:
        return StreamState("2026", 1, len(self._messages))

    async def follow(self, subject: str, after: int) -> None:
        del self._messages[:after]

    async def messages(self, most: int) -> tuple[Sequence[StreamMessage], int]:
        if not self._messages:
            await asyncio.Event().wait()
        taken, self._messages = self._messages[:most], self._messages[most:]
        return taken, taken[-1].sequence

    async def close(self) -> None: ...


class Arrived(Observer):
    """``last``: the last message was stored."""

    def __init__(self) -> None:
        self.last = asyncio.Event()

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        if any(each.id == "evt_99" for each in events):
            self.last.set()


async def read(*messages: tuple[str, bytes, str]) -> tuple[list[str], list[str]]:
    """Return the ids of the events that arrive, and the reasons of what is in quarantine.  ``messages``: subject, body
    and header; a good one follows them."""
    good = ("facturascripts.main.x.invoice.paid", event_payload(event(99)), "facturascli:99")
    numbered = [
        StreamMessage(number, record, body, subject)
        for number, (subject, body, record) in enumerate((*messages, good), start=1)
    ]
    store, stop = MemoryOutbox(), asyncio.Event()
    settings = BusSettings(
        "events", lambda _name, _data: ("", ""), "facturascripts.{source}.>", ("main", "shop-*", "cdc", "test")
    )

    async def connect() -> Stream:
        return Stream(numbered)

    async def owners(ids: Sequence[str]) -> dict[str, str]:
        return {each.id: each.source for each in await store.events_of(ids)}

    source = BusSource("bus", connect, settings, store, SystemClock(), owners=owners)
    arrived = Arrived()
    relay = Relay(source, Mapper(load_catalogue()), store, SystemClock(), nobody, arrived)
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await arrived.last.wait()
        stop.set()
        await running
    found = [each.id for each in await store.events(1000) if each.name != "source.gap"]
    return found, [each.reason for each in await store.quarantined(1000)]


def changed(**fields: Any) -> bytes:
    return orjson.dumps(PAYLOAD | fields)


UNREADABLE = [
    changed(timestamp="0001-01-01T00:00:00+14:00"),
    changed(timestamp="9999-12-31T23:59:59-14:00"),
    changed(timestamp="0001-01-01T00:00:00.000001+00:01"),
    changed(timestamp="2026-02-30T00:00:00Z"),
    changed(timestamp="2026-02-28T00:00:00"),
    changed(timestamp=1),
    changed(timestamp=None),
    changed(days="7"),
    changed(days=2**63),
    changed(days=[1]),
    changed(id="evt_" + "x" * 5000),
    changed(id="evt_\n"),
    changed(id=["evt_1"]),
    changed(event="*"),
    changed(event="invoice"),
    changed(event="invoice.*"),
    changed(event=""),
    changed(source=None),
    changed(source={"a": 1}),
    changed(key=[1]),
    changed(data="x"),
    changed(previous=7),
    changed(transaction=1),
    b"[" * 100_000,
    b'{"id":' * 2000 + b"1" + b"}" * 2000,
    b"\xff\xfe",
    b"\x00",
    b"",
    b"1e999",
    orjson.dumps({}),
    orjson.dumps([PAYLOAD]),
    orjson.dumps("evt_1"),
    event_payload(event(1)).replace(b"121.0", b"NaN"),
    event_payload(event(1)).replace(b"planted", b"\\ud800"),
]


async def test_message_that_cannot_be_read_stops_nothing() -> None:
    arrived, reasons = await read(*[(SUBJECT, body, "facturascli:1") for body in UNREADABLE])
    assert arrived == ["evt_99"]
    assert len(reasons) == len(UNREADABLE)
    assert all(reason.startswith("It is not an event in the format facturascripts (") for reason in reasons)


@pytest.mark.parametrize("record", ["", ":1", "%", "%FF", "%C3%28", quote("a" * 9000)])
async def test_record_of_any_form_stops_nothing(record: str) -> None:
    arrived, reasons = await read((SUBJECT, event_payload(event(1)), record))
    assert arrived[-1:] in (["evt_99"], ["evt_1"])
    assert len(arrived) + len(reasons) == 2


@pytest.mark.parametrize(
    ("subject", "source"),
    [
        ("facturascripts.acme.x.invoice.paid", "main"),
        ("facturascripts.acme.main.invoice.paid", "main"),
        ("facturascripts.main.x.invoice.paid", "shop-1"),
        ("facturascripts.Main.x.invoice.paid", "main"),
        ("facturascripts.main .x.invoice.paid", "main"),
        ("facturascripts.main.x.invoice.paid", "main "),
        ("facturascripts..main.invoice.paid", "main"),
        ("facturascripts.main", "main"),
        ("other.main.x.invoice.paid", "main"),
        ("main", "main"),
        ("", "main"),
        ("facturascripts.acme.x.invoice.paid", "acme"),
        ("facturascripts.shop.x.invoice.paid", "shop"),
        ("facturascripts.shopper.x.invoice.paid", "shopper"),
        ("facturascripts.[a-z]*.x.invoice.paid", "[a-z]*"),
        ("facturascripts.main.x.invoice.paid", "ma\u0131n"),
    ],
)
async def test_publisher_makes_no_event_of_a_source_that_is_not_its_subjects(subject: str, source: str) -> None:
    arrived, (reason,) = await read((subject, changed(source=source), "facturascli:1"))
    assert arrived == ["evt_99"]
    assert "subject" in reason or "not one of this bus" in reason


async def test_publisher_makes_events_of_its_own_source() -> None:
    messages = [
        (f"facturascripts.{source}.x.invoice.paid", changed(source=source, id=f"evt_{source}"), "facturascli:1")
        for source in ("main", "shop-1", "shop-")
    ]
    assert await read(*messages) == (["evt_main", "evt_shop-1", "evt_shop-", "evt_99"], [])


FORGED = [(source, kind.name) for kind in OPERATION_TYPES for source in ("cdc", "main")]


@pytest.mark.parametrize(("source", "name"), [*FORGED, ("cdc", "invoice.paid"), ("test", "invoice.paid")])
async def test_operational_events_cannot_be_forged(source: str, name: str) -> None:
    subject = f"facturascripts.{source}.x.{name}"
    arrived, reasons = await read((subject, changed(source=source, event=name, id="evt_forged"), "source:main"))
    assert (arrived, reasons) == (["evt_99"], ["Operational events are not accepted from a bus."])


async def test_id_of_another_sources_event_drops_nothing_in_silence() -> None:
    """Ids can be guessed: a publisher may use one before its event comes."""
    taken = ("facturascripts.shop-1.x.invoice.paid", changed(source="shop-1"), "facturascli:1")
    own = (SUBJECT, changed(), "facturascli:1")
    assert await read(own, own) == (["evt_1", "evt_99"], [])
    reason = "Its id is that of an event of another source."
    assert await read(taken, own, own) == (["evt_1", "evt_99"], [reason] * 2)
    assert await read(own, taken) == (["evt_1", "evt_99"], [reason])


@pytest.mark.parametrize(
    ("pattern", "subject", "source"),
    [
        ("a.{source}.>", "a.b.c", "b"),
        ("a.{source}.>", "a.b", None),
        ("a.{source}.>", "x.b.c", None),
        ("a.*.{source}.*", "a.1.b.c", "b"),
        ("a.*.{source}.*", "a.1.b.c.d", None),
        ("{source}", "b", "b"),
        ("{source}.a", "b.c", None),
        ("a.>.{source}", "", None),
    ],
)
def test_source_of_a_subject(pattern: str, subject: str, source: str | None) -> None:
    assert source_of_subject(pattern, subject) == source


@pytest.mark.parametrize(
    "pattern", ["", "a.>", "a.{source}.{source}", "a.{event}.{source}", "a.x{source}", "$JS.{source}", "a b.{source}"]
)
def test_pattern_that_names_no_source_is_refused(pattern: str) -> None:
    assert source_subject_problem(pattern)
    with pytest.raises(ValueError, match="source_subject"):
        SourceConfig.model_validate(
            {"capture": "nats", "nats": {"url": "nats://h/S", "sources": ["a"], "source_subject": pattern}}
        )


def test_bus_without_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="the names of the sources whose events it may carry"):
        SourceConfig.model_validate({"capture": "nats", "nats": {"url": "nats://h/S"}})
