"""The position of a logical source: how far of the database's log is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from cdc.database.postgres_lsn import lsn_number, lsn_text
from cdc.errors import SourceError
from cdc.position import Position
from cdc.source.reread import Reread, with_gaps


@dataclass(frozen=True, slots=True)
class HugePart:
    """A huge transaction behind the position's LSN, of which the records up to number ``records`` are stored: as they
    are numbered while these ``tables`` are captured."""

    token: str
    records: int
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogicalPosition:
    """``lsn``: every transaction that committed before it is stored.  ``system``: the server's own identifier; LSNs of
    another one say nothing.  ``blind``: tables of which the log had lost sight, and maybe still has."""

    lsn: int
    system: str
    huge: HugePart | None = None
    rereads: tuple[Reread, ...] = ()
    blind: tuple[str, ...] = ()

    def blind_to(self, tables: Sequence[str]) -> LogicalPosition:
        """The log shows nothing of these tables either."""
        return replace(self, blind=(*self.blind, *(table for table in tables if table not in self.blind)))

    def with_gaps(self, gaps: Mapping[str, str]) -> LogicalPosition:
        """Also read these tables again (table → token of the gap)."""
        return replace(self, rereads=with_gaps(self.rereads, gaps))

    def dump(self) -> Position:
        fields = {
            "lsn": lsn_text(self.lsn),
            "system": self.system,
            "huge": None if self.huge is None else [self.huge.token, self.huge.records, self.huge.tables],
            "rereads": [each.to_json() for each in self.rereads],
            "blind": self.blind,
        }
        return Position(orjson.dumps(fields).decode())

    @staticmethod
    def load(position: Position) -> LogicalPosition:
        try:
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            return LogicalPosition(
                lsn=lsn_number(fields["lsn"]),
                system=fields["system"],
                huge=None if huge is None else HugePart(huge[0], huge[1], tuple(huge[2])),
                rereads=tuple(Reread(*each) for each in fields["rereads"]),
                blind=tuple(fields["blind"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                "The position in the outbox was not written by a source that reads PostgreSQL's log.",
                "If capture was changed on purpose, see docs/operations.md on moving between sources.",
            ) from error
