"""What fetching costs: events that one client fetches and acknowledges over the API, and how long one waits for.

    python tests/bench/bench_pull.py [--events 2000] [--waits 20]

API, SQLite outbox and client are in one process.  Printed are, for each size of a request, events a second of this
process's processor time, which a busy machine does not change, and of the clock; then the median time from an event's
store to its arrival at a request that waits.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from aiohttp.test_utils import TestClient, TestServer
from bench_dispatch import make_events

from cdc.access.model import Scope
from cdc.access.sign_in import SignIn
from cdc.admin.accounts import Accounts
from cdc.api.application import api_application
from cdc.api.token_auth import TOKEN_BURST, TokenAuth
from cdc.config import Config
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.endpoint import Endpoint
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.runtime.service import service_of
from support.memory_outbox import MemoryAccess

SIZES = (1, 10, 100)


class Client:
    """``tokens``: used in turn, so that no rate limit is met."""

    def __init__(self, client: TestClient[Any, Any], store: SqliteOutbox, tokens: list[str]) -> None:
        self.store = store
        self._client = client
        self._tokens = itertools.cycle(tokens)

    async def ask(self, method: str, what: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {next(self._tokens)}"}
        async with self._client.request(method, f"/consumers/bench/{what}", headers=headers, **more) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fetch_all(self, size: int) -> int:
        found = 0
        while items := (await self.ask("GET", f"events?limit={size}"))["items"]:
            await self.ask("POST", "ack", json={"acknowledged": [each["receipt"] for each in items]})
            found += len(items)
        return found


@asynccontextmanager
async def serving(requests: int) -> AsyncIterator[Client]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        store, access = SqliteOutbox(Path(folder, "outbox.db")), MemoryAccess()
        await store.open()
        await store.add_endpoint(Endpoint("ep_bench", "pull:bench", ("*",), "", clock.now(), concurrency=0))
        accounts = Accounts(access, clock)
        names = range(2 + int(requests // TOKEN_BURST))
        tokens = [(await accounts.add_token("bench", f"t{name}", Scope.CONSUME, None))[1] for name in names]
        service = service_of(Config(), store, clock)
        gate = TokenAuth(access, SignIn(access, clock), clock, lambda request: request.remote or "", service.in_use)
        app = api_application(service, gate)
        async with TestClient(TestServer(app)) as client:
            yield Client(client, store, tokens)
        await store.close()


async def main(events: int, waits: int) -> None:
    for size in SIZES:
        async with serving(2 * events // size + 2) as client:
            made = make_events(events, 0)
            for start in range(0, events, 500):
                await client.store.store("main", Position(str(start)), made[start : start + 500], {}, datetime.now(UTC))
            processor, clock = time.process_time(), time.perf_counter()
            assert await client.fetch_all(size) == events
            processor, clock = time.process_time() - processor, time.perf_counter() - clock
            rates = events / processor, events / clock
            print("{:4} a request: {:7.0f} a second of processor, {:7.0f} by the clock".format(size, *rates))
    async with serving(2 * waits) as client:
        taken = [await wait(client, number) for number in range(waits)]
    print(
        f"store → waiting request: median {statistics.median(taken) * 1000:.0f} ms, longest {max(taken) * 1000:.0f} ms"
    )


async def wait(client: Client, number: int) -> float:
    """Seconds from the store of an event until a request that waits has it."""
    waiting = asyncio.create_task(client.ask("GET", "events?wait=30&limit=1"))
    await asyncio.sleep(0.1 + 0.037 * (number % 7))  # at any time between two looks
    (event,) = make_events(1, number)
    before = time.perf_counter()
    await client.store.store("main", Position(f"w{number}"), [event], {}, datetime.now(UTC))
    (item,) = (await waiting)["items"]
    taken = time.perf_counter() - before
    await client.ask("POST", "ack", json={"acknowledged": [item["receipt"]]})
    return taken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--waits", type=int, default=20)
    arguments = parser.parse_args()
    configure_logs("json", "error")
    uvloop.install()
    asyncio.run(main(arguments.events, arguments.waits))
