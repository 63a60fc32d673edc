"""Events that one cell publishes to a stream of NATS and other cells read from it, on a real server."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import nats
import orjson
import pytest
from nats.js.client import JetStreamContext

from cdc.capture.base import CaptureLimits
from cdc.capture.bus import BusSettings, event_of
from cdc.config import SourceConfig
from cdc.dispatch.broker.nats_client import read_stream
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.model.broker import StreamMessage
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState
from cdc.model.errors import CdcError
from cdc.model.event import Event, event_payload
from cdc.model.observer import Observer
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.runtime.consumer import relay_of
from cdc.runtime.sharing import alone
from cdc.runtime.sources import bus_findings, bus_probe
from support.broker_servers import INSIDE, Nats, NatsCluster
from support.consumer import Consumer, Inbox, receiving
from support.dispatching import WatchedOutbox, endpoint, event, store_events
from support.outboxes import fixed
from support.tcp_proxy import Proxy
from support.waiting import HANG_SECONDS

BODY = event_payload(event(1))
#: Records of each source, in a test with many events.
RECORDS = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    made = Nats(tmp_path_factory.mktemp("nats"))
    made.start()
    yield made
    made.end()


@pytest.fixture
def stream(server: Nats) -> Nats:
    server.empty()
    return server


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    store = SqliteOutbox(tmp_path / "delivery.db")
    await store.open()
    yield store
    await store.close()


class Watch(Observer):
    """Reports of a relay: events stored, positions, the first failure."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.position: Position | None = None
        self.failure: asyncio.Future[CdcError] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()

    def stored(self, source: str, batch: Any, events: Sequence[Event], new: int) -> None:
        self.events += events
        self.position = batch.position
        self._changed.set()

    def source_failed(self, source: str, error: CdcError) -> None:
        if not self.failure.done():
            self.failure.set_result(error)

    async def until(self, enough: Callable[[Watch], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not enough(self):
                self._changed.clear()
                await self._changed.wait()


def bus(server: Nats, *, on_purged: str = "stop", **options: Any) -> SourceConfig:
    url = f"nats://127.0.0.1:{server.port}/events"
    nats_options = {"url": url, "sources": ["main", "shop"], **options}
    source = SourceConfig.model_validate({"capture": "nats", "on_purged": on_purged, "nats": nats_options})
    source.call("bus")
    return source


@asynccontextmanager
async def reading(source: SourceConfig, store: SqliteOutbox) -> AsyncIterator[Watch]:
    watch, stop = Watch(), asyncio.Event()

    async def nothing() -> None:
        pass

    task = asyncio.create_task(relay_of(source, store, nothing, watch, alone()).run(stop))
    try:
        yield watch
    finally:
        stop.set()
        await task


@asynccontextmanager
async def publishing(url: str, *events: Event) -> AsyncIterator[WatchedOutbox]:
    """A capturing cell with these events and an endpoint that publishes them."""
    store = WatchedOutbox()
    await store.add_endpoint(endpoint(url, retry_schedule=(0.05,) * 500, timeout=2.0))
    async with BrokerSender(INSIDE, {}) as sender:
        dispatcher = Dispatcher(store, sender, SystemClock(), DispatchSettings("worker-1"))
        task = asyncio.create_task(dispatcher.run())
        try:
            await store_events(store, events, SystemClock().now())
            yield store
        finally:
            dispatcher.stop()
            await task


async def publish(url: str, *events: Event) -> None:
    async with publishing(url, *events) as store:
        for _ in events:
            assert (await store.next_recorded()).state is DeliveryState.DELIVERED


async def on_stream(server: Nats, work: Callable[[JetStreamContext], Awaitable[object]]) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    try:
        await work(client.jetstream())
    finally:
        await client.close()


async def test_events_arrive_as_they_were_published(stream: Nats, outbox: SqliteOutbox) -> None:
    first = event(1)
    changed = event(2)._replace(
        name="invoice.updated",
        source="shop",
        record="facturascli:ñ 2.*",
        previous={"total": 1.5},
        inferred=True,
        observed=True,
        days=-3,
        only_to="ep_1",
    )
    renamed = event(3)._replace(previous={"idfactura": 30}, renamed_from="facturascli:30")
    await publish(stream.url, first, changed, renamed)
    await publish(stream.url, first)  # again, as after an answer that was lost
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: len(seen.events) == 3)
    got = [each._replace(labels=("", "")) for each in watch.events]
    assert got == [first, changed._replace(only_to=""), renamed]
    stored = await outbox.events_of([each.id for each in got])
    assert {each.id: each.source for each in stored} == {"evt_1": "main", "evt_2": "shop", "evt_3": "main"}


async def test_stored_event_comes_once_and_reading_continues_at_the_position(
    stream: Nats, outbox: SqliteOutbox
) -> None:
    await publish(stream.url, event(1), event(2))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: len(seen.events) == 2)
    await on_stream(stream, lambda context: context.update_stream(name="events", subjects=["facturascripts.>", "x"]))
    await publish(stream.url, event(3))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: len(seen.events) == 1)
        assert [each.id for each in watch.events] == ["evt_3"]
    body = event_payload(event(1))
    headers = {"X-Webhook-Record": "facturascli:1"}
    await on_stream(stream, lambda context: context.publish("facturascripts.main.again", body, headers=headers))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: len(seen.events) == 1)
    assert len(await outbox.events(10)) == 3


