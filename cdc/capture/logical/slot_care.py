"""A slot before and beside its reading: made again where it is lost, dropped on purpose before it fills the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.slot import SlotState, drop_slot, read_state
from cdc.capture.postgres_connection import PostgresConnection
from cdc.database.postgres_lsn import lsn_text
from cdc.database.postgres_slot import slot_name
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, LogPurged, SourceError

#: Makes publication and slot again where they are lost; raises a `CdcError` when it may not or cannot.
Renew = Callable[[], Awaitable[None]]

#: Of a slot whose log is not the one that was read, as a predicate.
ANOTHER_HISTORY = (
    "does not hold the last transaction that was read: the server was put back to an older copy, or an earlier moment"
)

log = structlog.get_logger()


class SlotCare:
    """``limit``: bytes of log that the server may keep for the slot (0: as much as there is).  ``again``: whether a
    lost slot is to be made again."""

    def __init__(
        self, source: str, info: ConnectionInfo, link: PostgresConnection, renew: Renew, limit: int, *, again: bool
    ) -> None:
        self._source = source
        self._info = info
        self._link = link
        self._renew = renew
        self._limit = limit
        self._again = again
        self._slot = slot_name(info.database)

    async def usable(self) -> SlotState:
        """Raises `LogPurged` when there is no slot that can be read."""
        state = await self._state()
        if not state.problem and self._too_far(state):
            await self._drop(state)
            state = await self._state()
        if state.problem and self._again:
            log.warning("slot lost", source=self._source, reason=state.problem, action="making it again")
            try:
                await self._renew()
            except CdcError as error:
                log.error("slot not made", source=self._source, error=str(error))
            state = await self._state()
        if state.problem:
            raise LogPurged(
                f"{self._info.describe()} cannot be read: {state.problem}.",
                "Run cdc install-slot.  What was committed without a slot is lost; with on_purged = "
                '"reread" all captured tables are then read as they are.',
            )
        return state

    async def watch(self, pause: timedelta) -> None:
        """Until cancelled.  When the outbox is stuck nobody reads, and it is then that a slot fills a disk."""
        while self._limit:
            await asyncio.sleep(pause.total_seconds())
            try:
                state = await self._state()
                if not state.problem and self._too_far(state):
                    await self._drop(state)
            except SourceError as error:
                log.warning("slot not watched", source=self._source, error=str(error))
                return

    async def _state(self) -> SlotState:
        return await read_state(self._link, self._slot)

    def _too_far(self, state: SlotState) -> bool:
        return 0 < self._limit < state.retained

    async def _drop(self, state: SlotState) -> None:
        await drop_slot(self._link, self._slot)
        log.error(
            "slot dropped on purpose",
            source=self._source,
            slot=self._slot,
            retained=state.retained,
            limit=self._limit,
            action="cdc install-slot makes a new one; what was not read is lost",
        )


def lost_behind(given: LogicalPosition, state: SlotState) -> str:
    """What the slot does not have behind the position, as a predicate; empty when it has everything."""
    if given.system != state.system:
        return "is on another server than the one that was read so far"
    if given.lsn > state.end:
        return f"is on a server whose log ends at {lsn_text(state.end)}, before {lsn_text(given.lsn)}: it was set back"
    if given.lsn < state.confirmed:
        return f"does not have what was committed between {lsn_text(given.lsn)} and {lsn_text(state.confirmed)}"
    return ""
