"""What PostgreSQL's plugin pgoutput says, message by message (protocol version 1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Unchanged(Enum):
    """A value stored out of line that the change did not touch: the log does not repeat it."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
#: One column of a row: its text, NULL, or not repeated.
Cell = str | Unchanged | None
Cells = list[Cell]


@dataclass(frozen=True, slots=True)
class Begin:
    """``lsn``: of the commit; ``time``: of the commit, UTC."""

    lsn: int
    time: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """``end``: behind the commit, where reading goes on."""

    lsn: int
    end: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it is from here on."""

    oid: int
    schema: str
    table: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    relation: int
    new: Cells


@dataclass(frozen=True, slots=True)
class Update:
    """``old``: the whole row before, or (``key_only``) nothing but its replica identity; None when that is
    unchanged."""

    relation: int
    old: Cells | None
    key_only: bool
    new: Cells


@dataclass(frozen=True, slots=True)
class Delete:
    relation: int
    old: Cells
    key_only: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    relations: tuple[int, ...]


Change = Insert | Update | Delete | Truncate
Message = Begin | Commit | Relation | Change
