"""Signatures on their whole way: a sealed outbox in a file, the dispatcher, a socket, a receiver that verifies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cdc.demo.receiver import Received, receiver_app
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import PUBLIC, Signature, new_secret, public_key, signature_of, verify
from cdc.model.change import Position
from cdc.model.endpoint import EndpointChange
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import endpoint, event
from support.http_servers import served
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS

OVERLAP = timedelta(hours=24)


@asynccontextmanager
async def dispatching(store: SqliteOutbox, clock: ManualClock) -> AsyncIterator[None]:
    async with HttpSender(allow_private=True) as sender:
        dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
        running = asyncio.create_task(dispatcher.run())
        yield
        dispatcher.stop()
        await asyncio.wait_for(running, HANG_SECONDS)


def _receivers_key(secret: str) -> str:
    """What the receiver has: the public key, or the secret."""
    return public_key(secret) or secret


def _fits(key: str, received: Received, now: datetime) -> bool:
    """Whether a receiver that has this key believes the request, as far as `webhook-signature` goes."""
    found = verify(key, received.headers, received.body, now)
    return found.verified or (not key.startswith(PUBLIC) and found.reason.startswith("X-Webhook-Signature"))


@pytest.mark.parametrize("kinds", [("v1", "v1"), ("v1a", "v1a"), ("v1", "v1a"), ("v1a", "v1")], ids=" to ".join)
async def test_a_rotation_overlaps_for_a_day(tmp_path: Path, kinds: Sequence[str]) -> None:
    former, present = (new_secret(Signature(kind)) for kind in kinds)
    keys = [_receivers_key(secret) for secret in (former, present)]
    arrived: asyncio.Queue[Received] = asyncio.Queue()
    clock, store = ManualClock(), SqliteOutbox(tmp_path / "cdc.db", box=SecretBox([new_key()]))
    await store.open()

    async def told(number: int) -> list[bool]:
        """Whom the next request convinces: the receiver with the former key, and the one with the present."""
        await store.store("main", Position(str(number)), [event(number)], {}, clock.now())
        async with dispatching(store, clock):
            received = await asyncio.wait_for(arrived.get(), HANG_SECONDS)
        assert received.headers["webhook-id"] == f"evt_{number}"
        return [_fits(key, received, clock.now()) for key in keys]

    async with served(receiver_app(None, arrived.put, clock=clock)) as url:
        await store.add_endpoint(endpoint(url, secret=former))
        assert await told(1) == [True, False]
        change = EndpointChange(secret=present, former_secret_until=START + OVERLAP)
        rotated = await store.change_endpoint("ep_1", change)
        assert signature_of(rotated.secret) == kinds[1]
        assert await told(2) == [True, True]
        clock.advance(OVERLAP.total_seconds() - 1)
        assert await told(3) == [True, True]
        clock.advance(1)
        assert await told(4) == [False, True]
    await store.close()


async def test_a_receiver_with_a_public_key_takes_what_it_signed_and_nothing_else(tmp_path: Path) -> None:
    secret = new_secret(Signature.V1A)
    arrived: asyncio.Queue[Received] = asyncio.Queue()
    clock, store = ManualClock(), SqliteOutbox(tmp_path / "cdc.db", box=SecretBox([new_key()]))
    await store.open()
    key = _receivers_key(secret)
    async with served(receiver_app(key, arrived.put, clock=clock)) as url:
        await store.add_endpoint(endpoint(url, "ep_right", secret=secret))
        await store.add_endpoint(endpoint(url, "ep_wrong", secret=new_secret(Signature.V1A), retry_schedule=()))
        await store.add_endpoint(endpoint(url, "ep_other", secret=new_secret(), retry_schedule=()))
        await store.store("main", Position("1"), [event(1)], {}, clock.now())
        async with dispatching(store, clock):
            answers = [(await asyncio.wait_for(arrived.get(), HANG_SECONDS)).answered for _ in range(3)]
    await store.close()
    assert sorted(answers) == [204, 401, 401]
