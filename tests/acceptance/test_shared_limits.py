"""The rate and the breaker of an endpoint hold over several dispatchers, which are processes, on one outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from cdc.dispatch.flow_control import LEAST_RESULTS
from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.consumer import database_url
from support.database import Database
from support.dispatchers import Dispatcher, configure
from support.http_servers import served
from support.outboxes import endpoint, event
from support.waiting import HANG_SECONDS

RATE = 20
EVENTS = 3 * RATE


class Receiver:
    """Holds each request until the test answers it.  ``works``: answers at once."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[asyncio.Future[int]] = asyncio.Queue()
        self.count = 0
        self.works = False

    async def handle(self, _request: web.Request) -> web.Response:
        self.count += 1
        if self.works:
            return web.Response(status=204)
        answer = asyncio.get_running_loop().create_future()
        self._came.put_nowait(answer)
        return web.Response(status=await answer)

    async def request(self) -> asyncio.Future[int]:
        async with asyncio.timeout(HANG_SECONDS):
            return await self._came.get()


@asynccontextmanager
async def running(folder: Path, count: int) -> AsyncIterator[list[Dispatcher]]:
    members = [Dispatcher(folder, f"dispatch-{number}") for number in range(count)]
    try:
        yield members
    finally:
        codes = [await each.stop() for each in members if each.process is not None and each.process.poll() is None]
    assert set(codes) == {0}, "all that were not killed"


async def fill(info: Any, url: str, events: int, **fields: Any) -> PostgresOutbox:
    outbox = PostgresOutbox(info)
    await outbox.open()
    await outbox.add_endpoint(endpoint(url=url, secret=new_secret(), **fields))
    await store(outbox, events)
    return outbox


async def store(outbox: PostgresOutbox, events: int) -> None:
    await outbox.store("main", Position("1"), [event(number) for number in range(events)], {}, datetime.now(UTC))


async def start(members: Sequence[Dispatcher]) -> None:
    for each in members:
        each.start()
    for each in members:
        await each.ready()


async def test_three_dispatchers_keep_one_rate(postgres_db: Database, tmp_path: Path) -> None:
    configure(tmp_path, database_url(postgres_db.info))
    came, complete = list[float](), asyncio.Event()

    async def handle(_request: web.Request) -> web.Response:
        came.append(time.monotonic())
        if len(came) == EVENTS:
            complete.set()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with served(app) as url:
        outbox = await fill(postgres_db.info, url, 0, rate=float(RATE), concurrency=EVENTS)
        async with running(tmp_path, 3) as members:
            await start(members)
            began = time.monotonic()
            await store(outbox, EVENTS)
            async with asyncio.timeout(HANG_SECONDS):
                await complete.wait()
        await outbox.close()
    for number, moment in enumerate(came, 1):
        assert number <= RATE + RATE * (moment - began), "one second's worth at once, then the rate"


async def until(database: Database, condition: str) -> tuple[Any, ...]:
    """Wait for a condition on the endpoint's limits; return (prober, failed probes)."""
    query = f"SELECT prober, failed_probes FROM cdc_outbox.endpoint_limit WHERE {condition}"
    async with asyncio.timeout(HANG_SECONDS):
        while not (found := database.execute(query)):  # noqa: ASYNC110 - a table of other processes: there is no event to await
            await asyncio.sleep(0.05)
    return tuple(found[0])


def hurry(database: Database, condition: str) -> None:
    """Let the time until the next probe pass, and have the processes look."""
    database.execute(f"UPDATE cdc_outbox.endpoint_limit SET held_until = clock_timestamp() WHERE {condition}")
    database.execute("NOTIFY cdc_outbox, 'test due'")


async def test_one_breaker_holds_three_dispatchers_back(postgres_db: Database, tmp_path: Path) -> None:
    configure(tmp_path, database_url(postgres_db.info))
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    async with served(app) as url, running(tmp_path, 3) as members:
        outbox = await fill(postgres_db.info, url, EVENTS, concurrency=1, timeout=30.0)
        await start(members[:1])
        for _ in range(LEAST_RESULTS):
            (await receiver.request()).set_result(500)
        await until(postgres_db, "held_until IS NOT NULL")
        await start(members[1:])
        for failed in range(1, 4):
            hurry(postgres_db, "prober IS NULL")
            (await receiver.request()).set_result(500)
            await until(postgres_db, f"prober IS NULL AND failed_probes = {failed}")
        hurry(postgres_db, "prober IS NULL")
        lost = await receiver.request()
        killed, _ = await until(postgres_db, "prober IS NOT NULL")
        await next(each for each in members if each.name == killed).kill()
        hurry(postgres_db, f"prober = '{killed}'")  # its right to probe ends by itself, later
        probe = await receiver.request()
        assert (await until(postgres_db, "prober IS NOT NULL"))[0] != killed
        assert receiver.count == LEAST_RESULTS + 3 + 2, "nothing but one probe at a time was sent since it opened"
        probe.set_result(204)
        lost.cancel()
        await until(postgres_db, "held_until IS NULL")
        both = [await receiver.request() for _ in range(2)]  # each process sends one at a time
        receiver.works = True
        for each in both:
            each.set_result(204)
        await outbox.close()
