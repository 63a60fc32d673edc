"""Each way in which a receiver can be bad, alone and among twenty that are well: these feel nothing, every event ends
as documented, and attempts are counted as often as the bad one saw them.  Real sockets, the durable outbox, and a clock
that the test moves, so that a retry costs no time."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from cdc.dispatch.flow_control import FIRST_PROBE, LEAST_RESULTS
from cdc.dispatch.sender import HttpSender
from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView
from cdc.model.endpoint import EndpointChange, shown_url
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import endpoint, event
from support.http_faults import Behaviour, answer, deaf, drips, hangs, receiver, refusing, resets, says, streams
from support.manual_clock import ManualClock
from support.simulation import Stepping, stepping

HEALTHY = 20
EVENTS = 4
BAD_FOR = 410.0  # seconds of the clock
PAUSE = 200
TIMEOUT = 0.4  # of requests to one that does not answer, in earnest
PATIENCE = 10.0  # of requests to one that answers at once, also on a busy machine


class Ends(Enum):
    """What becomes of the events of a bad receiver."""

    WAITING = auto()  # until it works
    DELIVERED = auto()  # its status has decided, whatever else it does
    DEAD = auto()  # it refused each of them
    DISABLED = auto()


@dataclass(frozen=True)
class Bad:
    """``behaviour``: what it does with a connection; None: it is not reached at all.  ``sees``: whether a request gets
    as far as that it can be counted; ``answers``: whether the attempt ends before its time is up."""

    name: str
    behaviour: Callable[[ManualClock], Behaviour] | None
    ends: Ends = Ends.WAITING
    sees: bool = True
    answers: bool = True
    url: str = "http://127.0.0.1:{port}/hook"
    certificate: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def of(name: str, behaviour: Behaviour, ends: Ends = Ends.WAITING, **more: Any) -> Bad:
    return Bad(name, lambda _: behaviour, ends, **more)


def asks_to_wait(status: str, value: Callable[[ManualClock], str]) -> Callable[[ManualClock], Behaviour]:
    def made(clock: ManualClock) -> Behaviour:
        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answer(status, f"Retry-After: {value(clock)}", "Connection: close")(reader, writer)

        return behave

    return made


def as_date(clock: ManualClock) -> str:
    return format_datetime((clock.now() + timedelta(seconds=PAUSE)).astimezone(UTC), usegmt=True)


EXPIRED = {"names": "localhost", "not_after": datetime(2020, 1, 1, tzinfo=UTC)}
WELL = answer("204 No Content")
BAD = [
    Bad("refused", None, sees=False),
    Bad("unknown name", None, sees=False, url="https://gone.example/hook"),
    of("reset before the answer", resets()),
    of("reset within the status line", resets(b"HTTP/1.1 200 O")),
    of("reset within the headers", resets(b"HTTP/1.1 200 OK\r\nContent-Le")),
    of("reset within the body", resets(b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\nhalf"), Ends.DELIVERED),
    of("closed before the answer", says(b"")),
    of("does not read", deaf, sees=False, answers=False),
    of("hangs", hangs, answers=False),
    of("drips its head", drips(b"HTTP/1.1 200 O"), answers=False),
    of("drips its body", drips(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nstart"), Ends.DELIVERED, answers=False),
    of("endless body", streams(b"HTTP/1.1 200 OK\r\n\r\n"), Ends.DELIVERED, answers=False),
    of("endless body of an error", streams(b"HTTP/1.1 500 Oh\r\n\r\n")),
    of("garbage", says(b"SSH-2.0-OpenSSH_9.9\r\n")),
    of("200 and a garbled head", says(b"HTTP/1.1 200 OK\r\n:\r\n\r\n")),
    of("200 and a garbled body", says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\xff\x00!"), Ends.DELIVERED),
    of("expired certificate", WELL, sees=False, url="https://localhost:{port}/hook", certificate=EXPIRED),
    of("wrong name", WELL, sees=False, url="https://localhost:{port}/", certificate={"names": "other.example"}),
    of("redirect", answer("302 Found", "Location: https://elsewhere.example/")),
    of("404", answer("404 Not Found"), Ends.DEAD),
    of("422", answer("422 Unprocessable Content"), Ends.DEAD),
    of("410", answer("410 Gone"), Ends.DISABLED),
    Bad("429 for seconds", asks_to_wait("429 Too Many Requests", lambda _: str(PAUSE))),
    Bad("429 until a time", asks_to_wait("429 Too Many Requests", as_date)),
    Bad("503 for seconds", asks_to_wait("503 Service Unavailable", lambda _: str(PAUSE))),
    of("500", answer("500 Internal Server Error")),
    of("599", answer("599 Whatever")),
]


class _Reader:
    """Passes on what is read, and notes the event of each request that has come whole."""

    def __init__(self, reader: asyncio.StreamReader, seen: Counter[str]) -> None:
        self._reader = reader
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def readexactly(self, count: int) -> bytes:
        body = await self._reader.readexactly(count)
        self._seen[json.loads(body)["id"]] += 1
        return body


def noting(behaviour: Behaviour, seen: Counter[str]) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await behaviour(cast("asyncio.StreamReader", _Reader(reader, seen)), writer)

    return behave


@dataclass
class Case:
    """``seen``: by the bad receiver.  ``well``: the URL of one that works."""

    bad: Bad
    steps: Stepping
    url: str
    well: str
    seen: Counter[str]

    async def views(self, endpoint_id: str = "ep_bad") -> list[DeliveryView]:
        return await self.steps.store.deliveries(DeliveryFilter(endpoint_id=endpoint_id), 1000)

    async def states(self) -> set[DeliveryState]:
        return {view.state for view in await self.views()}

    async def assert_attempts_are_exact(self) -> None:
        """Check that each attempt is recorded, and that the bad receiver saw as many, where it sees requests.

        It runs in the same event loop: an attempt that lasted much longer than its timeout may not have reached it."""
        limit = 1.5 * _patience(self.bad)
        views = await self.views()
        logged = await self.steps.store.attempts_of([view.id for view in views])
        for view in views:
            attempts = logged.get(view.id, [])
            assert [attempt.number for attempt in attempts] == list(range(1, view.attempts + 1))
            to_bad = [attempt for attempt in attempts if attempt.url == shown(self.url)]
            if self.bad.sees:
                late = sum(attempt.status is None and attempt.duration > limit for attempt in to_bad)
                assert len(to_bad) - late <= self.seen[view.event_id] <= len(to_bad)
            to_well = view.state is DeliveryState.DELIVERED and attempts[-1].url == shown(self.well)
            assert view.attempts - len(to_bad) == to_well


def shown(url: str) -> str:
    """Return the URL as attempts of the bad endpoint have it."""
    return shown_url(endpoint(url, "ep_bad"))


@asynccontextmanager
async def case(bad: Bad, folder: Path, healthy: int) -> AsyncIterator[Case]:
    authority, clock, seen = trustme.CA(), ManualClock(), Counter[str]()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with AsyncExitStack() as stack:
        url = await serve(stack, bad, authority, clock, seen)
        well = f"http://127.0.0.1:{await stack.enter_async_context(receiver(WELL))}/well"
        store = SqliteOutbox(folder / "outbox.db")
        await store.open()
        stack.push_async_callback(store.close)
        await store.add_endpoint(endpoint(url, "ep_bad", timeout=_patience(bad)))
        for number in range(healthy):
            await store.add_endpoint(endpoint(f"{well}/{number}", f"ep_well_{number}"))
        sender = HttpSender(allow_private=True, tls=trusting, look_up=look_up)
        await stack.enter_async_context(sender)
        steps = await stack.enter_async_context(stepping(store, sender, clock))
        yield Case(bad, steps, url, well, seen)


async def serve(stack: AsyncExitStack, bad: Bad, authority: trustme.CA, clock: ManualClock, seen: Counter[str]) -> str:
    """The URL of the bad receiver."""
    if bad.behaviour is None:
        return bad.url.format(port=await stack.enter_async_context(refusing()))
    context = None
    if bad.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        names = bad.certificate["names"]
        authority.issue_cert(names, not_after=bad.certificate.get("not_after")).configure_cert(context)
    behaviour = noting(bad.behaviour(clock), seen)
    return bad.url.format(port=await stack.enter_async_context(receiver(behaviour, context)))


def look_up(host: str, *arguments: Any, **more: Any) -> Any:
    if host == "gone.example":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return socket.getaddrinfo(host, *arguments, **more)


async def be_bad(found: Case, healthy: int) -> None:
    """Events come while the receiver is bad; those that are well have each at the moment at which it is stored."""
    for number in range(EVENTS):
        await found.steps.store_events([event(number)])
        await found.steps.run(20, step=2.5)
    await found.steps.run(BAD_FOR - found.steps.now(), step=2.5)
    for number in range(healthy):
        views = await found.views(f"ep_well_{number}")
        assert [(view.state, view.attempts) for view in views] == [(DeliveryState.DELIVERED, 1)] * EVENTS
        for view in views:
            (attempt,) = await found.steps.store.attempts(view.id)
            assert attempt.started_at == view.created_at


async def mend(found: Case) -> None:
    await found.steps.store.change_endpoint("ep_bad", EndpointChange(url=found.well, enabled=True))
    await found.steps.run(PAUSE + 5, step=0.5)


def _patience(bad: Bad) -> float:
    """Seconds for an answer: more where its head must arrive in time, also on a busy machine, than where none comes."""
    if bad.answers:
        return PATIENCE
    return 2.0 if bad.ends is Ends.DELIVERED else TIMEOUT


@pytest.mark.parametrize("healthy", [0, HEALTHY], ids=["alone", "among twenty"])
@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_bad_receivers(bad: Bad, healthy: int, tmp_path: Path) -> None:
    async with case(bad, tmp_path, healthy) as found:
        await be_bad(found, healthy)
        await found.assert_attempts_are_exact()
        await ENDINGS[bad.ends](found)
        await found.assert_attempts_are_exact()


async def waits(found: Case) -> None:
    """For as long as it takes; when it works, everything arrives."""
    assert await found.states() == {DeliveryState.PENDING}
    attempts = sum(view.attempts for view in await found.views())
    assert EVENTS <= attempts <= LEAST_RESULTS + EVENTS + BAD_FOR / FIRST_PROBE / 4  # then only probes
    await mend(found)
    assert await found.states() == {DeliveryState.DELIVERED}


async def is_delivered(found: Case) -> None:
    assert [(view.state, view.attempts) for view in await found.views()] == [(DeliveryState.DELIVERED, 1)] * EVENTS


async def dies(found: Case) -> None:
    """After its whole schedule, and not before; retried by hand when it works, it arrives."""
    assert await found.states() == {DeliveryState.PENDING}
    await found.steps.run(4000, step=5)
    assert [(view.state, view.attempts) for view in await found.views()] == [(DeliveryState.DEAD, 6)] * EVENTS


async def is_disabled(found: Case) -> None:
    """At once; the events that come later wait with the others."""
    endpoint_now = await found.steps.store.endpoint("ep_bad")
    assert endpoint_now is not None
    assert not endpoint_now.enabled
    assert [view.attempts for view in await found.views()] == [0, 0, 0, 1]
    await mend(found)
    assert await found.states() == {DeliveryState.DELIVERED}


ENDINGS = {Ends.WAITING: waits, Ends.DELIVERED: is_delivered, Ends.DEAD: dies, Ends.DISABLED: is_disabled}


@pytest.mark.parametrize("bad", [each for each in BAD if each.name.startswith(("429", "503"))], ids=str)
async def test_who_asks_to_wait_is_left_alone_for_so_long(bad: Bad, tmp_path: Path) -> None:
    async with case(bad, tmp_path, 0) as found:
        await be_bad(found, 0)
        views = await found.views()
        attempts = await found.steps.store.attempts_of([view.id for view in views])
        times = sorted({attempt.started_at for each in attempts.values() for attempt in each})
        assert len(times) >= 3
        for first, second in pairwise(times):
            assert second - first >= timedelta(seconds=PAUSE - 1)  # a date has whole seconds


async def test_a_single_event_is_too_little_to_tell(tmp_path: Path) -> None:
    """It ends with its schedule."""
    async with case(of("500", answer("500 Oh")), tmp_path, 0) as found:
        await found.steps.store_events([event(0)])
        await found.steps.run(4000, step=5)
        assert [(view.state, view.attempts) for view in await found.views()] == [(DeliveryState.DEAD, 6)]
        await found.assert_attempts_are_exact()
