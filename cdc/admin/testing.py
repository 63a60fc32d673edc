"""One event to one endpoint, to see whether it works: an example of a real one, or a short greeting."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cdc.config import Config
from cdc.config.sending import sending
from cdc.model.audit import Note
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt
from cdc.model.event import TESTS, Event
from cdc.outbox.base import DispatchStore
from cdc.outbox.shared import no_endpoint

#: The event that is sent when no other is chosen: no record's.
GREETING: Final = "endpoint.test"


async def send_test(
    config: Config,
    store: DispatchStore,
    endpoint_id: str,
    event_name: str,
    note: Note = (),
    *,
    example: Mapping[str, Any] | None = None,
) -> Attempt:
    """Send one event to this endpoint now, whatever its patterns, and nothing else; the attempt.

    ``example``: a payload of this event; None for the greeting.  A test that fails is cancelled.  Of one that is
    interrupted the lease expires: `cdc run` sends it then.  Raises `UsageError` when there is no such endpoint, or it
    is disabled: nothing is sent to it then.
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
    delivery = await store.send_test(
        endpoint_id, _test_event(event_name, now, example or {}), worker, now, until, note=note
    )
    async with sending(config) as sender:
        outcome = await attempt_once(sender, delivery, endpoint, clock)
    ended = clock.now()
    announcements = await disablings(store, [Finished(outcome, endpoint_id)], ended)
    await store.finish(worker, [outcome], ended, announcements)
    return outcome.attempt


def _test_event(name: str, now: datetime, example: Mapping[str, Any]) -> Event:
    token = secrets.token_hex(16)
    greeting = {"test": token, "message": "A test of this endpoint: no record was changed."}
    return Event(
        id=f"evt_{token}",
        name=name,
        source=TESTS,
        table=TESTS,
        record=f"{TESTS}:{token}",
        key=example.get("key", {"test": token}),
        data=example.get("data", greeting),
        previous=example.get("previous"),
        time=now,
        transaction=token,
        inferred=example.get("inferred", False),
    )
