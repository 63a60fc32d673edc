"""Cuts the audit log at its old end, in small writes, for as long as a process serves the page."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from cdc.access.base import AccessStore
from cdc.access.model import AUDIT_KEPT
from cdc.model.clock import Clock
from cdc.model.errors import OutboxError

#: Seconds.
_EVERY: Final = 3_600.0
_BATCH: Final = 500

log = structlog.get_logger()


async def keep_tidy(store: AccessStore, clock: Clock, stop: asyncio.Event, kept: timedelta = AUDIT_KEPT) -> None:
    """Until ``stop``, now and every hour: entries older than ``kept`` go.  A store that fails is asked again then."""
    while not stop.is_set():
        try:
            removed = _BATCH
            while removed == _BATCH and not stop.is_set():
                removed = await store.forget_audit(clock.now() - kept, _BATCH)
        except OutboxError as error:
            log.warning("the audit log was not cut", error=str(error))
        await clock.wait(stop, _EVERY)
