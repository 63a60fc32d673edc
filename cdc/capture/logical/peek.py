"""A slot read by SQL functions, where the server grants no replication connection (a pooler in between, a host's
rules).

The slot is looked at and not moved; it is moved only to what is stored.  Each look makes the server decode its log from
there again, so this costs more than a replication connection and is slower by the pause between two looks.
"""

from __future__ import annotations

import asyncio

from cdc.capture.postgres_connection import PostgresConnection
from cdc.database.postgres_capture import lsn_number, lsn_text
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged
from cdc.sqlfile import load, render

#: Seconds between two looks at a log that does not grow: doubled from the one to the other.
_SHORTEST, _LONGEST = 0.02, 0.25
#: Bytes of log that are decoded in one look.
_STRETCH = 256 << 20
#: Messages fetched at a time.
_PAGE = 500
#: Seconds that decoding one chunk may take.
_PATIENCE = 3600.0


class PeekStream:
    """A `cdc.capture.logical.reader.LogStream`."""

    def __init__(self, info: ConnectionInfo, slot: str, publication: str) -> None:
        self._link = PostgresConnection(info)
        self._slot = slot
        self._publication = publication
        self._fetched: list[bytes] = []
        self._peeking = False
        self._upto = 0
        self._confirmed = 0
        self._pause = _SHORTEST
        self.progress = 0

    async def open(self, start: int) -> None:
        await self._link.connect()
        for statement in load("postgres/slot/session.sql").split(";"):
            await self._link.query(statement)
        self._fetched, self._peeking, self._pause = [], False, _SHORTEST
        self._upto = self.progress = 0
        await self._ends()
        await self.confirm(start)

    def take(self) -> bytes | None:
        return self._fetched.pop() if self._fetched else None

    async def wait(self, seconds: float) -> None:
        if self._peeking or await self._peek(seconds):
            records = await self._link.query(f"FETCH {_PAGE} FROM cdc_peek")
            self._fetched = [data for (data,) in reversed(records)]
            if not records:
                await self._link.query("CLOSE cdc_peek")
                self._peeking = False
                self.progress = self._upto

    async def _peek(self, seconds: float) -> bool:
        """Begin to look at what was logged since; False when nothing was."""
        end = await self._ends()
        if end <= self._upto:
            await asyncio.sleep(min(seconds, self._pause))  # functions give no sign of anything new
            self._pause = min(self._pause * 2, _LONGEST)
            return False
        self._pause = _SHORTEST
        self._upto = min(end, max(self._upto, self._confirmed) + _STRETCH)
        sql = render(
            "postgres/slot/peek.sql",
            slot=f"'{self._slot}'",
            upto=f"'{lsn_text(self._upto)}'",
            publication=f"'\"{self._publication}\"'",
        )
        await self._link.query(sql, seconds=_PATIENCE)
        self._peeking = True
        return True

    async def _ends(self) -> int:
        end, confirmed = (await self._link.query(load("postgres/slot/ends.sql"), [self._slot]))[0]
        if confirmed is None:
            raise LogPurged(f"There is no replication slot {self._slot} any more.", "Run cdc install-slot.")
        self._confirmed = lsn_number(confirmed)
        return lsn_number(end)

    async def confirm(self, lsn: int) -> None:
        if lsn > self._confirmed:
            await self._link.query(
                "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", [self._slot, lsn_text(lsn)], seconds=_PATIENCE
            )
            self._confirmed = lsn

    async def close(self) -> None:
        await self._link.close()
