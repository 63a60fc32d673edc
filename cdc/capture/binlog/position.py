"""The position of a binlog source, as the outbox keeps it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import Version
from cdc.capture.reread import Reread
from cdc.model.errors import SourceError
from cdc.model.position import Position


@dataclass(frozen=True, slots=True)
class LogTransactionPart:
    """The first transaction behind the position is a huge one, of which the records up to number ``records`` are
    stored."""

    token: str
    records: int


@dataclass(frozen=True, slots=True)
class BinlogPosition:
    """``log``: everything before it is stored.  ``server``: whose files its file and offset are good for.
    ``schema``: `Version.dump` of what the captured tables are like there.  ``captured``: the tables that were captured
    up to there, also those that the database does not have."""

    log: LogPosition
    server: str
    schema: str
    captured: tuple[str, ...]
    rereads: tuple[Reread, ...] = ()
    huge: LogTransactionPart | None = None

    def dump(self) -> Position:
        fields = {
            "log": list(self.log),
            "server": self.server,
            "captured": self.captured,
            "schema": self.schema,
            "rereads": [each.to_json() for each in self.rereads],
            "huge": None if self.huge is None else [self.huge.token, self.huge.records],
        }
        return Position(orjson.dumps(fields).decode())

    @property
    def version(self) -> Version:
        return Version.load(self.schema)

    @staticmethod
    def load(position: Position) -> BinlogPosition:
        try:
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            loaded = BinlogPosition(
                LogPosition(*fields["log"]),
                fields["server"],
                fields["schema"],
                tuple(fields["captured"]),
                tuple(Reread(*each) for each in fields["rereads"]),
                None if huge is None else LogTransactionPart(*huge),
            )
            Version.load(loaded.schema)
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise SourceError(
                "The position in the outbox was not written by a binlog source.",
                "If capture was changed on purpose, see docs/sources.md on moving between sources.",
            ) from error
        return loaded
