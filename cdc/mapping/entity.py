"""Entities: what events call the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cdc.mapping.place import FilePlace

#: Events that every entity has, beside its transitions: name → when it fires.
ROW_EVENTS: dict[str, str] = {
    "created": "a row is inserted",
    "updated": "a row is changed in more than noise columns",
    "deleted": "a row is deleted, by itself or by a foreign key's cascade",
    "read": "an existing row is read again after a gap in the capture; only for endpoints that write the event out",
    "existing": "a row that was there already, sent by `cdc backfill`; only for who names the event",
    "truncated": "the whole table is emptied at once (TRUNCATE); key and data are empty",
}


#: The kind of child whose changes change the document itself; a receipt has events of its own.
LINES: Final = "lines"


@dataclass(frozen=True, slots=True)
class Child:
    """Rows that belong to an entity's row: ``column`` of ``table`` holds the entity's key."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Entity:
    """``children``: what can be included, by name (``lines``, ``receipts``); ``include``: what is."""

    name: str
    table: str
    title: str
    place: FilePlace
    children: Mapping[str, Child] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Reference:
    """A table and columns that a file names, to be checked against a real database; ``what`` goes without them."""

    table: str
    columns: tuple[str, ...]
    what: str
    place: FilePlace
