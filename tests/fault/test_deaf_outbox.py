"""A dispatcher that its outbox does not answer any more: how much another one sends again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.outcome_writer import LEAST
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.signing import new_secret
from cdc.model.clock import SystemClock
from cdc.model.delivery import LeasedDelivery
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import endpoint, event, finish, store
from support.tcp_proxy import Proxy, proxy
from support.waiting import HANG_SECONDS

AT_ONCE, EVENTS = 64, 300


class Receiver:
    """Counts the requests of each event, and answers at once."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def send(self, request: WebhookRequest) -> Answer:
        self.sent[request.headers["webhook-id"]] += 1
        await asyncio.sleep(0)
        return Answer(204, 0.001)


class CutOff(PostgresOutbox):
    """The way to it is deaf after it has leased a lot."""

    def __init__(self, path: Proxy, database: Database) -> None:
        super().__init__(replace(database.info, port=path.port))
        self._path = path
        self.recorded, self.cut = asyncio.Event(), asyncio.Event()

    async def lease(self, *args: Any, **kwargs: Any) -> list[LeasedDelivery]:
        leased = await super().lease(*args, **kwargs)
        if len(leased) > AT_ONCE:
            self._path.deaf.set()
            self.cut.set()
        return leased

    async def finish(self, *args: Any, **kwargs: Any) -> None:
        await super().finish(*args, **kwargs)
        self.recorded.set()


async def test_dispatcher_cut_off_from_its_outbox_sends_little_more_than_it_had_begun(postgres_db: Database) -> None:
    clock, receiver, direct = SystemClock(), Receiver(), PostgresOutbox(postgres_db.info)
    await direct.open()
    await direct.add_endpoint(endpoint(url="http://127.0.0.1:9", secret=new_secret(), concurrency=AT_ONCE))
    with proxy(postgres_db.info.port) as path:
        outbox = CutOff(path, postgres_db)
        dispatcher = Dispatcher(outbox, receiver, clock, DispatchSettings("cut"))
        running = asyncio.create_task(dispatcher.run())
        await store(direct, event(0), now=clock.now())
        dispatcher.notify()
        async with asyncio.timeout(HANG_SECONDS):
            await outbox.recorded.wait()  # now the endpoint is known to answer quickly
            await store(direct, *map(event, range(1, EVENTS)), now=clock.now())
            dispatcher.notify()
            await outbox.cut.wait()
            await asyncio.to_thread(path.kept.wait)
        for _ in range(1000):
            await asyncio.sleep(0)  # what can be sent without an answer of the outbox is sent
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        path.cut()
        await outbox.close()
    later = clock.now() + timedelta(hours=1)  # the leases have ended
    while leased := await direct.lease("other", later, later + timedelta(minutes=1), 100):
        receiver.sent.update(each.event_id for each in leased)
        await finish(direct, *leased, worker="other", now=later)
    await direct.close()
    assert len(receiver.sent) == EVENTS
    again = sum(1 for times in receiver.sent.values() if times > 1)
    assert 0 < again < AT_ONCE + LEAST
