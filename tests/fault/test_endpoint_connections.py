"""Connections to receivers: reused when an answer ended well, never when something is left on them."""

from __future__ import annotations

import asyncio
from asyncio.selector_events import _SelectorSocketTransport
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp.connector import Connection

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender, request_head
from cdc.model.clock import SystemClock
from cdc.model.delivery import Outcome
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.http_faults import Behaviour, answer, hangs, read_request, receiver
from support.manual_clock import ManualClock
from support.waiting import HANG_SECONDS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"


def scripted(connections: list[int], *answers: Sequence[bytes]) -> Behaviour:
    """The n-th request in all is answered with the n-th of ``answers``, piece by piece with a pause between them;
    ``connections`` gets the number of requests that came on each connection."""
    waiting = iter(answers)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        mine = len(connections) - 1
        while True:
            await read_request(reader)
            connections[mine] += 1
            for piece in next(waiting):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)

    return behave


async def deliver(behaviour: Behaviour, count: int) -> list[Outcome]:
    """``count`` events of one record: each is sent when the one before has been answered."""
    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(behaviour) as port, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/", timeout=HANG_SECONDS))
        await store_events(store, [event(n, record="facturascli:1") for n in range(count)])
        async with dispatching(store, sender, clock):
            return [await store.next_recorded() for _ in range(count)]


async def test_one_connection_serves_many_deliveries() -> None:
    connections: list[int] = []
    outcomes = await deliver(scripted(connections, *[[OK]] * 20), 20)
    assert [outcome.attempt.answer for outcome in outcomes] == ["ok"] * 20
    assert connections == [20]


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_interim_answers_are_not_the_answer(interim: bytes) -> None:
    connections: list[int] = []
    outcomes = await deliver(scripted(connections, [interim, interim, OK], [interim + OK]), 2)
    assert [outcome.attempt.status for outcome in outcomes] == [200, 200]
    assert connections == [2]


async def test_switching_protocols_is_a_failure() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    (outcome,) = await deliver(scripted([], [raw]), 1)
    assert outcome.attempt.status == 101
    assert outcome.attempt.error == "The endpoint answered 101 Switching Protocols."


@pytest.mark.parametrize("surplus", [[OK + OK], [OK, OK], [OK, b"surplus"]])
async def test_what_nobody_asked_for_is_no_answer_to_the_next_request(surplus: list[bytes]) -> None:
    """A receiver that answers twice must not make the next delivery look delivered."""
    connections: list[int] = []
    behaviour = scripted(connections, surplus, [REFUSED])
    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(behaviour) as port, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/", timeout=HANG_SECONDS))
        await store_events(store, [event(1)])
        async with dispatching(store, sender, clock) as dispatcher:
            first = await store.next_recorded()
            await asyncio.sleep(0.06)  # the surplus arrives on the idle connection
            await store_events(store, [event(2)])
            dispatcher.notify()
            second = await store.next_recorded()
    assert (first.attempt.status, second.attempt.status) == (200, 500)
    assert connections == [1, 1]


async def test_a_body_that_turns_to_garbage_does_not_undo_a_success() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    connections: list[int] = []
    outcomes = await deliver(scripted(connections, [head, b"3\r\nabc\r\n", b"zz\r\n"], [OK]), 2)
    assert [outcome.attempt.status for outcome in outcomes] == [200, 200]
    assert outcomes[0].attempt.answer in ("", "abc")
    assert connections == [1, 1]


async def test_an_answer_with_garbage_on_its_heels_is_not_believed() -> None:
    outcomes = await deliver(scripted([], [OK + b"surplus"]), 1)
    assert outcomes[0].attempt.status is None
    assert "not HTTP" in outcomes[0].attempt.error


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 1500,
    ],
)
async def test_connections_that_end_or_are_left_unread_are_not_reused(raw: bytes) -> None:
    connections: list[int] = []
    outcomes = await deliver(scripted(connections, [raw], [raw]), 2)
    assert [outcome.attempt.status for outcome in outcomes] == [200, 200]
    assert connections == [1, 1]


async def test_chunked_answers_keep_the_connection() -> None:
    connections: list[int] = []
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    outcomes = await deliver(scripted(connections, [chunked], [chunked[:50], chunked[50:]]), 2)
    assert [outcome.attempt.answer for outcome in outcomes] == ["abc", "abc"]
    assert connections == [2]


