"""Dispatch against a bare aiohttp + uvloop loop that signs and posts the same bodies, to an nginx that answers 204.

    python tests/bench/bench_dispatch.py [--requests 3000] [--rounds 9] [--outbox sqlite postgresql] [--logs off]
    python tests/bench/bench_dispatch.py --batch 100 --one-core --outbox sqlite [--requests 10000]

Both sides run in turn in one process, 64 requests at once, bodies of 1.5 kB; printed are medians and the median of the
rounds' ratios, in requests a second and in CPU time of this process (all threads), which a busy machine disturbs less.
Ours includes leasing, the attempt log, what metrics are made of, and (unless ``--logs off``) a log line an attempt.

``--batch N`` adds, for each outbox, the same events to an endpoint that wants N of them in a request, and says how many
times as many it gets; ``--one-core`` keeps this process to one core, and nginx to another.

``--without-http`` adds, for each outbox, the same with a sender that answers by itself: no transport can get more.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import cProfile
import gc
import hashlib
import hmac
import os
import pstats
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import structlog
import uvloop

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret, secret_key
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import Outcome
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event, event_payload
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from cdc.web.monitor import Reported
from support.ports import free_port
from support.server import postgres_server

AT_ONCE = 64
BODY_BYTES = 1500
NGINX = """
worker_processes 1;
daemon off;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}
}}
"""


@contextmanager
def nginx(core: int | None = None) -> Iterator[str]:
    """Its URL.  ``core``: the one it is kept to."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, port=port))
        process = subprocess.Popen([program, "-p", folder, "-c", str(configuration)])
        if core is not None:
            os.sched_setaffinity(process.pid, {core})  # before it has workers, which inherit it
        try:
            _wait_until_listening(port, process)
            yield f"http://127.0.0.1:{port}/hook"
        finally:
            process.terminate()
            process.wait()


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit("nginx did not start")


def make_events(count: int, start: int) -> list[Event]:
    """Events of different records, with bodies of about `BODY_BYTES`."""
    now = datetime.now(UTC)

    def make(number: int, filling: int) -> Event:
        return Event(
            id=f"evt_{number:020d}",
            name="invoice.updated",
            source="main",
            table="facturascli",
            record=f"facturascli:{number}",
            key={"idfactura": number},
            data={"idfactura": number, "total": 121.0, "observaciones": "x" * filling},
            previous={"total": 100.0},
            time=now,
            transaction=f"{number}",
        )

    filling = BODY_BYTES - len(event_payload(make(start, 0)))
    return [make(number, filling) for number in range(start, start + count)]


class Rate(NamedTuple):
    """Events a second, and microseconds of CPU for each."""

    rate: float
    cpu: float


