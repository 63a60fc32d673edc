"""A tenant with a hundred thousand waiting events beside one with its first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc.dispatch import dispatcher
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.signing import new_secret
from cdc.model.clock import SystemClock
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.backlog import fill
from support.outboxes import endpoint, event
from support.outboxes import store as store_events
from support.waiting import HANG_SECONDS

WAITING = 100_000
#: Requests of the other tenant that may come first: what is on its way or leased, and the next lease.
BEFORE = 200


class Receiver:
    """Notes whose requests come, in their order."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.busy, self.small = asyncio.Event(), asyncio.Event()

    async def send(self, request: WebhookRequest) -> Answer:
        self.sources.append(request.url.rpartition("/")[2])
        if self.sources[-1] == "small":
            self.small.set()
        elif len(self.sources) > BEFORE:
            self.busy.set()
        await asyncio.sleep(0)
        return Answer(204, 0.001)


@pytest.fixture(params=[dispatcher.FEW, 0], ids=["few-endpoints", "many-endpoints"])
def look_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatch with few endpoints considers all of them; with many it looks those up that have something due."""
    monkeypatch.setattr(dispatcher, "FEW", request.param)


@pytest.mark.usefixtures("look_up")
@pytest.mark.parametrize("records", [WAITING, 50], ids=["many-records", "few-records"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_first_event_of_a_tenant_passes_the_backlog_of_another(
    kind: str, records: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = tmp_path / "outbox.db" if kind == "sqlite" else request.getfixturevalue("postgres_db").info
    outbox = SqliteOutbox(where) if kind == "sqlite" else PostgresOutbox(where)
    clock, receiver = SystemClock(), Receiver()
    await outbox.open()
    for source in ("main", "small"):
        url = f"http://127.0.0.1:9/{source}"
        await outbox.add_endpoint(endpoint(f"ep_{source}", url=url, sources=(source,), secret=new_secret()))
    await store_events(outbox, event(1), now=clock.now())
    await asyncio.to_thread(fill, where, WAITING, records)
    tested = Dispatcher(outbox, receiver, clock, DispatchSettings("worker"))
    running = asyncio.create_task(tested.run())
    async with asyncio.timeout(HANG_SECONDS):
        await receiver.busy.wait()
        await outbox.store("small", "1", [event(2, source="small")], {}, clock.now())
        before = len(receiver.sources)
        tested.notify()
        await receiver.small.wait()
    tested.stop()
    await running
    await outbox.close()
    assert receiver.sources[before:].index("small") < BEFORE