async def test_receivers_that_hang_leave_room_for_the_others() -> None:
    """Eight endpoints hang with all their slots, twice as many as there are in all; a ninth gets its deliveries."""
    store = WatchedOutbox()
    async with (
        receiver(hangs) as stuck,
        receiver(answer("204 No Content")) as working,
        HttpSender(allow_private=True) as sender,
    ):
        for number in range(8):
            await store.add_endpoint(
                endpoint(f"http://127.0.0.1:{stuck}/{number}", f"ep_{number}", timeout=HANG_SECONDS)
            )
        await store_events(store, [event(n) for n in range(20)])
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{working}/", "ep_working"))
        settings = DispatchSettings("worker-1", grace=0.0)
        dispatcher = Dispatcher(store, sender, SystemClock(), settings)
        running = asyncio.create_task(dispatcher.run())
        await store_events(store, [event(n) for n in range(20, 40)])
        urls = {(await store.next_recorded()).attempt.url for _ in range(20)}
        dispatcher.stop()
        await asyncio.wait_for(running, HANG_SECONDS)
    assert urls == {f"http://127.0.0.1:{working}/"}


def test_what_is_sent_in_one_round_of_the_loop_is_written_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write between requests would wake a receiver on the same machine.  On Python's own loop, whose writes can be
    seen."""
    steps: list[str] = []

    def head(start: str, request: WebhookRequest) -> bytes:
        steps.append("made")
        return request_head(start, request)

    def write(transport: asyncio.Transport, data: bytes) -> None:
        if data.startswith(b"POST"):
            steps.append("written")
        original(transport, data)

    original = _SelectorSocketTransport.write
    monkeypatch.setattr("cdc.dispatch.sender.request_head", head)
    monkeypatch.setattr(_SelectorSocketTransport, "write", write)

    async def send_twice() -> list[Answer]:
        async with receiver(scripted([], *[[OK]] * 10)) as port, HttpSender(allow_private=True) as sender:
            request = WebhookRequest(f"http://127.0.0.1:{port}/", {}, b"body", 2.0)
            for _ in range(2):  # the second time the connections are there
                answers = await asyncio.gather(*[sender.send(request) for _ in range(5)])
        return answers

    assert [answer.status for answer in asyncio.run(send_twice())] == [200] * 5
    assert steps[10:] == ["made"] * 5 + ["written"] * 5


def test_connection_lost_before_the_write_is_a_failure_without_a_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop raises from a write to a transport that has closed; asyncio ignores it."""
    uvloop = pytest.importorskip("uvloop", reason="not made for this platform")
    reported: list[dict[str, Any]] = []
    connect = aiohttp.TCPConnector.connect

    async def lost(connector: aiohttp.TCPConnector, *args: Any) -> Connection:
        connection = await connect(connector, *args)
        assert connection.transport is not None
        connection.transport.abort()  # the transport closes in the next round of the loop, before the write
        return connection

    async def send() -> Answer:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with receiver(scripted([], [OK])) as port, HttpSender(allow_private=True) as sender:
            return await sender.send(WebhookRequest(f"http://127.0.0.1:{port}/", {}, b"body", HANG_SECONDS))

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", lost)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answer = runner.run(send())
    assert (answer.status, reported) == (None, [])
    assert "closed the connection" in answer.error


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\ny", "a\r"])
def test_no_header_makes_a_second_line(value: str) -> None:
    request = WebhookRequest("http://a/", {"X-Webhook-Event": value}, b"", 1.0)
    with pytest.raises(ValueError, match="line break"):
        request_head("POST / HTTP/1.1\r\nHost: a\r\n", request)


async def test_path_query_and_host_as_in_the_url() -> None:
    heads: list[bytes] = []

    async def note(reader: Any, writer: Any) -> None:
        heads.append((await read_request(reader))[0])
        writer.write(OK)
        await writer.drain()

    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(note) as port, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/a%2Fb/ñ?x=1&y=ü#part"))
        await store_events(store, [event(1)])
        async with dispatching(store, sender, clock):
            await store.next_recorded()
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"POST /a%2Fb/%C3%B1?x=1&y=%C3%BC HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}".encode() in lines
    assert heads[0].lower().count(b"content-length:") == 1
