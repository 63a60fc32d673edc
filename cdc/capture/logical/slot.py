"""The state of a replication slot and its publication, the reasons why they cannot be read, and the doctor's check of a
consumer's position.  A lost slot is created again; one that is about to fill the disk is dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import structlog
from psycopg.errors import ObjectInUse

from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.replication import PeekStream, holds
from cdc.capture.postgres_connection import PostgresConnection
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_capture import PLUGIN, PUBLICATION, SlotMemory, flaws, lsn_number, lsn_text, slot_name
from cdc.database.sqlfile import load, render
from cdc.model.change import Position
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, LogPurged, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity

#: Seconds in all, and between two tries, to wait until a reader that was disconnected has let go.
_BUSY_SECONDS, _BUSY_PAUSE = 5.0, 0.05


@dataclass(frozen=True, slots=True)
class SlotState:
    """The state of a slot and its publication.  ``confirmed``: the LSN up to which the slot's reader has everything.
    ``retained``: bytes of log that the server keeps for the slot.  ``problem``: why nothing can be read from it, in
    one clause; empty when it can.  ``memory``: what the installer noted (None: no publication of ours).  ``end``:
    where the log ends now.  ``system``: whose log it is.  ``started``: when the server was started, in microseconds
    since 1970."""

    confirmed: int
    retained: int
    active_pid: int | None
    problem: str
    memory: SlotMemory | None
    end: int
    system: str
    started: int


async def read_state(link: PostgresConnection, slot: str) -> SlotState:
    sql = load("postgres/slot/state.sql")
    record = (await link.query(sql, {"slot": slot, "publication": PUBLICATION}))[0]
    exists, plugin, ours, active_pid, invalid, confirmed, retained, published, comment, end, system, started = record
    if end is None:
        raise SourceUnavailable("The server is a standby: nothing is written here.", "Connect to the primary server.")
    memory = SlotMemory.load(comment)
    problem = ""
    if not exists:
        problem = f"there is no replication slot {slot}"
    elif plugin != PLUGIN or not ours:
        problem = f"the replication slot {slot} is another program's"
    elif invalid:
        problem = f"the server has given up the replication slot {slot} ({invalid})"
    elif not published or memory is None:
        problem = f"there is no publication {PUBLICATION} of this product's"
    return SlotState(
        confirmed=0 if confirmed is None else lsn_number(confirmed),
        retained=retained or 0,
        active_pid=active_pid,
        problem=problem,
        memory=memory,
        end=lsn_number(end),
        system=system,
        started=started,
    )


async def drop_slot(link: PostgresConnection, slot: str) -> None:
    """Drop the slot; its reader is disconnected first.  Raises `SourceUnavailable` when it stays busy."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        await link.query(load("postgres/slot/disconnect_reader.sql"), [slot])
        try:
            await link.query("SELECT pg_drop_replication_slot(%s)", [slot])
        except SourceUnavailable as error:
            if not isinstance(error.__cause__, ObjectInUse) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_BUSY_PAUSE)  # the server gives no sign when the slot is free
        else:
            return


class SlotDatabase(PostgresLookup):
    """A `cdc.capture.base.SourceDatabase`, whose tables are installed when publication and slot have them."""

    async def installed(self) -> Collection[str]:
        memory = (await read_state(self.link, slot_name(self.info.database))).memory
        return () if memory is None else memory.identities.keys()


class Publishing(NamedTuple):
    """The way in which a table is published.  ``flaws``: why its changes are not whole in the log's messages, in words;
    none when they are.  ``options``: others whenever options of the publication are set; ``entry``: when the table's
    entry in it changes."""

    flaws: tuple[str, ...]
    options: str
    entry: str


async def publishing(link: PostgresConnection, schema: str, tables: list[str]) -> dict[str, Publishing]:
    """Return those of the tables that exist."""
    parameters = {"schema": schema, "tables": tables, "publication": PUBLICATION}
    found = await link.query(render("postgres/slot/tables.sql", **flaws()), parameters)
    return {name: Publishing(tuple(why), options, entry) for name, why, options, entry in found}


async def captured_tables(info: ConnectionInfo, captures: Sequence[Capture]) -> dict[str, Table]:
    """The captured tables as the database has them now."""
    lookup = PostgresLookup(info, captures)
    await lookup.connect()
    try:
        state = await read_state(lookup.link, slot_name(info.database))
        if state.memory is None:
            raise LogPurged(f"{info.describe()} has no publication of this product's.", "Run cdc install-slot.")
        await lookup.use_schema(state.memory.schema)
        return await lookup.tables()
    finally:
        await lookup.disconnect()


#: Makes publication and slot again where they are lost; raises a `CdcError` when it may not or cannot.
Renew = Callable[[], Awaitable[None]]

#: Of a slot whose log is not the one that was read, as a predicate.
ANOTHER_HISTORY = (
    "does not hold the last transaction that was read: the server was put back to an older copy, or an earlier moment"
)

log = structlog.get_logger()


class SlotCare:
    """Watches a slot, and makes it again.  ``limit``: bytes of log that the server may keep for the slot (0: as much
    as there is).  ``again``: whether a lost slot is to be made again."""

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
        """Return the state of a slot that can be read.  Raises `LogPurged` when there is none."""
        state = await self._within_limit()
        if state.problem and self._again:
            log.warning("slot lost", source=self._source, reason=state.problem, action="making it again")
            try:
                await self._renew()
            except CdcError as error:
                log.error("slot not made", source=self._source, error=str(error))
            state = await read_state(self._link, self._slot)
        if state.problem:
            raise LogPurged(
                f"{self._info.describe()} cannot be read: {state.problem}.",
                "Run cdc install-slot.  What was committed without a slot is lost; with on_purged = "
                '"reread" all captured tables are then read as they are.',
            )
        return state

    async def watch(self, pause: timedelta) -> None:
        """Watch the slot until cancelled.  When the outbox is stuck nobody reads, and it is then that a slot fills a
        disk."""
        while self._limit:
            await asyncio.sleep(pause.total_seconds())
            try:
                await self._within_limit()
            except SourceError as error:
                log.warning("slot not watched", source=self._source, error=str(error))
                return

    async def _within_limit(self) -> SlotState:
        """Return the slot's state; a slot for which the server retains more log than the limit is dropped before."""
        state = await read_state(self._link, self._slot)
        if state.problem or not 0 < self._limit < state.retained:
            return state
        await drop_slot(self._link, self._slot)
        log.error(
            "slot dropped on purpose",
            source=self._source,
            slot=self._slot,
            retained=state.retained,
            limit=self._limit,
            action="cdc install-slot makes a new one; what was not read is lost",
        )
        return await read_state(self._link, self._slot)


def lost_after(given: LogicalPosition, state: SlotState) -> str:
    """Return what the slot lacks after the position, as a predicate; empty when it has everything."""
    if given.system != state.system:
        return "is on another server than the one that was read so far"
    if given.lsn > state.end:
        return f"is on a server whose log ends at {lsn_text(state.end)}, before {lsn_text(given.lsn)}: it was set back"
    if given.lsn < state.confirmed:
        return f"does not have what was committed between {lsn_text(given.lsn)} and {lsn_text(state.confirmed)}"
    return ""


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
        lost = lost_after(stand, replace(state, confirmed=before.confirmed))
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
            holding = await holds(stream, stand.last, _WAIT)
        except SourceError as failed:
            error = failed
    now = await read_state(link, slot_name(info.database))
    if now.active_pid is not None or now.confirmed != state.confirmed:
        return False
    if error is not None:
        raise error
    return not holding