async def test_reader_closes_with_something_unsent(stream: Nats) -> None:
    reader = await read_stream(bus(stream).nats.stream(), None)
    await reader.follow("", 0)
    await reader._client.publish("x", b"y")
    await reader.close()
    assert reader.closed


async def test_new_source_begins_at_now_if_wanted(stream: Nats, outbox: SqliteOutbox) -> None:
    await publish(stream.url, event(1))
    async with reading(bus(stream, existing="skip"), outbox) as watch:
        await watch.until(lambda seen: seen.position is not None)
        await publish(stream.url, event(2))
        await watch.until(lambda seen: bool(seen.events))
    assert [each.id for each in watch.events] == ["evt_2"]


async def test_part_of_the_subjects(stream: Nats, outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The position follows the others' messages, so that their removal is no gap."""
    often = partial(BusSettings, limits=CaptureLimits(progress=0.0))
    monkeypatch.setattr("cdc.runtime.sources.BusSettings", often)
    other = event(2)._replace(source="shop")
    await publish(stream.url, event(1), other, event(3)._replace(source="shop"))
    source = bus(stream, subject="facturascripts.main.>")
    async with reading(source, outbox) as watch:
        await watch.until(lambda seen: seen.position is not None and seen.position.endswith(",3]}"))
        assert [each.id for each in watch.events] == ["evt_1"]
    await on_stream(stream, lambda context: context.purge_stream("events"))
    await publish(stream.url, event(4))
    async with reading(source, outbox) as watch:
        await watch.until(lambda seen: bool(seen.events))
        assert [each.id for each in watch.events] == ["evt_4"]
        assert not watch.failure.done()


async def _created_again(context: JetStreamContext) -> None:
    await context.delete_stream("events")
    await context.add_stream(name="events", subjects=["facturascripts.>"])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_created_again, "It was created again on "),
        (lambda context: context.purge_stream("events"), "Messages 2 to 3 were removed before they were read."),
        (lambda context: context.delete_msg("events", 2), "Messages behind 1 were removed."),
    ],
)
async def test_missing_messages_are_reported(
    stream: Nats, outbox: SqliteOutbox, damage: Callable[[JetStreamContext], Awaitable[object]], reason: str
) -> None:
    await publish(stream.url, event(1))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: bool(seen.events))
    await publish(stream.url, event(2), event(3))
    await on_stream(stream, damage)
    await publish(stream.url, event(4))
    async with reading(bus(stream), outbox) as watch, asyncio.timeout(HANG_SECONDS):
        error = await watch.failure
        assert not watch.events
    assert reason in error.message
    assert "on_purged" in error.hint
    async with reading(bus(stream, on_purged="reread"), outbox) as watch:
        await watch.until(lambda seen: any(each.id == "evt_4" for each in seen.events))
    gap = watch.events[0]
    assert gap.name == "source.gap"
    assert reason in gap.data["message"]


async def test_message_that_is_no_event_is_kept_and_reported(stream: Nats, outbox: SqliteOutbox) -> None:
    async def publish_wrong(context: JetStreamContext) -> None:
        await context.publish("facturascripts.x", b"no event \0", headers={"X-Webhook-Record": "facturascli:1"})

    await on_stream(stream, publish_wrong)
    await publish(stream.url, event(1))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: any(each.id == "evt_1" for each in seen.events))
    (skipped,) = await outbox.quarantined(10)
    assert (skipped.after, skipped.key) == ("no event \ufffd", {"sequence": 1})
    assert any(each.name == "source.gap" for each in watch.events)


