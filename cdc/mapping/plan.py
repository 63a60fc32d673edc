"""The catalogue compiled: one plan a table, so that mapping a row looks nothing up by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.rule import (
    LINES,
    ORIGIN,
    PASSWORD_COLUMN,
    PLACE_COLUMNS,
    SESSION_COLUMN,
    STATE_COLUMN,
    Child,
    Entity,
    Path,
    Rule,
    RuleInput,
    all_hold,
    named_columns,
)
from cdc.model.backfill import EXISTING
from cdc.model.change import Operation, Row, Value
from cdc.model.column import SecretColumns
from cdc.model.event import Label
from cdc.model.image import as_is, decode_html, decode_html_row, opened, raw_row

#: Any column: for rules that an update of each column may fire.
ANY_COLUMN = "*"
Test = Callable[[RuleInput], bool]


@dataclass(frozen=True, slots=True)
class Transition:
    """A compiled rule: fires when ``test`` holds, unless the columns ``changed`` copy those of rows that the same
    transaction changes (``copies``).  ``explains``: columns whose change needs no ``updated`` beside the event."""

    event: str
    test: Test
    inferred: bool
    changed: frozenset[str]
    copies: Child | None
    explains: frozenset[str]


class ShownColumns:
    """Leaves secret columns out of rows.  Sources do so; this checks once more."""

    __slots__ = ("_secrets", "known")

    def __init__(self, secrets: SecretColumns) -> None:
        self._secrets = secrets
        self.known: set[str] = set()  # columns that are not secret

    def of(self, row: Row, key: Row) -> Row:
        """Return the row without its secret columns."""
        row = opened(row)  # all of it is shown: the keys of a dictionary are compared fastest
        if row.keys() <= self.known:
            return row
        hidden = self._secrets.of(row, key)
        self.known |= row.keys() - hidden
        if hidden.isdisjoint(row):
            return row
        return {name: value for name, value in row.items() if name not in hidden}


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Names of events are None when they are disabled.  ``existing``: of rows that a backfill reads.

    ``watched``: an update that changes none of these columns fires no transition.  ``states_for``: an update that
    changes one of these columns needs the document's state.  ``lines``: where the lines are that events include; their
    noise columns.  ``due``: events by time → the condition on the row.  ``related``: events show other records.
    ``asks``: events may need facts."""

    table: str
    row_events: Mapping[Operation, str | None]
    noise: frozenset[str]
    secrets: ShownColumns
    transitions: Mapping[Operation, tuple[Transition, ...]]
    watched: frozenset[str]
    states_for: frozenset[str]
    children: tuple[tuple[str, Child], ...]
    lines: Child | None
    lines_noise: frozenset[str]
    decode: Callable[[Row], Row]
    existing: str | None
    due: Mapping[str, Callable[[Row], bool]]
    label: Label
    paths: tuple[tuple[str, Path], ...]
    origin: tuple[Child, ...]
    page: str
    related: bool
    asks: bool


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """The form in which a record appears in the events of others."""

    entity: Entity
    secrets: ShownColumns
    decode: Callable[[Row], Row]

    def shown(self, key: Row, row: Row, site: str) -> dict[str, Any]:
        """Return the record as other events show it."""
        row = self.decode(self.secrets.of(row, key))
        shown: dict[str, Any] = {"entity": self.entity.name, "key": self.decode(key)}
        shown |= {name: row[column] for name, column in self.entity.label.named.items() if column in row}
        link = page_url(site, self.entity.page, row)
        return {**shown, "link": link} if link else shown


_COLUMN = re.compile(r"\{(\w+)\}")


def page_url(site: str, page: str, data: Mapping[str, Any]) -> str:
    """Return the address of a record's page; empty where FacturaScripts' address, or a column, is not known."""
    if not site or not page or any(data.get(column) is None for column in _COLUMN.findall(page)):
        return ""
    return f"{site}/{_COLUMN.sub(lambda found: quote(str(data[found[1]]), safe=''), page)}"


_ROW_EVENT_NAMES = {
    Operation.CREATE: "created",
    Operation.UPDATE: "updated",
    Operation.DELETE: "deleted",
    Operation.READ: "read",
    Operation.TRUNCATE: "truncated",
}


