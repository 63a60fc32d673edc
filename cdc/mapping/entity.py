"""Entities: what events call the rows of a table.  A plugin's table is one because its name matches a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

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
    label: Label = field(default_factory=Label)


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
