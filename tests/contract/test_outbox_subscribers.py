"""Each process stores with the present endpoints, also after another process changed them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cdc.model.endpoint import EndpointChange
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, endpoint, event, store

Process = Callable[[], Awaitable[OutboxStore]]


@pytest.fixture(params=["sqlite", "postgresql"])
async def process(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Process]:
    """Opens the same outbox once more, as another process has it."""
    opened: list[OutboxStore] = []

    async def another() -> OutboxStore:
        if request.param == "postgresql":
            opened.append(PostgresOutbox(request.getfixturevalue("postgres_outbox_db").info))
        else:
            opened.append(SqliteOutbox(tmp_path / "outbox.db"))
        await opened[-1].open()
        return opened[-1]

    yield another
    for each in opened:
        await each.close()


async def test_a_store_follows_what_another_process_changed(process: Process) -> None:
    relay, manager = await process(), await process()
    await manager.add_endpoint(endpoint("ep_a"))
    assert (await store(relay, event(1))).deliveries == 1
    await manager.add_endpoint(endpoint("ep_b", sources=("main",)))
    assert (await store(relay, event(2))).deliveries == 2
    await manager.change_endpoint("ep_b", EndpointChange(events=("stock.*",)))
    assert (await store(relay, event(3))).deliveries == 1
    await manager.change_endpoint("ep_a", EndpointChange(condition="data.total > 1000"))
    assert (await store(relay, event(4))).deliveries == 0
    await manager.change_endpoint("ep_b", EndpointChange(events=("*",), sources=("other",)))
    assert (await store(relay, event(5))).deliveries == 0
    await manager.remove_endpoint("ep_a", NOW)
    await manager.change_endpoint("ep_b", EndpointChange(sources=()))
    assert (await store(relay, event(6))).deliveries == 1
    assert (await store(await process(), event(7))).deliveries == 1, "after a restart"


async def test_only_changed_endpoints_are_decoded_again(process: Process) -> None:
    reader, manager = await process(), await process()
    for name in ("ep_a", "ep_b", "ep_c"):
        await manager.add_endpoint(endpoint(name))
    first = await reader.endpoints()
    again = await reader.endpoints()
    assert [each is one for each, one in zip(again, first, strict=True)] == [True, True, True]
    await manager.change_endpoint("ep_b", EndpointChange(secret="whsec_b3RoZXI="))
    changed = await reader.endpoints()
    assert [each is one for each, one in zip(changed, first, strict=True)] == [True, False, True]
    assert changed == await manager.endpoints()
    await manager.remove_endpoint("ep_a", NOW)
    assert await reader.endpoints() == changed[1:]
