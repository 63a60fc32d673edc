"""The position of a source that compares: how far each resource was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from cdc.model.change import Position


@dataclass(frozen=True, slots=True)
class ResourceProgress:
    """The progress of one resource.

    ``round``: of the comparison that was begun last; each look at a row until the next has this number, which names
    what was found.  ``known``: it was read whole once; before that there is nothing to compare with.
    ``after``: the key after which the comparison under way continues.  ``newest``: the greatest key of a numbered one.
    """

    round: int = 0
    known: bool = False
    after: bytes | None = None
    newest: bytes | None = None


@dataclass(frozen=True, slots=True)
class RestPosition:
    """``progress``: by table.  ``refused``: when the API refused calls, seconds since 1970, as version 0.1 wrote it."""

    progress: Mapping[str, ResourceProgress] = field(default_factory=dict)
    refused: tuple[float, ...] = ()

    def of(self, table: str) -> ResourceProgress:
        return self.progress.get(table, ResourceProgress())

    def with_progress(self, table: str, progress: ResourceProgress) -> RestPosition:
        return replace(self, progress={**self.progress, table: progress})

    def without(self, table: str) -> RestPosition:
        return replace(self, progress={name: each for name, each in self.progress.items() if name != table})

    def dump(self) -> Position:
        rest = {
            table: [each.round, each.known, _hex(each.after), _hex(each.newest)]
            for table, each in self.progress.items()
        }
        return Position(orjson.dumps({"rest": rest}).decode())

    @classmethod
    def load(cls, position: Position | None) -> RestPosition | None:
        """Load a position; None when another kind of source wrote it."""
        if position is not None and not position.startswith('{"rest":'):
            return None
        fields: dict[str, Any] = {"rest": {}} if position is None else orjson.loads(position)
        progress = {
            table: ResourceProgress(number, known, _bytes(after), _bytes(newest))
            for table, (number, known, after, newest) in fields["rest"].items()
        }
        return cls(progress, tuple(fields.get("refused", ())))


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