async def test_publisher_of_one_subject_makes_no_event_of_another_source(stream: Nats, outbox: SqliteOutbox) -> None:
    forged = event_payload(event(2)._replace(source="shop"))
    headers = {"X-Webhook-Record": "facturascli:2"}
    await on_stream(stream, lambda context: context.publish("facturascripts.main.x", forged, headers=headers))
    await publish(stream.url, event(1), event(3)._replace(source="other"))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: any(each.id == "evt_1" for each in seen.events))
    assert sorted(each.reason for each in await outbox.quarantined(10)) == [
        "Its subject names the source 'main', its event 'shop'.",
        "The source 'other' is not one of this bus (sources).",
    ]
    assert [each.id for each in await outbox.events(10) if each.name != "source.gap"] == ["evt_1"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"1", b"{}", b'{"id":"evt_1"}'),
        BODY.replace(b'"evt_1"', b"1"),
        BODY.replace(b'Z"', b'"'),
        BODY.replace(b'"data":{', b'"data":[],"x":{'),
    ],
)
def test_what_is_no_event_raises_what_is_expected(body: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        event_of(StreamMessage(1, "facturascli:1", body), lambda _name, _data: ("", ""))


async def test_doctor_and_probe(stream: Nats, outbox: SqliteOutbox) -> None:
    await publish(stream.url, event(1))
    async with reading(bus(stream), outbox) as watch:
        await watch.until(lambda seen: bool(seen.events))
    findings = {each.check: each for each in await bus_findings(bus(stream), fixed(watch.position))}
    assert findings["stream"].detail.endswith(": 1 messages, 1 to 1")
    assert "one server alone" in findings["replicas"].detail
    assert "position" not in findings
    probe = bus_probe(bus(stream))
    try:
        backlog = await probe.ask(watch.position)
        assert backlog is not None
        assert backlog.seconds == 0
        await publish(stream.url, event(2))
        behind = [await probe.ask(watch.position) for _ in range(2)]
        assert behind[-1] is not None
        assert behind[-1].seconds > 0
    finally:
        await probe.close()
    await on_stream(stream, lambda context: context.delete_stream("events"))
    with pytest.raises(CdcError, match="There is no stream events at "):
        await bus_findings(bus(stream), fixed(None))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    made = NatsCluster(tmp_path / "cluster")
    made.start()
    yield made
    made.end()


@pytest.mark.timeout(600)  # three servers and two cells, which start slowly on a busy machine
async def test_cells_lose_double_and_reorder_nothing(cluster: NatsCluster, tmp_path: Path) -> None:
    """While a cell publishes, a server is killed, a connection cut and a delivering cell killed."""
    sources, each = ("north", "main", "acme", "shop"), 15
    one, two, three = cluster.nodes
    proxy = Proxy(one.port)
    cells = [
        _cell(tmp_path / "one", 0, f"127.0.0.1:{proxy.port},127.0.0.1:{two.port},127.0.0.1:{three.port}"),
        _cell(tmp_path / "two", 1, f"127.0.0.1:{two.port},127.0.0.1:{three.port},127.0.0.1:{one.port}"),
    ]
    events = [
        event(number, f"facturascli:{number % RECORDS}")._replace(source=sources[number // RECORDS % len(sources)])
        for number in range(len(sources) * RECORDS * each)
    ]
    inbox, url = Inbox(), f"nats://127.0.0.1:{one.port}/facturascripts.{{source}}.{{record}}.{{event}}"
    try:
        async with receiving(inbox) as hook, publishing(url) as publisher:
            for cell in cells:
                await cell.call("endpoint", "add", hook, "--events", "*")
                cell.has_outbox = True
                cell.start()
            third = len(events) // 3
            await store_events(publisher, events[:third], SystemClock().now())
            await inbox.until_count(third // 2)
            await asyncio.to_thread(three.kill)
            await store_events(publisher, events[third : 2 * third], SystemClock().now())
            proxy.cut()
            await cells[1].stop(signal.SIGKILL)
            await store_events(publisher, events[2 * third :], SystemClock().now())
            await asyncio.to_thread(three.start)
            cells[1].start()
            await inbox.until(lambda seen: len(_received(seen)) == len(events))
            for cell in cells:
                await cell.stop()
        stored = [_stored(cell) for cell in cells]
    finally:
        proxy.close()
        for cell in cells:
            if cell.process is not None:
                await cell.stop(signal.SIGKILL)
    assert sorted(stored[0] + stored[1]) == sorted(each.id for each in events)
    assert stored[0]
    assert stored[1]
    assert _order_of_records(inbox) == _order_of_records(events)


def _order_of_records(seen: Inbox | Sequence[Event]) -> dict[tuple[str, int], list[str]]:
    """Return the ids of each record's events in the order in which they came first."""
    sent = seen.events if isinstance(seen, Inbox) else [orjson.loads(event_payload(each)) for each in seen]
    found: dict[tuple[str, int], list[str]] = {}
    for each in {each["id"]: each for each in sent}.values():
        found.setdefault((each["source"], each["key"]["idfactura"] % RECORDS), []).append(each["id"])
    return found


def _cell(folder: Path, part: int, servers: str) -> Consumer:
    nats_options = (
        f'url = "nats://{servers}/events"\nsubject = "facturascripts.{part}.>"\nsources = ["*"]\n'
        'source_subject = "facturascripts.*.{source}.>"'
    )
    return Consumer.with_sources(folder, f'[source.bus]\ncapture = "nats"\n[source.bus.nats]\n{nats_options}\n')


def _received(inbox: Inbox) -> set[str]:
    return {sent["id"] for sent in inbox.events}


def _stored(cell: Consumer) -> list[str]:
    with closing(sqlite3.connect(cell.folder / "cdc.db")) as database:
        return [row[0] for row in database.execute("SELECT id FROM event")]
