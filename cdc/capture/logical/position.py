"""The position of a logical source: how far of the database's log is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from cdc.capture.base import HugePart, SourcePosition, rereads_of, written_by
from cdc.database.postgres_capture import lsn_number, lsn_text
from cdc.model.change import Position


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """The last stored transaction: its number, the LSN and the time of its commit (microseconds since 1970).  All three
    together are found in the history that was read and in no other one.  Without a number: none was stored, nothing
    before the LSN will be, and everything after it will."""

    xid: int
    lsn: int
    micros: int


@dataclass(frozen=True, slots=True)
class LogicalPosition(SourcePosition):
    """The position of a source that reads PostgreSQL's log.  ``lsn``: every transaction that committed before it is
    stored.  ``system``: the server's own identifier; LSNs of another one say nothing.  ``blind``: tables of which
    the log had lost sight, and maybe still has.  ``stored``: None where earlier versions wrote the position.
    ``started``: the start of the server (microseconds since 1970) whose log is known to be the one that was read; 0:
    of none.  ``published``: names the publication's options, and changes whenever they are set; empty: not known."""

    lsn: int
    system: str
    blind: tuple[str, ...] = ()
    stored: StoredCommit | None = None
    started: int = 0
    published: str = ""

    @property
    def last(self) -> StoredCommit:
        """The last stored transaction, after which nothing is stored."""
        return self.stored or StoredCommit(0, self.lsn - 1, 0)

    def to_verify(self, confirmed: int, started: int) -> bool:
        """Return whether the last stored transaction must be found in the log, of a slot that is at ``confirmed`` on a
        server that was ``started`` then.

        A server that was started since may have its slot before that transaction: it seldom writes to disk how far its
        slots are, and a crash puts them back.  So does an older copy of the server in its place; in its log another
        transaction is there, or none.
        """
        return self.last.xid != 0 and self.last.lsn >= confirmed and self.started != started

    def blind_to(self, tables: Sequence[str]) -> LogicalPosition:
        """The log shows nothing of these tables either."""
        return replace(self, blind=(*self.blind, *(table for table in tables if table not in self.blind)))

    def dump(self) -> Position:
        fields = {
            "lsn": lsn_text(self.lsn),
            "system": self.system,
            "huge": None if self.huge is None else [self.huge.token, self.huge.records, self.huge.tables],
            "rereads": [each.to_json() for each in self.rereads],
            "blind": self.blind,
            "published": self.published,
        }
        if self.stored is not None:
            fields["stored"] = [self.stored.xid, lsn_text(self.stored.lsn), self.stored.micros, self.started]
        return Position(orjson.dumps(fields).decode())

    @staticmethod
    def load(position: Position) -> LogicalPosition:
        with written_by("a source that reads PostgreSQL's log"):
            fields: dict[str, Any] = orjson.loads(position)
            huge, stored = fields["huge"], fields.get("stored")
            return LogicalPosition(
                lsn=lsn_number(fields["lsn"]),
                system=fields["system"],
                blind=tuple(fields["blind"]),
                stored=None if stored is None else StoredCommit(stored[0], lsn_number(stored[1]), stored[2]),
                started=0 if stored is None else stored[3],
                published=fields.get("published", ""),
                huge=None if huge is None else HugePart(huge[0], huge[1], tuple(huge[2])),
                rereads=rereads_of(fields["rereads"]),
            )
