"""The doctor's check of a consumer's position in PostgreSQL's log."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.reader import holds
from cdc.capture.logical.replication import PeekStream
from cdc.capture.logical.slot import ANOTHER_HISTORY, SlotState, lost_behind, read_state
from cdc.capture.postgres_connection import PostgresConnection
from cdc.database.postgres_capture import PUBLICATION, lsn_text, slot_name
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.finding import Finding, Severity

_WAIT = 0.1


async def position_findings(info: ConnectionInfo, position: Position | None) -> list[Finding]:
    """Check with the consumer's account whether the slot still has everything after the position.  There is another
    check for a slot that cannot be read."""
    if position is None:
        return []
    async with AsyncExitStack() as at_end:
        link = PostgresConnection(info)
        at_end.push_async_callback(link.close)
        await link.connect()
        state = await read_state(link, slot_name(info.database))
    if state.problem:
        return []
    stand = LogicalPosition.load(position)
    lost = lost_behind(stand, state)
    if not lost and not await _verified(info, stand, state):
        lost = ANOTHER_HISTORY
    if lost:
        detail = f"The replication slot {slot_name(info.database)} {lost}."
        return [Finding("position", Severity.WRONG, detail, 'on_purged = "reread" in the configuration, then cdc run')]
    return [Finding("position", Severity.OK, f"{lsn_text(stand.lsn)}; the log ends at {lsn_text(state.end)}")]


async def _verified(info: ConnectionInfo, stand: LogicalPosition, state: SlotState) -> bool:
    """Return whether the log is the one that was read.  A consumer at work has verified it."""
    if state.active_pid is not None or not stand.to_verify(state.confirmed, state.started):
        return True
    async with AsyncExitStack() as at_end:
        stream = PeekStream(info, slot_name(info.database), PUBLICATION)
        at_end.push_async_callback(stream.close)
        await stream.open(0)
        return await holds(stream, stand.last, _WAIT, _passed)


async def _passed(_data: bytes) -> None:
    """Do nothing: the messages are not kept."""
