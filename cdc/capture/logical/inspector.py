"""The doctor's check of a consumer's position in PostgreSQL's log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.reader import holds
from cdc.capture.logical.replication import PeekStream
from cdc.capture.logical.slot import ANOTHER_HISTORY, SlotState, lost_behind, read_state
from cdc.capture.postgres_connection import PostgresConnection
from cdc.database.postgres_capture import PUBLICATION, lsn_text, slot_name
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError
from cdc.model.finding import Finding, Severity

_WAIT = 0.1


async def position_findings(info: ConnectionInfo, stored: Callable[[], Awaitable[Position | None]]) -> list[Finding]:
    """Check with the consumer's account whether the slot still has everything after the position.  There is another
    check for a slot that cannot be read.

    ``stored``: reads the position.  The order counts while a consumer works: the slot is confirmed up to a stored
    position only, and a stored position is in the log already."""
    async with AsyncExitStack() as at_end:
        link = PostgresConnection(info)
        at_end.push_async_callback(link.close)
        await link.connect()
        before = await read_state(link, slot_name(info.database))
        position = await stored()
        state = await read_state(link, slot_name(info.database))
        if position is None or before.problem or state.problem:
            return []
        stand = LogicalPosition.load(position)
        lost = lost_behind(stand, replace(state, confirmed=before.confirmed))
        if not lost and await _is_another(info, link, stand, state):
            lost = ANOTHER_HISTORY
    if lost:
        detail = f"The replication slot {slot_name(info.database)} {lost}."
        return [Finding("position", Severity.WRONG, detail, 'on_purged = "reread" in the configuration, then cdc run')]
    return [Finding("position", Severity.OK, f"{lsn_text(stand.lsn)}; the log ends at {lsn_text(state.end)}")]


async def _is_another(info: ConnectionInfo, link: PostgresConnection, stand: LogicalPosition, state: SlotState) -> bool:
    """Return whether the log is not the one that was read.  A consumer at work has verified it, and one that starts
    now takes the slot and verifies it."""
    if state.active_pid is not None or not stand.to_verify(state.confirmed, state.started):
        return False
    error: SourceError | None = None
    holding = False
    async with AsyncExitStack() as at_end:
        stream = PeekStream(info, slot_name(info.database), PUBLICATION)
        at_end.push_async_callback(stream.close)
        try:
            await stream.open(0)
            holding = await holds(stream, stand.last, _WAIT, _passed)
        except SourceError as failed:
            error = failed
    now = await read_state(link, slot_name(info.database))
    if now.active_pid is not None or now.confirmed != state.confirmed:
        return False
    if error is not None:
        raise error
    return not holding


async def _passed(_data: bytes) -> None:
    """Do nothing: the messages are not kept."""