class Watch:
    """Starts when made."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # the events are there because this is a benchmark: no collection shall look at them
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, requests: int) -> Rate:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Rate(requests / wall, cpu / requests * 1e6)


async def bare(url: str, secret: str, events: Sequence[Event]) -> Rate:
    """A loop that does nothing but sign and post."""
    key = secret_key(secret)
    bodies = [(event.id, event.name, event_payload(event)) for event in events]
    waiting = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for event_id, name, body in waiting:
            timestamp = str(int(time.time()))
            signed = f"{event_id}.{timestamp}.".encode() + body
            signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "bare",
                "webhook-id": event_id,
                "webhook-timestamp": timestamp,
                "webhook-signature": "v1," + signature,
                "X-Webhook-Event": name,
                "X-Webhook-Signature": "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex(),
            }
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
                if response.status != 204:
                    raise SystemExit(f"nginx answered {response.status}")

    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        watch = Watch()
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))
        return watch.rate(len(events))


class Counted:
    """Sets ``done`` once ``wanted`` outcomes are recorded."""

    def __init__(self, store: OutboxStore, wanted: int) -> None:
        self.done = asyncio.Event()
        self._finish = store.finish
        self._left = wanted

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await self._finish(worker, outcomes, now, announcements)
        self._left -= len(outcomes)
        for outcome in outcomes:
            if outcome.attempt.status != 204:
                raise SystemExit(outcome.attempt.error)
        if self._left <= 0:
            self.done.set()


@asynccontextmanager
async def sqlite_outbox() -> AsyncIterator[OutboxStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteOutbox(Path(folder, "outbox.db"))
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def postgresql_outbox() -> AsyncIterator[OutboxStore]:
    """On a server of its own, whose commits are durable; it runs beside this process, and costs it nothing."""
    with postgres_server() as info:
        store = PostgresOutbox(info)
        await store.open()
        try:
            yield store
        finally:
            await store.close()


OUTBOXES = {"sqlite": sqlite_outbox, "postgresql": postgresql_outbox}


class Answered:
    """A sender that sends nothing: the answer is there a round of the loop later."""

    async def send(self, _request: WebhookRequest) -> Answer:
        await asyncio.sleep(0)
        return Answer(204, 0.001)


async def ours(outbox: str, batch: int, url: str, secret: str, events: Sequence[Event], *, http: bool = True) -> Rate:
    """From a full outbox until every outcome is recorded; ``batch`` events a request."""
    async with OUTBOXES[outbox]() as store, HttpSender(allow_private=True) as real:
        sender = real if http else Answered()
        now = datetime.now(UTC)
        await store.add_endpoint(Endpoint("ep_1", url, ("*",), secret, now, concurrency=AT_ONCE, batch_size=batch))
        await store.store("main", Position("1"), events, {}, now)
        counted = Counted(store, len(events))
        store.finish = counted.finish  # type: ignore[method-assign]  # counts, passes on
        settings = DispatchSettings("bench", concurrency=AT_ONCE)
        dispatcher = Dispatcher(store, sender, SystemClock(), settings, observer=Reported(SystemClock()))
        watch = Watch()
        running = asyncio.create_task(dispatcher.run())
        await counted.done.wait()
        rate = watch.rate(len(events))
        dispatcher.stop()
        await running
        return rate


BATCHED = " x"
WITHOUT_HTTP = " alone"
Side = Callable[[str, str, Sequence[Event]], Awaitable[Rate]]


def side(name: str) -> Side:
    """``name``: bare, or an outbox, with `` xN`` after it for batches of N, or `` alone``: without HTTP."""
    if name == "bare":
        return bare
    outbox, _, batch = name.removesuffix(WITHOUT_HTTP).partition(BATCHED)

    async def run(url: str, secret: str, events: Sequence[Event]) -> Rate:
        return await ours(outbox, int(batch or 1), url, secret, events, http=not name.endswith(WITHOUT_HTTP))

    return run


def measure(names: Sequence[str], requests: int, rounds: int, core: int | None) -> dict[str, list[Rate]]:
    """Name → what each round gave; the first round warms up and is not kept."""
    secret = new_secret()
    results: dict[str, list[Rate]] = {name: [] for name in names}
    with nginx(core) as url:
        for turn in range(rounds + 1):
            events = make_events(requests, turn * requests + 1)
            order = names if turn % 2 else list(reversed(names))
            for name in order:
                rate = uvloop.run(_rate(side(name), url, secret, events))
                if turn:
                    results[name].append(rate)
    return results


async def _rate(run: Side, url: str, secret: str, events: Sequence[Event]) -> Rate:
    return await run(url, secret, events)


def profile(name: str, requests: int) -> None:
    secret, profiler = new_secret(), cProfile.Profile()
    with nginx() as url:
        events = make_events(requests, 1)
        profiler.enable()
        uvloop.run(_rate(side(name), url, secret, events))
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--outbox", nargs="*", default=list(OUTBOXES), choices=list(OUTBOXES))
    parser.add_argument("--logs", choices=["on", "off"], default="on")
    parser.add_argument("--profile", choices=["bare", *OUTBOXES])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--without-http", action="store_true")
    options: Any = parser.parse_args()
    core = _one_core() if options.one_core else None
    batched = [f"{name}{BATCHED}{options.batch}" for name in options.outbox] if options.batch > 1 else []
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        configure_logs("json", "info" if options.logs == "on" else "error", nowhere)
        if options.profile:
            profile(options.profile + (f"{BATCHED}{options.batch}" if batched else ""), options.requests)
            return
        alone = [name + WITHOUT_HTTP for name in options.outbox] if options.without_http else []
        results = measure(["bare", *options.outbox, *batched, *alone], options.requests, options.rounds, core)
    structlog.reset_defaults()
    report(results)


def _one_core() -> int:
    """Keep this process to one core; the one for nginx."""
    mine, other, *_ = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine})
    return other


def report(results: dict[str, list[Rate]]) -> None:
    base = results["bare"]
    for name, rates in results.items():
        rate, cpu = statistics.median(one.rate for one in rates), statistics.median(one.cpu for one in rates)
        faster = statistics.median(one.rate / other.rate for one, other in zip(rates, base, strict=True))
        leaner = statistics.median(other.cpu / one.cpu for one, other in zip(rates, base, strict=True))
        line = f"{name:12} {rate:7.0f} events/s ({faster:6.1%} of bare)   {cpu:6.1f} us CPU ({leaner:6.1%} of bare)"
        if BATCHED in name:
            singly = results[name.partition(BATCHED)[0]]
            times = statistics.median(one.rate / other.rate for one, other in zip(rates, singly, strict=True))
            less = statistics.median(other.cpu / one.cpu for one, other in zip(rates, singly, strict=True))
            line += f"   {times:.2f} times as many as unbatched, {less:.2f} by CPU"
        print(line)


if __name__ == "__main__":
    main()
