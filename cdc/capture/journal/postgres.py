"""The journal that PostgreSQL triggers write.

Waking: while this consumer is idle it holds an advisory lock exclusively; a trigger that cannot get it shared sends a
NOTIFY with its commit, one that can keeps it until its transaction ends.  So the lock is had only when no transaction
is open that wrote without a NOTIFY, and one look at the journal after that misses nothing.  While there is work,
writers pay for no NOTIFY, which makes a small write half as slow again: the look that a NOTIFY woke gives the lock back
in the same statement, and for a moment after the last row this consumer looks again and again instead.

A transaction's token is its id and the log position of its first change: ids alone could come again after a fail-over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from cdc.capture.journal.database import (
    NO_MARKER,
    JournalPage,
    JournalRow,
    Marker,
    TransactionHead,
    heads_of,
    in_slices,
    unreadable,
)
from cdc.capture.pages import PageRequest
from cdc.capture.postgres_catalogue import decode_unknown
from cdc.capture.postgres_connection import PostgresProbe
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.capture.probe import Backlog
from cdc.database.postgres_capture import JOURNAL_VERSION, LOCK_CLASS, LOCK_IDLE, lsn_number, lsn_text
from cdc.database.sqlfile import load, render
from cdc.model.change import Operation, Position, RowChange
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SourceUnavailable
from cdc.model.image import Image, ImageReader, key_in, refuse

CHANNEL = "cdc"
#: Seconds between two looks while a transaction is open that will not send a NOTIFY, or when none ever will.
_SHORTEST, _LONGEST = 0.002, 0.025
#: For how long after the last row is looked again, and how often (seconds), before writers are to send a NOTIFY.
BUSY, _QUICK = 0.05, 0.003

#: Written by the installer when it repairs triggers that were lost for a while.
GAP = "G"
_OPERATIONS = {
    "I": Operation.CREATE,
    "U": Operation.UPDATE,
    "D": Operation.DELETE,
    "T": Operation.TRUNCATE,
    GAP: Operation.UPDATE,  # what was missed is not known
}
_NOTHING: frozenset[str] = frozenset()
#: Of a table that is not in the database any more.
_UNKNOWN = ImageReader(decode_unknown, (), refuse)


_IDLE_LOCK = {"class": LOCK_CLASS, "idle": LOCK_IDLE}
_GIVE_BACK = "pg_advisory_unlock(%(class)s, %(idle)s)"
_VISIBLE = "xid >= %(floor)s::xid8"
#: Who commits behind this look and still found the lock taken sends a NOTIFY for nothing; the others are looked for.
_VISIBLE_AND_BUSY = f"{_VISIBLE} AND (SELECT {_GIVE_BACK} IS NOT NULL)"


@cache
def _rows_sql(condition: str) -> str:
    return render("postgres/journal/rows.sql", condition=condition)


class PostgresJournal(PostgresLookup):
    """A `cdc.capture.journal.database.JournalDatabase`."""

    def __init__(self, info: ConnectionInfo, captures: Sequence[Capture], lookups: Sequence[Capture] = ()) -> None:
        super().__init__(info, captures, lookups)
        self._idle = False
        self._woken = False  # out of being idle, by the server
        self._busy_until = 0.0
        self._pause = _SHORTEST
        self._markable = False
        self.noted = 0  # `delete` commits asynchronously: what it noted may be lost with the server
        self._floor = self._next_floor = "0"
        #: Transactions that were read over this connection: no fail-over can have come in between.
        self._seen: set[str] = set()

    # -- the connection ---------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._idle = self._woken = False
        self._pause = _SHORTEST
        self._floor = self._next_floor = "0"
        self._seen.clear()
        await super().connect()
        if await self.link.query("SELECT WHERE pg_is_in_recovery()"):
            raise SourceUnavailable(
                f"{self.info.describe()} is on a standby: nothing is written there.", "Connect to the primary server."
            )
        installation = await self.link.query(_sql("installation"))
        version, schema = installation[0] if installation else (0, "")
        if version != JOURNAL_VERSION:
            raise JournalMissing(
                f"The journal in {self.info.describe()} has version {version}, not {JOURNAL_VERSION}.",
                "Run cdc install-triggers of this version.",
            )
        await self.link.query("SELECT FROM cdc.cdc_journal LIMIT 0")  # `JournalMissing`
        await self.link.query(f"LISTEN {CHANNEL}")
        await self.use_schema(schema)

    async def wait(self, seconds: float) -> None:
        if self._idle:
            self._woken = await self.link.input(seconds)
            return
        if time.monotonic() < self._busy_until:
            await self.link.input(min(seconds, _QUICK))
            return
        if self.notified:
            self._idle, self._next_floor = (await self.link.query(_sql("idle"), _IDLE_LOCK))[0]
        if self._idle:
            return  # look once more: what was committed before sent no NOTIFY
        await self.link.input(min(seconds, self._pause))
        self._pause = min(self._pause * 2, _LONGEST)

    # -- the journal ------------------------------------------------------------------------------------------------

    async def peek(self, limit: int) -> list[JournalRow]:
        if self._woken:
            self._idle = self._woken = False
            rows = await self._journal(_VISIBLE_AND_BUSY, {"floor": self._floor, **_IDLE_LOCK}, limit)
        else:
            rows = await self._journal(_VISIBLE, {"floor": self._floor}, limit)
        if not rows:  # entries of deleted rows stay in the index for a while: begin behind them
            self._floor = self._next_floor
        return rows

    async def heads(self, limit: int) -> list[TransactionHead]:
        ((tokens, counts),) = await self.link.query(_sql("heads"), {"floor": self._floor, "limit": limit})
        return heads_of(tokens, counts)

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        xids = _array(_split(token)[0] for token in tokens)
        return await self._journal("xid = ANY (%(xids)s::xid8[])", {"xids": xids}, None)

    async def rows_after(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        parameters = {"xid": _split(token)[0], "lsn": lsn_text(max(ordinal, 0))}
        return await self._journal("xid = %(xid)s::xid8 AND lsn > %(lsn)s::pg_lsn", parameters, limit, token)

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        parameters = {"xid": _split(token)[0], "lsns": _array(map(lsn_text, ordinals))}
        return await self._journal("xid = %(xid)s::xid8 AND lsn = ANY (%(lsns)s::pg_lsn[])", parameters, None, token)

    async def marker(self) -> Marker | None:
        ((self._markable,),) = await self.link.query(_sql("marker_usable"))
        if not self._markable:
            return None
        return Marker(*(await self.link.query("SELECT outbox, batch FROM cdc.cdc_marker"))[0])

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        mark = _sql("set_marker") if self._markable and marker.outbox else ""
        self._pause = _SHORTEST
        self._busy_until = time.monotonic() + BUSY
        if self._idle:
            self._idle = self._woken = False
            await self.link.query(f"SELECT {_GIVE_BACK}", _IDLE_LOCK)
        read = self._seen.intersection(tokens)
        if read:
            xids = _array(_split(token)[0] for token in read)
            await self.link.query(mark + _sql("delete_read"), {"xids": xids, **marker._asdict()})
            self._seen -= read
        if others := [_split(token) for token in tokens if token not in read]:
            firsts = _array(lsn_text(int(first)) for _, first in others)
            parameters = {"xids": _array(xid for xid, _ in others), "lsns": firsts, **marker._asdict()}
            await self.link.query(mark + _sql("delete"), parameters)

    async def _journal(
        self, condition: str, parameters: dict[str, Any], limit: int | None, token: str = ""
    ) -> list[JournalRow]:
        every = {**parameters, "limit": limit, "tables": self.catalogue.oids}
        records = await self.link.query(_rows_sql(condition), every)
        if records and records[0][-1] != self.catalogue.fingerprint:
            await self.read_catalogue()
        return await in_slices(self._journal_rows(records, token))

    def _journal_rows(self, records: Iterable[Sequence[Any]], token: str) -> Iterator[JournalRow]:
        """``token``: of all the records; without it they begin with the first of each transaction."""
        readers = self.catalogue.images
        last = b""
        for xid, lsn, at, table, code, secrets, before, after, _ in records:
            ordinal = int.from_bytes(lsn, "big")
            if xid != last:
                last = xid
                current = token or _token(int.from_bytes(xid, "big"), ordinal)
                self._seen.add(current)
            reader = readers.get(table, _UNKNOWN)
            try:
                old = None if before is None else Image(before, reader)
                new = None if after is None else Image(after, reader)
                key = key_in(old if new is None else new, reader)
                changed = frozenset(secrets) if secrets else _NOTHING
                row = JournalRow(
                    current, RowChange(_OPERATIONS[code], table, key, old, new, at, ordinal, changed), code == GAP
                )
            except MemoryError:  # says nothing of the row: it is read again
                raise
            except Exception as error:  # noqa: BLE001 - whatever a forged row does to its reader: it becomes a gap
                row = unreadable(current, table, at, ordinal, error)
            yield row

    # -- the tables -------------------------------------------------------------------------------------------------

    async def installed(self) -> list[str]:
        return [name for (name,) in await self.link.query("SELECT table_name FROM cdc.cdc_capture")]

    async def definitions(self) -> object:
        return await self.link.query(_sql("definitions"))

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        parameters = {"floor": self._floor, "most": most + 1}
        page, marks = await self.read_page(wanted, "journal/page_marks.sql", parameters)
        if len(marks) > most:
            return None
        return JournalPage(page, frozenset(_token(int(xid), lsn_number(first)) for xid, first in marks))


def _sql(name: str) -> str:
    return load(f"postgres/journal/{name}.sql")


def _token(xid: int, first: int) -> str:
    return f"{xid}.{first}"


def _array(items: Iterable[str]) -> str:
    """Return an array of numbers or places in the log as PostgreSQL reads it: the driver looks at every one for what it
    must quote."""
    return "{" + ",".join(items) + "}"


def _split(token: str) -> tuple[str, str]:
    xid, _, first = token.partition(".")
    return xid, first


class PostgresJournalProbe(PostgresProbe):
    async def ask(self, _position: Position | None, /) -> Backlog:
        ((transactions, seconds),) = await self.query(load("postgres/journal/waiting.sql"))
        return Backlog(max(seconds, 0.0), transactions)
