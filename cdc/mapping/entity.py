"""Entities: what events call the rows of a table.  A plugin's table is one because its name matches a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cdc.model.change import Row, Value
from cdc.model.event import Label, matches
from cdc.model.toml_lines import FilePlace

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
#: What ``previous`` has instead of many former lines.
LINES_CHANGED: Final = "lines_changed"


#: FacturaScripts' table of documents that were made from others, a row for each line: ``iddoc1`` of ``model1`` became
#: ``iddoc2`` of ``model2``.
TRANSFORMATIONS: Final = "doctransformations"
#: Related records: a payment's invoice, and the documents before and after a document.
INVOICE: Final = "invoice"
ORIGIN: Final = "origin"
#: The way from a row to a record: a column of the row and the table whose key it holds; a column of the row found there
#: and its table; and so on.
Path = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Child:
    """Rows that belong to an entity's row: ``column`` of ``table`` holds the entity's key.  ``model``: a column and its
    value, in a table that holds rows of several entities."""

    table: str
    column: str
    model: tuple[str, str] | None = None

    def owner_of(self, row: Row) -> Value:
        """Return the key of the entity's row; None where the row belongs to another entity."""
        if self.model is not None and row.get(self.model[0]) != self.model[1]:
            return None
        return row.get(self.column)


def linked(row: Row, side: str, documents: Mapping[str, str]) -> tuple[str, Value] | None:
    """Return table and key of the document on one side (``1``, ``2``) of a row of `TRANSFORMATIONS`; None where its
    model is none of ``documents`` (model → table)."""
    table = documents.get(str(row.get(f"model{side}")))
    return None if table is None else (table, row.get(f"iddoc{side}"))


@dataclass(frozen=True, slots=True)
class Entity:
    """``children``: rows that can be included, by name (``lines``, ``receipts``); ``paths``: records, likewise
    (``customer``); ``document``: its model in `TRANSFORMATIONS`, by which `ORIGIN` can be included.  ``include``: what
    events have of these.

    ``page``: FacturaScripts' page of a record, with columns in braces."""

    name: str
    table: str
    title: str
    place: FilePlace
    children: Mapping[str, Child] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    enabled: bool = True
    label: Label = field(default_factory=Label)
    paths: Mapping[str, Path] = field(default_factory=dict)
    document: str = ""
    page: str = ""

    def offers(self, kind: str) -> bool:
        """Return whether this can be included."""
        return kind in self.children or kind in self.paths or (kind == ORIGIN and bool(self.document))

    @property
    def included(self) -> Mapping[str, Child]:
        return {kind: self.children[kind] for kind in self.include if kind in self.children}

    @property
    def origin(self) -> tuple[Child, ...]:
        """The rows of `TRANSFORMATIONS` that lead to the documents before and after, where they are included."""
        if ORIGIN not in self.include:
            return ()
        return tuple(Child(TRANSFORMATIONS, f"iddoc{side}", (f"model{side}", self.document)) for side in "21")


@dataclass(frozen=True, slots=True)
class Reference:
    """A table and columns that a file names, to be checked against a real database; ``what`` goes without them."""

    table: str
    columns: tuple[str, ...]
    what: str
    place: FilePlace


#: What an entity that is named by its table may be called.
TABLE_NAME = re.compile(r"[a-z0-9_]+\Z")


@dataclass(frozen=True, slots=True)
class TablePatterns:
    """``patterns``: of table names, ``*`` for any characters, with their places.  ``excluded``: tables that no pattern
    means.  ``entities``: table → the entity that it is already, switched off or not.  ``names``: table → what its
    entity is called, where that is not the table's name."""

    patterns: Mapping[str, FilePlace] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    entities: Mapping[str, Entity] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def entity(self, table: str) -> Entity | None:
        """The entity of a table that a pattern means; None for a table that none does."""
        pattern = self.pattern_of(table)
        if pattern is None or self.refusal(table):
            return None
        name = self.names.get(table, table)
        return Entity(name, table, f"row of {table}", self.patterns[pattern])

    def pattern_of(self, table: str) -> str | None:
        """The first that its name matches."""
        return next((pattern for pattern in self.patterns if matches(table, [pattern])), None)

    def refusal(self, table: str) -> str:
        """Return the reason why no pattern may match this table, as the end of a sentence; empty: one may."""
        if table in self.entities:
            return f"it is the entity {self.entities[table].name} already"
        excluded = next((pattern for pattern in self.excluded if matches(table, [pattern])), None)
        if excluded is not None:
            return f"excluded ({excluded}); name it in full to capture it all the same"
        name = self.names.get(table, table)
        if not TABLE_NAME.match(name):
            return f'its name cannot be that of an event; give it one: [entity.your_name] with table = "{table}"'
        if any(entity.name == name for entity in self.entities.values()):
            return f'{name} is another table\'s entity; give it a name: [entity.your_name] with table = "{table}"'
        return ""

    def may_name(self, event: str) -> bool:
        """Return whether a pattern of event names may mean an event of a table that matches."""
        entity, _, what = event.rpartition(".")
        if not any(matches(name, [what or event]) for name in ROW_EVENTS):
            return False
        return any(_may_both(entity or event, pattern) for pattern in self.patterns)


def _may_both(one: str, other: str) -> bool:
    """Return whether a text may match both patterns."""
    seen: set[tuple[int, int]] = set()
    left = [(0, 0)]
    while left:
        place = left.pop()
        if place == (len(one), len(other)):
            return True
        if place not in seen:
            seen.add(place)
            left += _steps(one, other, *place)
    return False


def _steps(one: str, other: str, here: int, there: int) -> Iterator[tuple[int, int]]:
    mine, theirs = one[here : here + 1], other[there : there + 1]
    if mine == "*":
        yield here + 1, there
        if theirs:
            yield here, there + 1
    if theirs == "*":
        yield here, there + 1
        if mine:
            yield here + 1, there
    if mine and mine == theirs:
        yield here + 1, there + 1
