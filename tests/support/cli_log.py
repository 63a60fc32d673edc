"""A log of a few days for tests of the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from click.testing import Result

from cdc.config import load_config
from cdc.model.delivery import DeliveryState
from cdc.outbox.store import OutboxStore
from cdc.runtime.outboxes import open_outbox
from support.outboxes import endpoint, event, finish, lease, store

T = TypeVar("T")
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def on_outbox(folder: Path, work: Callable[[OutboxStore], Awaitable[T]]) -> T:
    async def call() -> T:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        try:
            return await work(outbox)
        finally:
            await outbox.close()

    return asyncio.run(call())


async def fill(outbox: OutboxStore) -> None:
    """Events 1 to 4 of four days, delivered to ep_a but for a dead letter (2); ep_new comes after them."""
    await outbox.add_endpoint(endpoint("ep_a"))
    events = [event(number, time=NOW - (5 - number) * DAY, name="invoice.paid") for number in range(1, 5)]
    await store(outbox, *events, now=NOW)
    leased = await lease(outbox, NOW)
    await finish(outbox, leased[1], state=DeliveryState.DEAD, now=NOW)
    await finish(outbox, leased[0], *leased[2:], now=NOW)
    await outbox.add_endpoint(endpoint("ep_new"))


def states(run_cdc: Callable[..., Result], *options: str) -> dict[str, str]:
    listed = json.loads(run_cdc("delivery", "list", "--json", *options).stdout)["deliveries"]
    return {each["event_id"]: each["state"] for each in listed}
