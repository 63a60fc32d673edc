"""Events from a stream of NATS, whose server is played: gaps, progress, and messages that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from cdc.capture.base import CaptureLimits, EventBatch
from cdc.capture.bus import BusProbe, BusSettings, BusSource, StreamPosition, event_of, missing
from cdc.capture.probe import Backlog
from cdc.model.broker import StreamMessage, StreamState
from cdc.model.change import Batch, Position, Row
from cdc.model.errors import LogPurged, SourceError, SourceUnavailable
from cdc.model.event import OPERATIONS, Event, event_payload
from support.manual_clock import START, ManualClock

STATE = StreamState("2026-11-24", 5, 9)
EVENT = Event(
    "evt_1", "invoice.paid", "shop", "facturascli", "facturascli:7", {"idfactura": 7}, {"idfactura": 7, "pagada": True},
    {"idfactura": 6}, START, "tx 1", renamed_from="facturascli:6", labels=("F7", "Ana"), days=-3,
)  # fmt: skip


def searched(name: str, data: Row) -> tuple[str, str]:
    return (f"F{data['idfactura']}", "Ana") if name == "invoice.paid" else ("", "")


SETTINGS = BusSettings("events", searched, "cdc.{source}.>", ("shop", "north-*"))


def message(sequence: int, published: Event = EVENT, subject: str = "", **fields: Any) -> StreamMessage:
    body = orjson.dumps({**orjson.loads(event_payload(published)), **fields})
    return StreamMessage(sequence, published.record, body, subject or f"cdc.{published.source}.{published.name}")


class Stream:
    """Answers from lists; then says that it is gone."""

    def __init__(self, *answers: tuple[Sequence[StreamMessage], int], state: StreamState = STATE) -> None:
        self.answers, self.current, self.followed, self.closed = list(answers), state, list[tuple[str, int]](), 0

    async def state(self) -> StreamState:
        return self.current

    async def follow(self, subject: str, after: int) -> None:
        self.followed.append((subject, after))

    async def messages(self, _most: int) -> tuple[Sequence[StreamMessage], int]:
        if not self.answers:
            raise SourceUnavailable("The stream has no more answers.")
        return self.answers.pop(0)

    async def close(self) -> None:
        self.closed += 1


class Readers:
    def __init__(self, refusals: int = 0) -> None:
        self.refusals, self.stopped = refusals, list[str]()

    async def become_reader(self, _name: str) -> bool:
        self.refusals -= 1
        return self.refusals < 0

    async def stop_reading(self, name: str) -> None:
        self.stopped.append(name)


def bus(stream: Stream, clock: ManualClock | None = None, readers: Readers | None = None, **settings: Any) -> BusSource:
    async def connect() -> Stream:
        return stream

    async def owners(ids: Sequence[str]) -> Mapping[str, str]:
        return {"evt_taken": "north-1"} if "evt_taken" in ids else {}

    store = cast("Any", readers or Readers())
    return BusSource("bus", connect, replace(SETTINGS, **settings), store, clock or ManualClock(), owners=owners)


async def read(source: BusSource, position: StreamPosition | None) -> list[Batch]:
    """Return the batches until the stream is gone."""
    await source.open(None if position is None else position.dump())
    batches = list[Batch]()
    with suppress(SourceUnavailable):
        async with aclosing(source.batches()) as coming:
            async for batch in coming:
                batches.append(batch)
    await source.close()
    return batches


def brief(batch: Batch) -> tuple[int, list[str], int, int]:
    """Return its sequence, the ids of its events, its gaps and its quarantined messages."""
    events = batch.events if isinstance(batch, EventBatch) else ()
    at = StreamPosition.load(batch.position).sequence
    return at, [each.id for each in events], len(batch.gaps), len(batch.quarantined)


@pytest.mark.parametrize(("existing", "begin"), [(True, 4), (False, 9)])
async def test_new_source_begins_with_the_first_message_or_after_the_last(existing: bool, begin: int) -> None:
    stream = Stream()
    (first,) = await read(bus(stream, existing=existing), None)
    assert StreamPosition.load(first.position) == StreamPosition(STATE.created, begin)
    assert stream.followed == [("", begin)]


async def test_stored_position_is_continued() -> None:
    stream, readers = Stream(([message(7), message(8)], 8)), Readers()
    (batch,) = await read(bus(stream, readers=readers), StreamPosition(STATE.created, 6))
    assert brief(batch) == (8, ["evt_1", "evt_1"], 0, 0)
    assert stream.followed == [("", 6)]
    assert (stream.closed, readers.stopped) == (1, ["bus"])


async def test_another_reader_is_awaited() -> None:
    clock, readers = ManualClock(), Readers(refusals=1)
    opening = asyncio.create_task(bus(Stream(), clock, readers).open(None))
    await clock.begun.wait()
    assert not opening.done()
    clock.advance(1.0)
    await opening
    assert readers.refusals == -1


@pytest.mark.parametrize(
    ("position", "part"),
    [
        (StreamPosition("2026-11-24", 4), ""),
        (StreamPosition("2026-11-24", 9), ""),
        (StreamPosition("2026-11-24", 3), "Messages 4 to 4 were removed"),
        (StreamPosition("2026-11-24", 10), "It ends with message 9, and message 10 was read"),
        (StreamPosition("2025-01-01", 9), "It was created again on 2026-11-24"),
    ],
)
async def test_stream_that_does_not_continue_the_position_is_reported(position: StreamPosition, part: str) -> None:
    lost = missing(position, STATE)
    assert (part in lost) if part else not lost
    if lost:
        with pytest.raises(LogPurged, match="does not continue the position"):
            await bus(Stream()).open(position.dump())
        (batch,) = await read(bus(Stream(), reread=True), position)
        assert brief(batch) == (4, [], 1, 0)
        assert lost in batch.gaps[0].reason


def test_position_of_another_kind_of_source_is_refused() -> None:
    for text in ("{}", "[]", '{"nats": 1}', "x"):
        with pytest.raises(SourceError, match="not that of a stream"):
            StreamPosition.load(Position(text))


@pytest.mark.parametrize(
    ("subject", "answer", "first", "gap_at"),
    [
        ("", ([message(7), message(8)], 8), 5, None),
        ("", ([message(8)], 8), 5, 7),  # 7 is gone
        ("", ([message(7), message(9)], 9), 5, 6),  # 8 is gone
        ("", ([], 8), 5, 8),  # 7 and 8 are gone
        ("cdc.>", ([message(8)], 8), 5, None),  # 7 has another subject
        ("cdc.>", ([message(8)], 8), 7, None),
        ("cdc.>", ([message(8)], 8), 8, 7),
        ("cdc.>", ([message(7), message(8)], 8), 8, None),  # read before they were removed
    ],
)
async def test_messages_removed_while_the_stream_is_read_are_a_gap(
    subject: str, answer: tuple[list[StreamMessage], int], first: int, gap_at: int | None
) -> None:
    stream = Stream(answer)
    source = bus(stream, subject=subject, reread=True)
    await source.open(StreamPosition(STATE.created, 6).dump())
    stream.current = STATE._replace(first=first)
    async with aclosing(source.batches()) as coming:
        batch = await anext(coming)
        assert brief(batch) == ((gap_at, [], 1, 0) if gap_at else (8, ["evt_1"] * len(answer[0]), 0, 0))
        if gap_at and answer[0]:
            assert brief(await anext(coming)) == (answer[1], ["evt_1"] * len(answer[0]), 0, 0)
    await source.close()


async def test_progress_without_messages_is_stored_at_intervals() -> None:
    clock = ManualClock()

    class Slow(Stream):
        async def messages(self, most: int) -> tuple[Sequence[StreamMessage], int]:
            clock.advance(2.0)
            return await super().messages(most)

    limits = CaptureLimits(progress=5.0)
    stream = Slow(*(([], reached) for reached in (7, 8, 9, 9, 10, 11)))
    source = bus(stream, clock, subject="cdc.>", limits=limits)
    batches = await read(source, StreamPosition(STATE.created, 6))
    assert [brief(batch)[0] for batch in batches] == [9, 11]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(7, EVENT._replace(id="evt_taken")), "Its id is that of an event of another source."),
        (message(7, subject="other.shop.x"), "Its subject is not of the form cdc.{source}.> (source_subject)."),
        (message(7, subject="cdc.north-1.x"), "Its subject names the source 'north-1', its event 'shop'."),
        (message(7, EVENT._replace(source="south")), "The source 'south' is not one of this bus (sources)."),
        (message(7, EVENT._replace(source=OPERATIONS)), "Operational events are not accepted from a bus."),
        (message(7, EVENT._replace(name="endpoint.disabled")), "Operational events are not accepted from a bus."),
        (StreamMessage(7, "a:1", b"\0{", "cdc.shop.x"), "It is not an event in the format facturascripts (JSON"),
    ],
)
async def test_refused_message_goes_into_quarantine_and_the_next_is_taken(sent: StreamMessage, reason: str) -> None:
    last = message(8, EVENT._replace(id="evt_2", source="north-1"))
    (batch,) = await read(bus(Stream(([sent, last], 8))), StreamPosition(STATE.created, 6))
    assert brief(batch) == (8, ["evt_2"], 1, 1)
    (wrong,) = batch.quarantined
    assert wrong.reason.startswith(reason)
    assert (wrong.key, wrong.table, wrong.changed_at) == ({"sequence": 7}, "events", START)
    assert wrong.reason in batch.gaps[0].reason
    assert wrong.after == sent.body.decode().replace("\0", "\ufffd")


def test_event_of_a_record_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - nothing shows its text
        event_of(message(1)._replace(record=":7"), searched)


def test_event_is_the_one_that_was_published() -> None:
    assert event_of(message(1), searched) == EVENT
    plain = EVENT._replace(key={"idfactura": 7}, previous=None, renamed_from=None, days=None, inferred=True)
    assert event_of(message(1, plain), searched) == plain
    unchanged = EVENT._replace(previous={"pagada": False}, renamed_from=None, observed=True)
    assert event_of(message(1, unchanged), searched) == unchanged
    assert event_of(message(1, test=True), searched) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x_1"}, {"id": 1}, {"id": "evt_" + "x" * 997}, {"id": "evt_\n"}, {"event": "paid"}, {"event": "a..b"},
        {"event": "a,b.c"}, {"source": ""}, {"key": []}, {"data": "x"}, {"previous": 5}, {"transaction": None},
        {"timestamp": "2026-11-24T21:48:00"}, {"timestamp": "0001-01-01T00:00:00+10:00"}, {"days": True},
        {"days": "1"}, {"days": 1_000_000}, {"days": -1_000_000},
    ],
)  # fmt: skip
def test_malformed_event_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        event_of(message(1, **fields), searched)


@pytest.mark.parametrize("fields", [{"id": "evt_" + "x" * 996}, {"days": 999_999}, {"days": -999_999}, {"days": 0}])
def test_event_at_its_limits_is_taken(fields: dict[str, Any]) -> None:
    assert event_of(message(1, **fields), searched) is not None


async def test_probe_counts_from_the_stored_message() -> None:
    stream = Stream()

    async def connect() -> Stream:
        return stream

    probe = BusProbe("nats://a", connect)
    assert probe.server == "NATS: nats://a"
    assert await probe.ask(None) is None
    assert await probe.ask(StreamPosition("2025-01-01", 9).dump()) is None
    waiting = await probe.ask(StreamPosition(STATE.created, 8).dump())
    assert waiting is not None
    assert waiting.seconds > 0
    assert await probe.ask(StreamPosition(STATE.created, 9).dump()) == Backlog(0.0)
    await probe.close()
    await probe.close()
    assert stream.closed == 1
