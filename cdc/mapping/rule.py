"""Entities, which are what events call the rows of a table, and rules: what makes a transition event, and the test
that a rule compiles to.

A plugin's table is an entity because its name matches a pattern.  FacturaScripts stores text HTML-escaped
(``O&#39;Brien &amp; Sons``); rules compare, and receivers get, what the user typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import eq, ge, lt, ne
from typing import Any, Final

from cdc.model.change import Operation, Row, Value
from cdc.model.column import ColumnKind
from cdc.model.event import Label, matches
from cdc.model.image import decode_html
from cdc.model.normal import DecimalText, decimal_of
from cdc.model.toml_lines import FilePlace

#: Events that every entity has, beside its transitions: name → when it fires.
ROW_EVENTS: dict[str, str] = {
    "created": "a row is inserted",
    "updated": "a row is changed in more than noise columns",
    "deleted": "a row is deleted, by itself or by a foreign key's cascade",
    "read": "an existing row is read again after a gap in the capture; only for endpoints that write the event out",
    "existing": "a row that was there already, sent by `cdc backfill`; only for endpoints that name the event",
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
        here, there = place = left.pop()
        if place == (len(one), len(other)):
            return True
        if place in seen:
            continue
        seen.add(place)
        mine, theirs = one[here : here + 1], other[there : there + 1]
        if mine == "*":
            left += [(here + 1, there), (here, there + 1)] if theirs else [(here + 1, there)]
        if theirs == "*":
            left += [(here, there + 1), (here + 1, there)] if mine else [(here, there + 1)]
        if mine and mine == theirs:
            left.append((here + 1, there + 1))
    return False


_FORMS = (
    "a value, a list of values, { not = value }, { at_least = number }, { less_than = number }, "
    "or { set = true } / { set = false } (null or empty); { column = name } is the value of another column"
)


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """``values``: any of them; ``negated``: none of them.  ``numbers``: those of them that are numbers, exactly, for
    columns of decimals, whose values are texts.  ``present`` (when not None) asks for set / not set.

    ``at_least`` and ``less_than`` (when not None) hold of numbers only.
    """

    values: tuple[Value, ...] = ()
    negated: bool = False
    present: bool | None = None
    at_least: Decimal | None = None
    less_than: Decimal | None = None
    numbers: frozenset[Decimal] = frozenset()

    def holds(self, value: Value) -> bool:
        if self.present is not None:
            return (value is not None and value != "") is self.present
        if self.at_least is not None or self.less_than is not None:
            number = decimal_of(value)
            if number is None:
                return False
            return (self.at_least is None or number >= self.at_least) and (
                self.less_than is None or number < self.less_than
            )
        return (decode_html(value) in self.values or self._is_number(value)) is not self.negated

    def _is_number(self, value: Value) -> bool:
        return bool(self.numbers) and type(value) is DecimalText and decimal_of(value) in self.numbers

    def example(self) -> Value:
        """A value that satisfies the condition (for example payloads)."""
        if self.present is not None:
            return "2026-11-24" if self.present else None
        if self.at_least is not None:
            return _plain(self.at_least)
        if self.less_than is not None:
            return _plain(self.less_than - 1)
        first = self.values[0]
        if not self.negated:
            return first
        return (not first) if isinstance(first, bool) else None


def _plain(number: Decimal) -> Value:
    """The number as JSON has it: as it was written, whole or with a fraction."""
    return int(number) if number.as_tuple().exponent == 0 else float(number)


#: Kinds of columns whose values are numbers, or may be; all others have texts.
_NUMBERS = frozenset({ColumnKind.INTEGER, ColumnKind.DOUBLE, ColumnKind.REAL, ColumnKind.DECIMAL, ColumnKind.BOOLEAN})


#: How a value may be compared with another column's, as rules write it; ``is`` is not written.
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {"is": eq, "not": ne, "at_least": ge, "less_than": lt}


@dataclass(frozen=True, slots=True)
class ColumnCondition:
    """A comparison with another column of the same row, by number where both are numbers.  ``at_least`` and
    ``less_than`` hold of two numbers or two texts (dates are texts) only."""

    column: str
    compared: str = "is"

    def holds(self, value: Value, other: Value) -> bool:
        compare = _COMPARED[self.compared]
        one, two = decimal_of(value), decimal_of(other)
        if one is not None and two is not None:
            return compare(one, two)
        if self.compared in ("at_least", "less_than") and not type(value) is type(other) is str:
            return False
        return compare(value, other)


Condition = ValueCondition | ColumnCondition


def impossible(column: str, condition: Condition, kinds: Mapping[str, ColumnKind]) -> str:
    """Return why the condition never holds of columns of these kinds, as a phrase; empty: it may."""
    kind = kinds.get(column)
    if kind is None:
        return ""
    number = kind in _NUMBERS
    if isinstance(condition, ColumnCondition):
        other = kinds.get(condition.column, kind)
        alike = condition.compared == "not" or (other in _NUMBERS) is number
        return "" if alike else f"of {column} ({kind}) and {condition.column} ({other}), one is a number, one a text"
    if condition.at_least is not None or condition.less_than is not None:
        possible = number
    else:
        text = kind is ColumnKind.DECIMAL or not number
        possible = condition.negated or condition.present is not None
        possible = possible or any(text if isinstance(value, str) else number for value in condition.values)
    return "" if possible else f"{column} is {'no text' if number else 'no number'} (its type: {kind})"


Conditions = Mapping[str, Condition]


def named_columns(*conditions: Conditions) -> frozenset[str]:
    """Return all columns that the conditions name, on either side."""
    others = (each.column for group in conditions for each in group.values() if isinstance(each, ColumnCondition))
    return frozenset((*(column for group in conditions for column in group), *others))


def parse_condition(raw: Any) -> Condition:
    """Return the condition of a TOML value.  Raises ValueError."""
    if isinstance(raw, dict):
        return _parse_column(raw) or _parse_table(raw)
    return _parse_values(raw)


def _parse_column(raw: dict[str, Any]) -> ColumnCondition | None:
    """Return the comparison with a column; None for another condition."""
    compared, other = next(iter(raw.items()), ("", None))
    if compared == "column":
        compared, other = "is", raw
    if len(raw) == 1 and isinstance(other, dict) and list(other) == ["column"] and compared in _COMPARED:
        column = other["column"]
        if isinstance(column, str) and column:
            return ColumnCondition(column, compared)
    return None


def _parse_values(raw: Any) -> ValueCondition:
    values = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, bool | int | Decimal | str) for value in values):
        raise ValueError(f"a condition is {_FORMS}")
    return ValueCondition(
        values=tuple(float(value) if isinstance(value, Decimal) else value for value in values),
        numbers=frozenset(Decimal(value) for value in values if _is_number(value)),
    )


def _parse_table(raw: dict[str, Any]) -> ValueCondition:
    if list(raw) == ["set"] and isinstance(raw["set"], bool):
        return ValueCondition(present=raw["set"])
    if list(raw) == ["not"] and not isinstance(raw["not"], dict):
        return replace(_parse_values(raw["not"]), negated=True)
    if raw and raw.keys() <= {"at_least", "less_than"} and all(_is_number(bound) for bound in raw.values()):
        bounds = {name: Decimal(bound) for name, bound in raw.items()}
        return ValueCondition(at_least=bounds.get("at_least"), less_than=bounds.get("less_than"))
    raise ValueError(f"a condition is {_FORMS}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


#: Column of a document that names its state, and the table and column of the states.
STATE_COLUMN = "idestado"
STATE_TABLE = "estados_documentos"
#: Columns of a user: the session key, which signing in and signing out both renew, as a new password does; and the
#: address and browser of the last sign-in.
SESSION_COLUMN = "logkey"
PASSWORD_COLUMN = "password"  # noqa: S105 - the name of a column; only that it changed is known here
PLACE_COLUMNS = frozenset({"lastip", "lastbrowser"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One transition of one entity; every condition given must hold.  `docs/events.md` explains each field.

    With a ``date`` it is a rule by time (`cdc.model.backfill`): no operation fires it.  Without ``days`` it is off."""

    entity: str
    name: str
    table: str
    operations: frozenset[Operation]
    place: FilePlace
    when: str = ""
    becomes: Conditions = field(default_factory=dict)
    from_: Conditions = field(default_factory=dict)
    to: Conditions = field(default_factory=dict)
    where: Conditions = field(default_factory=dict)
    state: Conditions = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    unless_changed: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    copies: Child | None = None
    infer: str | None = None
    date: str = ""
    days: tuple[int, ...] = ()

    @property
    def event(self) -> str:
        return f"{self.entity}.{self.name}"

    @property
    def columns(self) -> set[str]:
        """All columns of its own table that the rule names."""
        named = named_columns(self.becomes, self.from_, self.to, self.where)
        return (
            {*named}
            | ({self.date} if self.date else set())
            | self.changed
            | self.unless_changed
            | self.ignore
            | ({STATE_COLUMN} if self.state else set())
        )