class Plans(dict[str, TablePlan | None]):
    """Table → its plan; None for a table without any event.  Plans of tables that match a pattern are compiled when
    they are first needed.

    ``documents``: a table of lines → the plans of the documents that include them.  ``models``: a document's model →
    its table.  ``permissions``: the event of changed permissions; None: it is off.  ``decode``: of one value."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__((entity.table, _plan(entity, catalogue)) for entity in catalogue.entities)
        self._catalogue = catalogue
        self._records: dict[str, RecordPlan | None] = {}
        self.models = catalogue.documents() if any(ORIGIN in entity.include for entity in catalogue.entities) else {}
        self.permissions = next((rule.event for rule in catalogue.rules if rule.infer == "permissions"), None)
        self.decode = decode_html if catalogue.decode_html else as_is
        self.documents: dict[str, list[TablePlan]] = {}
        for plan in self.values():
            if plan is not None and plan.lines is not None:
                self.documents.setdefault(plan.lines.table, []).append(plan)

    def __missing__(self, table: str) -> TablePlan | None:
        entity = self._catalogue.matched(table)
        plan = self[table] = None if entity is None else _plan(entity, self._catalogue)
        return plan

    def record(self, table: str) -> RecordPlan | None:
        """Return how events of others show a record of this table; None for a table of no entity."""
        if table not in self._records:
            entity = self._catalogue.patterns.entities.get(table)
            secrets = ShownColumns(self._catalogue.capture_of(table).hidden)
            decode = decode_html_row if self._catalogue.decode_html else raw_row
            self._records[table] = None if entity is None else RecordPlan(entity, secrets, decode)
        return self._records[table]


def _plan(entity: Entity, catalogue: Catalogue) -> TablePlan:
    named = [rule for rule in catalogue.rules if rule.entity == entity.name and rule.infer != "permissions"]
    rules = [rule for rule in named if not rule.date]
    names = {operation: f"{entity.name}.{name}" for operation, name in _ROW_EVENT_NAMES.items()}
    existing = f"{entity.name}.{EXISTING}"
    lines = entity.children[LINES] if LINES in entity.include else None
    states_for = frozenset().union(*(_watched(rule) for rule in rules if rule.state))
    paths = tuple(catalogue.paths(entity).items())
    related = bool(paths or entity.origin)
    return TablePlan(
        table=entity.table,
        row_events={operation: name if catalogue.enabled(name) else None for operation, name in names.items()},
        noise=catalogue.noise_of(entity.table),
        secrets=ShownColumns(catalogue.capture_of(entity.table).hidden),
        transitions={operation: _transitions(rules, operation, catalogue) for operation in Operation},
        watched=frozenset().union(*(_watched(rule) for rule in rules)),
        states_for=states_for,
        children=tuple(entity.included.items()),
        lines=lines,
        lines_noise=frozenset() if lines is None else catalogue.noise_of(lines.table),
        decode=decode_html_row if catalogue.decode_html else raw_row,
        existing=existing if catalogue.enabled(existing) else None,
        due={rule.event: all_hold(rule.where) for rule in named if rule.date},
        label=entity.label,
        paths=paths,
        origin=entity.origin,
        page=entity.page,
        related=related,
        asks=related or bool(states_for or entity.included),
    )


def _transitions(rules: list[Rule], operation: Operation, catalogue: Catalogue) -> tuple[Transition, ...]:
    enabled = {(rule.table, rule.name) for rule in catalogue.rules}
    return tuple(
        Transition(
            rule.event,
            compile_rule(rule),
            rule.infer is not None,
            rule.changed,
            rule.copies if rule.copies is not None and (rule.copies.table, rule.name) in enabled else None,
            PLACE_COLUMNS if rule.infer == "login" else frozenset(),
        )
        for rule in rules
        if operation in rule.operations
    )


def _watched(rule: Rule) -> frozenset[str]:
    """Columns of which one must change for an update to fire the rule."""
    if rule.infer:
        return frozenset({SESSION_COLUMN})
    if rule.changed:
        return rule.changed
    if rule.becomes:
        return named_columns(rule.becomes)
    if rule.from_ or rule.to:
        return named_columns(rule.from_, rule.to)
    return frozenset({ANY_COLUMN, STATE_COLUMN})


def compile_rule(rule: Rule) -> Test:
    """Return one function that says whether the rule fires; it assumes that the operation is one of the rule's.  Cheap
    tests are first."""
    tests: list[Test] = []
    if rule.infer:
        # ``login``: a new session key with another address or browser, which only a sign-in writes.  ``session``: a
        # new session key alone, which a sign-out and a sign-in from the same browser write alike.
        elsewhere = rule.infer == "login"
        tests.append(
            lambda seen: (
                SESSION_COLUMN in seen.changed
                and PASSWORD_COLUMN not in seen.changed
                and elsewhere is not PLACE_COLUMNS.isdisjoint(seen.changed)
            )
        )
    if changed := rule.changed:
        tests.append(lambda seen: seen.operation is not Operation.UPDATE or not changed.isdisjoint(seen.changed))
    if unless := rule.unless_changed:
        tests.append(lambda seen: unless.isdisjoint(seen.changed))
    if ignored := rule.ignore:
        tests.append(lambda seen: seen.operation is not Operation.UPDATE or not seen.changed <= ignored)
    tests += _row_tests(rule)
    match tests:
        case []:
            return lambda _: True  # the rule names only operations
        case [test]:
            return test
    return lambda seen: all(test(seen) for test in tests)


def _row_tests(rule: Rule) -> list[Test]:
    """Return the tests of what the row is and was."""
    tests: list[Test] = []
    involved = named_columns(rule.from_, rule.to)
    if rule.becomes:
        arrived = all_hold(rule.becomes)
        tests.append(lambda seen: arrived(seen.row) and (seen.before is None or not arrived(seen.before)))
    if rule.from_:
        left, somewhere = all_hold(rule.from_), not rule.to
        tests.append(
            lambda seen: (
                seen.before is not None
                and not involved.isdisjoint(seen.changed)
                and left(seen.before)
                and not (somewhere and left(seen.row))
            )
        )
    if rule.to:  # that the row was elsewhere follows from ``from``, or from a change of these columns
        reached = all_hold(rule.to)
        tests.append(lambda seen: not involved.isdisjoint(seen.changed) and reached(seen.row))
    if rule.where:
        where = all_hold(rule.where)
        tests.append(lambda seen: where(seen.row))
    if rule.state:
        in_state = all_hold(rule.state)

        def test_state(seen: RuleInput) -> bool:
            state = seen.states.get(seen.row.get(STATE_COLUMN))
            return state is not None and in_state(state)

        tests.append(test_state)
    return tests


class Unmet(NamedTuple):
    """The part of a rule that a change does not meet, by its key in rules.  ``columns``: those that it names, as they
    were and are.  ``already``: the row met it before the change, too."""

    part: str
    columns: Mapping[str, tuple[Value, Value]]
    already: bool = False


def unmet(rule: Rule, seen: RuleInput) -> Unmet | None:
    """Return the first part of a rule that a change does not meet; None: the rule fires."""
    before = seen.before or {}

    def found(part: str, columns: Iterable[str], *, already: bool = False) -> Unmet:
        named = {column: (before.get(column), seen.row.get(column)) for column in sorted(columns)}
        return Unmet(part, named, already)

    if seen.operation not in rule.operations:
        return found("operations", ())
    if compile_rule(rule)(seen):
        return None if rule.copies is None else found("copies", rule.changed)
    if rule.changed and seen.operation is Operation.UPDATE and rule.changed.isdisjoint(seen.changed):
        return found("changed", rule.changed)
    if not rule.unless_changed.isdisjoint(seen.changed):
        return found("unless_changed", rule.unless_changed)
    rows = {"becomes": seen.row, "from": before, "to": seen.row, "where": seen.row}
    conditions = {"becomes": rule.becomes, "from": rule.from_, "to": rule.to, "where": rule.where}
    for part, row in rows.items():
        if conditions[part] and not all_hold(conditions[part])(row):
            return found(part, named_columns(conditions[part]))
    if rule.becomes and seen.before is not None and all_hold(rule.becomes)(before):
        return found("becomes", named_columns(rule.becomes), already=True)
    if rule.state:
        return found("state", [STATE_COLUMN])
    moved = named_columns(rule.from_, rule.to)
    return found("to" if rule.to else "from", moved, already=True) if moved else found("infer", rule.ignore)
