"""Transactions in, events out.  Pure: what it must know comes as facts and states, what it learns goes out again.

Order within a transaction: records in the order of their first change; of one record ``created``, ``updated`` or
``deleted`` first, then its transitions in catalogue order; `permissions_changed` events of all users last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from operator import ne
from typing import Any

from cdc.change import Existing, Operation, Row, RowChange, Value
from cdc.event import Event
from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE, Catalogue
from cdc.mapping.entity import Child
from cdc.mapping.event_id import NO_TIME, ExistingIds, event_id, event_ids, record_name
from cdc.mapping.facts import Facts, FactsRequest
from cdc.mapping.history import History
from cdc.mapping.html import decode
from cdc.mapping.merge import MergedChange, MergedTransaction
from cdc.mapping.permissions import TABLES as PERMISSION_TABLES
from cdc.mapping.permissions import affected_users, permissions_data, roles_of
from cdc.mapping.plan import ANY_COLUMN, Plans, TablePlan
from cdc.mapping.rule import STATE_COLUMN, STATE_TABLE, Seen
from cdc.mapping.session import USERS_TABLE, Sessions

_NOTHING: frozenset[str] = frozenset()
_MEMBERS = Child(MEMBERS_TABLE, "codrole")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Events in order, and the small states that changed (None: to be removed)."""

    events: list[Event]
    states_changed: dict[str, str | None]


@dataclass(slots=True)
class _Context:
    """What the changes of one transaction are mapped with."""

    source: str
    token: str
    merged: Sequence[MergedChange]
    facts: Facts
    states: Mapping[Value, Row]
    sessions: Sessions
    events: list[Event]
    history: History
    time: int  # the transaction's index in its batch
    observed: bool

    def named_by(self, time: datetime) -> datetime:
        """What of the time of a change its events' ids hold: of one that was observed nothing."""
        return NO_TIME if self.observed else time

    def children(self, child: Child, owner: Value, live: Mapping[Value, list[Row]]) -> list[Row]:
        """Rows of ``owner`` as the transaction left them; ``live``: as they are now."""
        return self.history.rows(self.time, child, owner, live.get(owner, []))


class Mapper:
    """Maps by one catalogue; has no state of its own."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._plans = Plans(catalogue)
        self._permissions = next((rule.event for rule in catalogue.rules if rule.infer == "permissions"), None)
        self._decode = decode if catalogue.decode_html else _unchanged

    def facts_needed(self, batch: Sequence[MergedTransaction]) -> FactsRequest:
        """What `map_batch` will want to know about these transactions."""
        states: set[Value] = set()
        roles: set[Value] = set()
        children: dict[Child, set[Value]] = {}
        for each in batch:
            read = each.transaction.existing is not None
            changes: Iterable[MergedChange | RowChange] = each.transaction.changes if read else each.changes
            for change in changes:
                plan = self._plans.of(change.table)
                if plan is not None and (plan.states_for or plan.children):
                    _ask(plan, change, states, children)
                elif change.table == ACCESS_TABLE and self._permissions is not None:
                    roles.update(roles_of(change))
        return FactsRequest(
            states=frozenset(states - {None}),
            roles=frozenset(roles - {None}),
            children={child: frozenset(keys) for child, keys in children.items()},
        )

    def map_batch(
        self, source: str, batch: Sequence[MergedTransaction], facts: Facts, states: Mapping[str, str]
    ) -> Mapped:
        """``states``: the outbox's small states of this source, as of the transactions before these."""
        sessions = Sessions(states)
        events: list[Event] = []
        times, history = _history(batch)
        for each in batch:
            transaction, merged = each.transaction, each.changes
            time = times[transaction.token]
            document_states = _states(merged, facts) if len(merged) > 1 else facts.states
            context = _Context(
                source,
                transaction.token,
                merged,
                facts,
                document_states,
                sessions,
                events,
                history,
                time,
                transaction.observed,
            )
            if transaction.existing is not None:
                _map_existing(self._plans, transaction.changes, transaction.existing, context)
            permissions = False
            for change in merged:
                permissions |= change.table in PERMISSION_TABLES
                plan = self._plans.of(change.table)
                if plan is not None:
                    _map_change(plan, change, context)
            if permissions and self._permissions is not None:
                self._map_permissions(self._permissions, context)
        return Mapped(events, sessions.changed)

    def _map_permissions(self, name: str, context: _Context) -> None:
        def members_of(role: Value) -> list[Value]:
            return [row["nick"] for row in context.children(_MEMBERS, role, context.facts.members)]

        for user in affected_users(context.merged, members_of):
            first = min(user.causes, key=lambda change: change.ordinal)
            record = record_name(USERS_TABLE, {"nick": user.nick})
            shared = event_ids(
                context.source, context.token, first.table, first.ordinal, context.named_by(first.first_time)
            )
            context.events.append(
                Event(
                    id=event_id(shared, name, record),
                    name=name,
                    source=context.source,
                    table=USERS_TABLE,
                    record=record,
                    key={"nick": self._decode(user.nick)},
                    data=_decoded(permissions_data(user), self._decode),
                    previous=None,
                    time=max(change.time for change in user.causes),
                    transaction=context.token,
                    observed=context.observed,
                )
            )