@dataclass(slots=True)
class RuleInput:
    """The input of a rule's test.  ``row``: the after image (before image of a delete).

    ``changed``: columns that differ, secret ones that are known to have changed included (empty unless an update).
    ``states``: document states by id.
    """

    operation: Operation
    row: Row
    before: Row | None
    changed: frozenset[str]
    states: Mapping[Value, Row]


def all_hold(conditions: Conditions) -> Callable[[Row], bool]:
    """Return one test of a row."""
    values = {column: each for column, each in conditions.items() if isinstance(each, ValueCondition)}
    columns = {column: each for column, each in conditions.items() if isinstance(each, ColumnCondition)}
    if not columns:
        return _values_hold(values)
    of_values, of_columns = _values_hold(values), _columns_hold(columns)
    return lambda row: of_columns(row) and of_values(row)


def _columns_hold(conditions: Mapping[str, ColumnCondition]) -> Callable[[Row], bool]:
    compared = [(column, each.column, each.holds) for column, each in conditions.items()]

    def hold(row: Row) -> bool:
        return all(
            column in row and other in row and holds(row[column], row[other]) for column, other, holds in compared
        )

    return hold


def _values_hold(conditions: Mapping[str, ValueCondition]) -> Callable[[Row], bool]:
    if len(conditions) == 1:
        ((column, condition),) = conditions.items()
        holds = condition.holds

        def single(row: Row) -> bool:
            return column in row and holds(row[column])

        return single
    pairs = [(column, condition.holds) for column, condition in conditions.items()]

    def several(row: Row) -> bool:
        return all(column in row and holds(row[column]) for column, holds in pairs)

    return several
