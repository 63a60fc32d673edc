"""Example events: made by the mapper itself from example rows, so that they cannot differ from real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cdc.mapping.catalogue import MEMBERS_TABLE, Catalogue
from cdc.mapping.condition import ValueCondition
from cdc.mapping.example_rows import COMPANIONS, EDITS, KEYS, ROWS, STATES
from cdc.mapping.facts import Facts
from cdc.mapping.mapper import Mapper
from cdc.mapping.merge import merged
from cdc.mapping.rule import STATE_COLUMN, Rule
from cdc.model.backfill import EXISTING, backfill_token
from cdc.model.change import Existing, Operation, Row, RowChange, Transaction, Value
from cdc.model.column import Table
from cdc.model.normal import FORMS
from cdc.model.payload import event_payload

_TIME = datetime(2026, 11, 24, 21, 48, 0, 123456, tzinfo=UTC)


class Examples:
    """Example payloads of one catalogue; ``tables``: real ones, for those that have no example row here."""

    def __init__(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> None:
        self._mapper = Mapper(catalogue)
        self._catalogue = catalogue
        self._tables = tables

    def of_row_event(self, name: str, table: str, operation: Operation) -> dict[str, Any]:
        row = self._row(table)
        before = row if operation in (Operation.DELETE, Operation.UPDATE) else None
        after = row if operation in (Operation.CREATE, Operation.READ) else None
        if operation is Operation.UPDATE:
            column, value = EDITS.get(table) or self._edit(table, row)
            after = {**row, column: value}
        existing = Existing("bf_5d0c2a7e9b1f4836") if name.endswith(f".{EXISTING}") else None
        return self._payload(name, self._change(table, operation, before, after), existing)

    def of_rule(self, rule: Rule) -> dict[str, Any]:
        if rule.infer == "permissions":
            return self._payload(
                rule.event, self._change(MEMBERS_TABLE, Operation.CREATE, None, self._row(MEMBERS_TABLE))
            )
        before, after = _images(rule, self._row(rule.table))
        secrets = frozenset({"logkey"} if rule.infer else rule.changed & self._catalogue.secrets_of(rule.table))
        operation = _operation(rule)
        images: tuple[Row | None, Row | None] = (before, after)
        if operation is not Operation.UPDATE:
            images = (None, after) if operation is Operation.CREATE else (after, None)
        return self._payload(rule.event, self._change(rule.table, operation, *images, secrets=secrets))

    def _row(self, table: str) -> Row:
        if table in ROWS:
            return ROWS[table]
        known = self._tables.get(table)
        if known is None:
            return {"id": 1, "nombre": "Ejemplo"}
        secrets = self._catalogue.capture_of(table).hidden.of([c.name for c in known.columns], known.key)
        return {c.name: FORMS[c.kind].example for c in known.columns if c.name not in secrets}

    def _edit(self, table: str, row: Row) -> tuple[str, Value]:
        quiet = self._catalogue.noise_of(table) | set(self._key(table))
        column = (
            "observaciones" if "observaciones" in row else next((c for c in row if c not in quiet), next(iter(row)))
        )
        return column, _other(row[column])

    def _key(self, table: str) -> tuple[str, ...]:
        if table in KEYS:
            return (KEYS[table],)
        known = self._tables.get(table)
        return known.key if known is not None else ("id",)

    def _change(
        self,
        table: str,
        operation: Operation,
        before: Row | None,
        after: Row | None,
        secrets: frozenset[str] = frozenset(),
    ) -> RowChange:
        row = after or before or {}
        key = {column: row[column] for column in self._key(table)} if row else {}
        return RowChange(operation, table, key, before, after, _TIME, 1, secrets)

    def _payload(self, name: str, change: RowChange, existing: Existing | None = None) -> dict[str, Any]:
        first = ROWS.get(change.table, {}).get(STATE_COLUMN)
        near = STATES if isinstance(first, int) else {}
        facts = Facts(states={int(first or 0) + distance: state for distance, state in near.items()})
        token = "7301" if existing is None else backfill_token(existing)
        transaction = Transaction(token, (change,), existing=existing)
        mapped = self._mapper.map_batch("main", merged([transaction]), facts, {})
        released = self._mapper.release("main", {key: value for key, value in mapped.states_changed.items() if value})
        event = next((event for event in (*mapped.events, *released.events) if event.name == name), None)
        payload: dict[str, Any] = json.loads(event_payload(event)) if event is not None else {}
        return payload


def _operation(rule: Rule) -> Operation:
    inserted = Operation.CREATE in rule.operations and rule.name == "refunded"
    if Operation.UPDATE in rule.operations and not inserted:
        return Operation.UPDATE
    return Operation.CREATE if Operation.CREATE in rule.operations else Operation.DELETE


def _images(rule: Rule, row: Row) -> tuple[Row, Row]:
    """Rows before and after that make the rule fire."""
    before, after = dict(row), dict(row)
    after.update({column: value for column, value in COMPANIONS.get(rule.name, {}).items() if column in row})
    if STATE_COLUMN in row and {STATE_COLUMN, "editable"} & rule.columns:
        _move_state(rule, before, after)
    elif rule.changed:
        column = min(rule.changed)
        after.update({column: _other(row[column])} if column in row else {})
    for column, condition in rule.becomes.items():
        after[column] = 7 if column == "idfacturarect" else condition.example()
        before[column] = _opposite(condition)
    before.update({column: condition.example() for column, condition in rule.from_.items()})
    after.update({column: condition.example() for column, condition in (*rule.to.items(), *rule.where.items())})
    return before, after


def _move_state(rule: Rule, before: dict[str, Value], after: dict[str, Value]) -> None:
    """From the document's first state to the one that the rule wants, or back when it wants an editable document."""
    first = before[STATE_COLUMN]
    assert isinstance(first, int)
    distance = next((d for d, state in STATES.items() if all(c.holds(state.get(n)) for n, c in rule.state.items())), 1)
    moved = {STATE_COLUMN: first + distance, "idestado_ant": first, "editable": False}
    editable = rule.to.get("editable")
    if editable is not None and editable.holds(True):
        before.update(moved)
        after.update({"idestado_ant": first + distance})
    else:
        after.update(moved)


def _opposite(condition: ValueCondition) -> Value:
    if condition.present is False:
        return "x"
    example = condition.example()
    return (not example) if isinstance(example, bool) else None


def _other(value: Value) -> Value:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return round(value * 1.1, 4)
        case None:
            return "texto"
    return f"{value} (corregido)"