def _history(batch: Sequence[MergedTransaction]) -> tuple[dict[str, int], History]:
    """When each token's transaction happened; the parts of a huge transaction happened at once."""
    parts: dict[str, list[MergedChange]] = {}
    for each in batch:
        token = each.transaction.token
        parts[token] = parts[token] + each.changes if token in parts else each.changes
    return {token: time for time, token in enumerate(parts)}, History(list(parts.values()))


def _unchanged(value: Value) -> Value:
    return value


def _decoded(data: Any, decode_value: Any) -> Any:
    if isinstance(data, dict):
        return {key: _decoded(value, decode_value) for key, value in data.items()}
    if isinstance(data, list):
        return [_decoded(value, decode_value) for value in data]
    return decode_value(data)


def _ask(
    plan: TablePlan, change: MergedChange | RowChange, states: set[Value], children: dict[Child, set[Value]]
) -> None:
    after, before = change.after, change.before
    if after is None:
        return
    reached = change.operation is not Operation.READ  # which fires no transition
    if reached and plan.states_for and (before is None or any(before.get(c) != after.get(c) for c in plan.states_for)):
        states.add(after.get(STATE_COLUMN))
    for _, child in plan.children:
        children.setdefault(child, set()).update(change.key.values())


def _states(merged: Iterable[MergedChange], facts: Facts) -> Mapping[Value, Row]:
    """Document states, those that the transaction itself wrote on top."""
    written = {
        change.key[STATE_COLUMN]: change.after
        for change in merged
        if change.table == STATE_TABLE and change.after is not None
    }
    return {**facts.states, **written} if written else facts.states


def changed_columns(before: Row, after: Row) -> list[str]:
    """Columns whose values differ, in column order; a column that only one image has differs unless it is null."""
    if list(before) == list(after):
        return list(compress(after, map(ne, after.values(), before.values())))
    columns = dict.fromkeys((*after, *before))
    return [column for column in columns if before.get(column) != after.get(column)]


def _map_existing(plans: Plans, changes: Iterable[RowChange], existing: Existing, context: _Context) -> None:
    """Rows that a backfill read.  Ids depend on nothing but the job and the record: what is read again, whenever and in
    whatever pages, has the same."""
    ids: dict[str, ExistingIds] = {}
    for change in changes:
        table = change.table
        plan = plans.of(table)
        if plan is None or plan.existing is None:
            continue
        if table not in ids:
            shared = event_ids(context.source, context.token, table, 0, NO_TIME)
            ids[table] = ExistingIds(shared, plan.existing)
        record = record_name(table, change.key)
        data, _ = _shown(plan, change, (change.after or {}, None), context)
        context.events.append(
            Event(
                ids[table].of(change.key, record), plan.existing, context.source, table, record,
                plan.decode(change.key), data, None, change.time, context.token, only_to=existing.endpoint,
            )
        )  # fmt: skip


