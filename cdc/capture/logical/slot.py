"""What a replication slot and its publication are like now, and what keeps them from being read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.errors import ObjectInUse

from cdc.capture.postgres_connection import PostgresConnection
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_lsn import lsn_number
from cdc.database.postgres_slot import PLUGIN, PUBLICATION, SlotMemory, slot_name
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged, SourceUnavailable
from cdc.sqlfile import load

#: Seconds in all, and between two tries, to wait until a reader that was disconnected has let go.
_BUSY_SECONDS, _BUSY_PAUSE = 5.0, 0.05


@dataclass(frozen=True, slots=True)
class SlotState:
    """``confirmed``: the LSN up to which the slot's reader has everything.  ``retained``: bytes of log that the server
    keeps for the slot.  ``problem``: why nothing can be read from it, in one clause; empty when it can.  ``memory``:
    what the installer noted (None: no publication of ours).  ``end``: where the log ends now.  ``system``: whose log it
    is.  ``started``: when the server was started, in microseconds since 1970."""

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
    """Whoever reads it is disconnected first.  Raises `SourceUnavailable` when it stays busy."""
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


async def blind_tables(link: PostgresConnection, schema: str, tables: list[str]) -> list[str]:
    """Of these tables, those whose changes are not wholly in the log."""
    parameters = {"schema": schema, "tables": tables, "publication": PUBLICATION}
    return [name for (name,) in await link.query(load("postgres/slot/blind.sql"), parameters)]


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
