"""One event to one endpoint, to see whether it works."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta

from cdc.config import Config
from cdc.config.sending import sending
from cdc.model.audit import Note
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt
from cdc.model.event import TESTS, Event
from cdc.outbox.base import DispatchStore
from cdc.outbox.shared import no_endpoint


async def send_test(
    config: Config, store: DispatchStore, endpoint_id: str, event_name: str, note: Note = ()
) -> Attempt:
    """Send one event to this endpoint now, whatever its patterns, and nothing else; the attempt.

    A test that fails is dead at once.  Of one that is interrupted the lease expires: `cdc run` sends it then.  Raises
    `UsageError` when there is no such endpoint, or it is disabled: nothing is sent to it then.
    """
    from cdc.dispatch.attempt import attempt_once
    from cdc.dispatch.dispatcher import LEASE_MARGIN
    from cdc.dispatch.outcome_writer import Finished, disablings

    clock = SystemClock()
    worker = f"{socket.gethostname()}-test-{os.getpid()}"
    endpoint = await store.endpoint(endpoint_id)
    if endpoint is None:
        raise no_endpoint(endpoint_id)
    now = clock.now()
    until = now + timedelta(seconds=endpoint.timeout + LEASE_MARGIN)
    delivery = await store.send_test(endpoint_id, _test_event(event_name, now), worker, now, until, note=note)
    async with sending(config) as sender:
        outcome = await attempt_once(sender, delivery, endpoint, clock)
    ended = clock.now()
    announcements = await disablings(store, [Finished(outcome, endpoint_id)], ended)
    await store.finish(worker, [outcome], ended, announcements)
    return outcome.attempt


def _test_event(name: str, now: datetime) -> Event:
    token = secrets.token_hex(16)
    row = {"test": token, "message": "A test of this endpoint: no record was changed."}
    return Event(
        id=f"evt_{token}",
        name=name,
        source=TESTS,
        table=TESTS,
        record=f"{TESTS}:{token}",
        key={"test": token},
        data=row,
        previous=None,
        time=now,
        transaction=token,
    )