def _map_change(plan: TablePlan, change: MergedChange, context: _Context) -> None:
    if change.operation is Operation.UPDATE:
        _map_update(plan, change, context)
        return
    row = change.after if change.after is not None else change.before
    if plan.sessions:
        context.sessions.observe(change, ())
    seen = Seen(change.operation, row or {}, None, _NOTHING, context.states)
    names = _fired(plan, seen)
    name = plan.row_events[change.operation]
    if name is not None:
        names.insert(0, (name, False))
    if names:
        _emit(plan, change, (row or {}, None), names, context)


def _map_update(plan: TablePlan, change: MergedChange, context: _Context) -> None:
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    columns = changed_columns(before, after)
    if not columns and not change.secrets_changed:
        return
    session = context.sessions.observe(change, columns) if plan.sessions else None
    names: list[tuple[str, bool]] = []
    updated = plan.row_events[Operation.UPDATE]
    if updated is not None and not plan.noise.issuperset(columns):
        names.append((updated, False))
    watched = plan.watched
    if not watched.isdisjoint(columns) or not watched.isdisjoint(change.secrets_changed) or ANY_COLUMN in watched:
        changed = change.secrets_changed.union(columns)
        names += _fired(plan, Seen(Operation.UPDATE, after, before, changed, context.states, session))
    if names:
        previous = {column: before.get(column) for column in columns}
        _emit(plan, change, (after, previous), names, context)


def _fired(plan: TablePlan, seen: Seen) -> list[tuple[str, bool]]:
    return [(rule.event, rule.inferred) for rule in plan.transitions[seen.operation] if rule.test(seen)]


def _emit(
    plan: TablePlan,
    change: MergedChange,
    images: tuple[Row, Row | None],
    names: Iterable[tuple[str, bool]],
    context: _Context,
) -> None:
    """The events ``names`` (with whether each is inferred) of one change; they share key, data and previous
    (``images``: what becomes the latter two)."""
    table = plan.table
    record = record_name(table, change.key)
    former = None if change.former_key is None else record_name(table, change.former_key)
    data, previous = _shown(plan, change, images, context)
    key = plan.decode(change.key)
    shared = event_ids(context.source, context.token, table, change.ordinal, context.named_by(change.first_time))
    context.events += [
        Event(
            event_id(shared, name, record), name, context.source, table, record, key, data, previous,
            change.time, context.token, inferred, former, context.observed,
        )
        for name, inferred in names
    ]  # fmt: skip


def _shown(
    plan: TablePlan, change: MergedChange | RowChange, images: tuple[Row, Row | None], context: _Context
) -> tuple[Mapping[str, Any], Row | None]:
    """Data and previous as receivers see them."""
    data: Mapping[str, Any] = plan.decode(_without_secrets(plan.secrets, images[0]))
    if plan.children and change.operation is not Operation.TRUNCATE:
        data = {**data, **_children(plan, change, context)}
    return data, None if images[1] is None else plan.decode(_without_secrets(plan.secrets, images[1]))


def _without_secrets(secrets: Collection[str], row: Row) -> Row:
    """Sources leave secret columns out; this is the second lock on the same door."""
    for column in secrets:
        if column in row:
            return {name: value for name, value in row.items() if name not in secrets}
    return row


def _children(plan: TablePlan, change: MergedChange | RowChange, context: _Context) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    (owner,) = change.key.values()
    for kind, child in plan.children:
        if change.operation is Operation.DELETE:
            rows = context.history.deleted(context.time, child, owner)
        else:
            rows = context.children(child, owner, context.facts.children.get(child, {}))
        found[kind] = [plan.decode(row) for row in rows]
    return found
