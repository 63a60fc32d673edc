"""The position of a binlog source, as the outbox keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import Version
from cdc.capture.position import HugePart, SourcePosition, rereads_of, written_by
from cdc.model.change import Position


@dataclass(frozen=True, slots=True)
class BinlogPosition(SourcePosition):
    """``log``: everything before it is stored.  ``server``: whose files its file and offset are good for.
    ``schema``: `Version.dump` of what the captured tables are like there.  ``captured``: the tables that were captured
    up to there, also those that the database does not have."""

    log: LogPosition
    server: str
    schema: str
    captured: tuple[str, ...]

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
        with written_by("a binlog source"):
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            loaded = BinlogPosition(
                LogPosition(*fields["log"]),
                fields["server"],
                fields["schema"],
                tuple(fields["captured"]),
                rereads=rereads_of(fields["rereads"]),
                huge=None if huge is None else HugePart(*huge),
            )
            Version.load(loaded.schema)
        return loaded
