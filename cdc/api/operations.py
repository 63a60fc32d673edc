"""Every operation of the API."""

from __future__ import annotations

from cdc.api import backfills, deliveries, endpoints, events, replays, sources
from cdc.api.operation import ApiOperation

OPERATIONS: tuple[ApiOperation, ...] = (
    *endpoints.OPERATIONS,
    *events.OPERATIONS,
    *deliveries.OPERATIONS,
    *replays.OPERATIONS,
    *backfills.OPERATIONS,
    *sources.OPERATIONS,
)
