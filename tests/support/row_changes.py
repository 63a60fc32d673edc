"""Short ways to write row changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import NO_FACTS, Facts
from cdc.mapping.mapper import Mapped, Mapper
from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.event import Event

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
_ordinals = count(1)


def change(
    operation: Operation,
    table: str,
    before: Row | None,
    after: Row | None,
    *,
    key: str = "id",
    secrets: Iterable[str] = (),
) -> RowChange:
    ordinal = next(_ordinals)
    row = after or before or {}
    return RowChange(
        operation,
        table,
        {key: row[key]} if row else {},
        before,
        after,
        START + timedelta(seconds=ordinal),
        ordinal,
        frozenset(secrets),
    )


def insert(table: str, row: Row, key: str = "id") -> RowChange:
    return change(Operation.CREATE, table, None, row, key=key)


def update(table: str, before: Row, *, key: str = "id", secrets: Iterable[str] = (), **values: Value) -> RowChange:
    return change(Operation.UPDATE, table, before, {**before, **values}, key=key, secrets=secrets)


def delete(table: str, row: Row, key: str = "id") -> RowChange:
    return change(Operation.DELETE, table, row, None, key=key)


def transaction(*changes: RowChange, token: str = "t1") -> Transaction:
    return Transaction(token, changes)


def mapped(
    *transactions: Transaction,
    rules: str | None = None,
    facts: Facts = NO_FACTS,
    states: Mapping[str, str] | None = None,
) -> Mapped:
    return Mapper(load_catalogue(rules)).batch("main", transactions, states or {}).map(facts)


def applied(states: Mapping[str, str], mapped: Mapped) -> dict[str, str]:
    """The states after a batch."""
    return {name: value for name, value in {**states, **mapped.states_changed}.items() if value is not None}


def events(*changes: RowChange, rules: str | None = None, facts: Facts = NO_FACTS) -> list[Event]:
    return mapped(transaction(*changes), rules=rules, facts=facts).events


def names(*changes: RowChange, rules: str | None = None, facts: Facts = NO_FACTS) -> list[str]:
    return [event.name for event in events(*changes, rules=rules, facts=facts)]
