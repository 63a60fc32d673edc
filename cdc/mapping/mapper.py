"""Transactions in, events out.  Pure: what it must know comes as facts and states, what it learns goes out again.

Order within a transaction: records in the order of their first change; of one record ``created``, ``updated`` or
``deleted`` first, then its transitions in catalogue order; `permissions_changed` events of all users last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress, islice
from operator import ne
from typing import Any, Final

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.facts import NO_FACTS, Facts, FactsRequest, History
from cdc.mapping.merge import (
    ANY_COLUMN,
    Emitted,
    LinesChanged,
    MergedChange,
    MergedTransaction,
    Plans,
    TablePlan,
    Transition,
    lines_changed,
    own_changes,
    page_url,
)
from cdc.mapping.permissions import (
    HELD,
    MEMBERS,
    PERMISSION_TABLES,
    ROLE_TABLES,
    Members,
    PermissionEvents,
    must_be_read,
)
from cdc.mapping.rule import (
    LINES,
    LINES_CHANGED,
    ORIGIN,
    STATE_COLUMN,
    STATE_TABLE,
    TRANSFORMATIONS,
    Child,
    Path,
    RuleInput,
    as_is,
    decode_html,
    linked,
)
from cdc.model.backfill import days_since
from cdc.model.change import DueDay, Existing, Operation, Row, RowChange, Value
from cdc.model.event import NO_TIME, Event, ExistingIds, event_id, event_ids, record_name

_NOTHING: frozenset[str] = frozenset()
_NO_LINES: Mapping[str, LinesChanged] = {}
#: Former lines up to which ``previous`` has them all; and changed lines that it names where there are more.
_ALL_LINES: Final = 100
_CHANGED_LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Mapped:
    """Events in order, and the small states that changed (None: to be removed)."""

    events: list[Event]
    states_changed: dict[str, str | None]


@dataclass(slots=True)
class _Context:
    """The inputs of mapping one transaction's changes."""

    source: str
    token: str
    merged: Sequence[MergedChange]
    facts: Facts
    states: Mapping[Value, Row]
    events: list[Event]
    history: History
    time: int  # the transaction's index in its batch
    observed: bool
    more: bool  # of a huge transaction, whose other parts may change the same lines
    lines: Mapping[str, LinesChanged]
    plans: Plans
    site: str
    owners: dict[str, set[Value]] = field(default_factory=dict)  # event → of `originals`

    def named_by(self, time: datetime) -> datetime:
        """Return the timestamp used in event ids; none for changes found by polling."""
        return NO_TIME if self.observed else time

    def originals(self, rule: Transition, child: Child) -> set[Value]:
        """Return the owners of rows in which the transaction changes the columns that the rule's table copies."""
        if rule.event not in self.owners:
            self.owners[rule.event] = {
                each.after.get(child.column)
                for each in self.merged
                if each.table == child.table
                and each.before is not None
                and each.after is not None
                and any(each.before.get(column) != each.after.get(column) for column in rule.changed)
            }
        return self.owners[rule.event]

    def children(self, child: Child, owner: Value) -> list[Row]:
        """Rows of ``owner`` as the transaction left them."""
        return self.history.rows(self.time, child, owner, self._live(child, owner))

    def children_before(self, child: Child, owner: Value) -> list[Row]:
        """Rows of ``owner`` as the transaction found them."""
        return self.history.rows_before(self.time, child, owner, self._live(child, owner))

    def _live(self, child: Child, owner: Value) -> list[Row]:
        return self.facts.children.get(child, {}).get(owner, [])

    def document(self, table: str, owner: Value, *, gone: bool = False) -> tuple[str, Row | None]:
        """The key column of a document, and its row as the transaction left it (None: it is not there any more).
        ``gone``: one that the transaction deleted as it was."""
        known = self.history.record(self.time, table, owner, gone=gone)
        if known is not None:
            return known
        column, rows = self.facts.documents.get(table, ("", {}))
        return column, rows.get(owner)

    def related(self, plan: TablePlan, change: MergedChange | RowChange, row: Row) -> Mapping[str, Any] | None:
        """Return the records that belong to ``row``, as the transaction left them; those of a deleted row as it found
        them.  None where the plan shows none."""
        if not plan.related or change.operation is Operation.TRUNCATE:
            return None
        gone = change.operation is Operation.DELETE
        related: dict[str, Any] = {kind: self._at_end(path, row, gone=gone) for kind, path in plan.paths}
        if plan.origin:
            (owner,) = change.key.values()
            read = self.children_before if gone else self.children
            rows = [(read(child, owner), side) for child, side in zip(plan.origin, "12", strict=True)]
            before, after = ([linked(row, side, self.plans.models) for row in found] for found, side in rows)
            related[ORIGIN] = {"before": self._documents(before, gone=gone), "after": self._documents(after, gone=gone)}
        return related

    def _at_end(self, path: Path, row: Row, *, gone: bool) -> dict[str, Any] | None:
        """Return the record at the end of a way; None where there is none."""
        shown: Row | None = row
        for column, table in path:
            value = None if shown is None else shown.get(column)
            shown = None if value is None else self.document(table, value, gone=gone)[1]
        return None if shown is None else self._record(table, value, gone=gone)

    def _documents(self, links: Iterable[tuple[str, Value] | None], *, gone: bool) -> list[dict[str, Any]]:
        shown = (self._record(*link, gone=gone) for link in dict.fromkeys(links) if link is not None)
        return [record for record in shown if record is not None]

    def _record(self, table: str, key: Value, *, gone: bool) -> dict[str, Any] | None:
        column, row = self.document(table, key, gone=gone)
        plan = self.plans.record(table)
        return None if row is None or plan is None else plan.shown({column: key}, row, self.site)


class Mapper:
    """Maps by one catalogue; has no state of its own."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._plans = Plans(catalogue)
        self._permissions = next((rule.event for rule in catalogue.rules if rule.infer == "permissions"), None)
        self._decode = decode_html if catalogue.decode_html else as_is

    def facts_needed(self, batch: Sequence[MergedTransaction], states: Mapping[str, str]) -> FactsRequest:
        """Return the facts that `map_batch` needs for these transactions."""
        document_states: set[Value] = set()
        children: dict[Child, set[Value]] = {}
        paths: dict[Path, set[Value]] = {}
        read_members = False
        for each in batch:
            read = each.transaction.existing is not None
            changes: Sequence[MergedChange | RowChange] = each.transaction.changes if read else each.changes
            for change in changes:
                plan = self._plans.of(change.table)
                if plan is not None and (plan.states_for or plan.children or plan.related):
                    _ask(plan, change, document_states, children)
                    _ask_related(plan, change, children, paths)
                if change.table in ROLE_TABLES and not read and must_be_read(change, states):
                    read_members = self._permissions is not None
        documents = self._ask_lines(batch, Emitted(states), children, paths) if self._plans.with_lines else {}
        _ask_images(batch, paths, documents, self._plans.models)
        return FactsRequest(
            states=frozenset(document_states - {None}),
            members=read_members,
            children={child: frozenset(keys) for child, keys in children.items()},
            documents={table: frozenset(keys) for table, keys in documents.items()},
            paths={path: frozenset(keys) for path, keys in paths.items()},
            models=self._plans.models,
        )

    def _ask_lines(
        self,
        batch: Sequence[MergedTransaction],
        emitted: Emitted,
        children: dict[Child, set[Value]],
        paths: dict[Path, set[Value]],
    ) -> dict[str, set[Value]]:
        """The documents of which only lines changed; the batch shows those that it changes at another moment."""
        shown = own_changes(self._plans, (change for each in batch for change in each.changes))
        documents: dict[str, set[Value]] = {}
        for each in batch:
            lines = lines_changed(self._plans, each.changes)
            for record in lines.keys() - emitted.before(each.transaction):
                plan, owner = lines[record].plan, lines[record].owner
                for child in (*(child for _, child in plan.children), *plan.origin):
                    children.setdefault(child, set()).add(owner)
                for _, path in plan.paths:
                    paths.setdefault((("", plan.table), *path), set()).add(owner)
                if record not in shown:
                    documents.setdefault(plan.table, set()).add(owner)
        return documents

    def map_batch(
        self,
        source: str,
        batch: Sequence[MergedTransaction],
        facts: Facts,
        states: Mapping[str, str],
        site: str = "",
    ) -> Mapped:
        """``states``: the outbox's small states of this source, as of the transactions before these.  ``site``: the
        address of FacturaScripts; empty: not known."""
        events: list[Event] = []
        times, history = _history(batch)
        permissions = self._permission_events(source, states, facts, batch)
        emitted = Emitted(states)
        for each in batch:
            transaction, merged = each.transaction, each.changes
            if permissions is not None:
                events += permissions.settle(each)
            lines, alone = self._lines(each, emitted) if self._plans.with_lines else (_NO_LINES, None)
            context = _Context(
                source,
                transaction.token,
                merged,
                facts,
                _states(merged, facts) if len(merged) > 1 else facts.states,
                events,
                history,
                times[transaction.token],
                transaction.observed,
                transaction.more,
                lines,
                self._plans,
                site,
            )
            if (read := transaction.existing) is not None:
                if read.due is None:
                    _map_existing(self._plans, transaction.changes, read, context)
                else:
                    _map_due(self._plans, transaction.changes, read.due, context)
            touched = False
            for change in merged:
                for changed in alone.get(id(change), ()) if alone else ():
                    _map_lines(changed, context)
                touched |= change.table in PERMISSION_TABLES
                plan = self._plans.of(change.table)
                if plan is not None:
                    _map_change(plan, change, context)
            if touched and permissions is not None:
                events += permissions.of(each)
        return Mapped(events, {**emitted.changed, **_stored_states(permissions, states)})

    def _lines(
        self, each: MergedTransaction, emitted: Emitted
    ) -> tuple[Mapping[str, LinesChanged], Mapping[int, list[LinesChanged]]]:
        """The documents whose lines the transaction changed, by record; of these, the ones that it changes in nothing
        else, by their first change."""
        before = emitted.before(each.transaction)
        lines = {
            record: changed
            for record, changed in lines_changed(self._plans, each.changes).items()
            if record not in before
        }
        own = own_changes(self._plans, each.changes)
        emitted.note(each.transaction, own.union(lines))
        alone: dict[int, list[LinesChanged]] = {}
        for record, changed in lines.items():
            if record not in own:
                alone.setdefault(id(changed.changes[0]), []).append(changed)
        return lines, alone

    def holds(self, states: Mapping[str, str]) -> bool:
        """Return whether the states hold events that `release` gives when no change comes for a while (`QUIET`)."""
        return HELD in states

    def release(self, source: str, states: Mapping[str, str]) -> Mapped:
        """Give the events that are held."""
        permissions = self._permission_events(source, states, NO_FACTS, ())
        events = permissions.release() if permissions is not None else []
        return Mapped(events, _stored_states(permissions, states))

    def _permission_events(
        self, source: str, states: Mapping[str, str], facts: Facts, batch: Sequence[MergedTransaction]
    ) -> PermissionEvents | None:
        if self._permissions is None:
            return None
        read = None if facts.members is None else Members.read(facts.members, [each.changes for each in batch])
        return PermissionEvents(self._permissions, source, states, self._decode, read)


def _stored_states(permissions: PermissionEvents | None, states: Mapping[str, str]) -> dict[str, str | None]:
    """Return the states to store.  Without events of permissions, the states for them are stale and go; so do the
    session states of 0.1.0."""
    stale: dict[str, str | None] = {name: None for name in states if name.startswith("session:")}
    if permissions is not None:
        return stale | permissions.states_changed()
    return stale | {name: None for name in (HELD, MEMBERS) if name in states}


def _history(batch: Sequence[MergedTransaction]) -> tuple[dict[str, int], History]:
    """Return the order of the tokens' transactions; the parts of a huge transaction happened at once."""
    parts: dict[str, list[MergedChange]] = {}
    for each in batch:
        token = each.transaction.token
        parts[token] = parts[token] + each.changes if token in parts else each.changes
    return {token: time for time, token in enumerate(parts)}, History(list(parts.values()))


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


def _ask_related(
    plan: TablePlan, change: MergedChange | RowChange, children: dict[Child, set[Value]], paths: dict[Path, set[Value]]
) -> None:
    row = change.after if change.after is not None else change.before
    if row is None:
        return
    for _, path in plan.paths:
        paths.setdefault(path, set()).add(row.get(path[0][0]))
    for child in plan.origin:
        children.setdefault(child, set()).update(change.key.values())


def _ask_images(
    batch: Sequence[MergedTransaction],
    paths: dict[Path, set[Value]],
    documents: dict[str, set[Value]],
    models: Mapping[str, str],
) -> None:
    """Add the records to which rows lead that the batch itself changed: the database may hold these rows no more, or
    with other values."""
    images: dict[str, list[tuple[Value, Row]]] = {}
    tables = {table for path in paths for _, table in path[:-1]} | ({TRANSFORMATIONS} if models else set())
    for change in (change for each in batch for change in each.changes) if tables else ():
        if change.table in tables and len(change.key) == 1:
            (column,) = change.key
            rows = [row for row in (change.before, change.after) if row is not None]
            images.setdefault(change.table, []).extend((row.get(column), row) for row in rows)
    for length in range(max(map(len, paths), default=0), 1, -1):
        for path in [path for path in paths if len(path) == length]:
            rows = [row for key, row in images.get(path[0][1], ()) if key in paths[path]]
            paths.setdefault(path[1:], set()).update(row.get(path[1][0]) for row in rows)
    for _, row in images.get(TRANSFORMATIONS, ()):
        for table, key in filter(None, (linked(row, side, models) for side in "12")):
            documents.setdefault(table, set()).add(key)


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
                labels=plan.label.searched(data), related=context.related(plan, change, change.after or {}),
                link=page_url(context.site, plan.page, data),
            )
        )  # fmt: skip


def _map_due(plans: Plans, changes: Iterable[RowChange], due: DueDay, context: _Context) -> None:
    """Records whose date has come, if they meet the rule as they are now.  Ids depend on the rule, the day and the
    record only."""
    for change in changes:
        plan, row = plans.of(change.table), change.after or {}
        meets = None if plan is None else plan.due.get(due.event)
        days = days_since(due, row)
        if plan is None or meets is None or days is None or not meets(row):
            continue
        record = record_name(change.table, change.key)
        shared = event_ids(context.source, context.token, change.table, 0, NO_TIME)
        data, _ = _shown(plan, change, (row, None), context)
        context.events.append(
            Event(
                event_id(shared, due.event, record), due.event, context.source, change.table, record,
                plan.decode(change.key), data, None, change.time, context.token, labels=plan.label.searched(data),
                days=days, related=context.related(plan, change, row), link=page_url(context.site, plan.page, data),
            )
        )  # fmt: skip


def _map_change(plan: TablePlan, change: MergedChange, context: _Context) -> None:
    if change.operation is Operation.UPDATE:
        _map_update(plan, change, context)
        return
    row = change.after if change.after is not None else change.before
    seen = RuleInput(change.operation, row or {}, None, _NOTHING, context.states)
    names = [(rule.event, rule.inferred) for rule in _fired(plan, seen, change.key, context)]
    name = plan.row_events[change.operation]
    if name is not None:
        names.insert(0, (name, False))
    if names:
        _emit(plan, change, (row or {}, None), names, context)


def _map_lines(changed: LinesChanged, context: _Context) -> None:
    """The event of a document whose lines alone changed, or were read again.  A document that is gone by now has none:
    its deletion follows."""
    plan, first = changed.plan, changed.changes[0]
    operation = Operation.READ if changed.again else Operation.UPDATE
    name = plan.row_events[operation]
    column, row = context.document(plan.table, changed.owner)
    if name is None or row is None or (changed.again and context.observed):  # then the documents are read themselves
        return
    time = max(change.time for change in changed.changes)
    key = {column: changed.owner}
    change = MergedChange(operation, plan.table, key, None, row, first.ordinal, first.first_time, time)
    _emit(plan, change, (row, None if changed.again else {}), [(name, False)], context)


def _map_update(plan: TablePlan, change: MergedChange, context: _Context) -> None:
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    columns = changed_columns(before, after)
    lines = _lines_differ(plan, change, context)
    if not columns and not change.secrets_changed and not lines:
        return
    fired: list[Transition] = []
    watched = plan.watched
    if not watched.isdisjoint(columns) or not watched.isdisjoint(change.secrets_changed) or ANY_COLUMN in watched:
        changed = change.secrets_changed.union(columns)
        seen = RuleInput(Operation.UPDATE, after, before, changed, context.states)
        fired = _fired(plan, seen, change.key, context)
    names = [(rule.event, rule.inferred) for rule in fired]
    updated = plan.row_events[Operation.UPDATE]
    if updated is not None and (lines or not plan.noise.union(*(rule.explains for rule in fired)).issuperset(columns)):
        names.insert(0, (updated, False))
    if names:
        previous = {column: before.get(column) for column in columns}
        _emit(plan, change, (after, previous), names, context)


def _lines_differ(plan: TablePlan, change: MergedChange | RowChange, context: _Context) -> bool:
    if plan.lines is None or not context.lines:
        return False
    keys = (change.key, getattr(change, "former_key", None))
    return any(key and record_name(plan.table, key) in context.lines for key in keys)


def _fired(plan: TablePlan, seen: RuleInput, key: Row, context: _Context) -> list[Transition]:
    return [
        rule
        for rule in plan.transitions[seen.operation]
        if rule.test(seen) and (rule.copies is None or context.originals(rule, rule.copies).isdisjoint(key.values()))
    ]


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
    key, labels = plan.decode(change.key), plan.label.searched(data)
    related = context.related(plan, change, images[0])
    link = "" if change.operation is Operation.DELETE else page_url(context.site, plan.page, data)
    shared = event_ids(context.source, context.token, table, change.ordinal, context.named_by(change.first_time))
    context.events += [
        Event(
            event_id(shared, name, record), name, context.source, table, record, key, data, previous,
            change.time, context.token, inferred, former, context.observed, "", labels, related=related, link=link,
        )
        for name, inferred in names
    ]  # fmt: skip


def _shown(
    plan: TablePlan, change: MergedChange | RowChange, images: tuple[Row, Row | None], context: _Context
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Data and previous as receivers see them."""
    data: Mapping[str, Any] = plan.decode(plan.secrets.of(images[0], change.key))
    if plan.children and change.operation is not Operation.TRUNCATE:
        data = {**data, **_children(plan, change, context)}
    if images[1] is None:
        return data, None
    previous: Mapping[str, Any] = plan.decode(plan.secrets.of(images[1], change.key))
    if plan.lines is not None and _lines_differ(plan, change, context):
        previous = {**previous, **_former_lines(plan, change, plan.lines, context)}
    return data, previous


def _former_lines(
    plan: TablePlan, change: MergedChange | RowChange, child: Child, context: _Context
) -> Mapping[str, Any]:
    """All former lines of a document or, where they are many or not known, those that were changed."""
    keys = [key for key in (getattr(change, "former_key", None), change.key) if key]
    owners = [value for key in keys for value in key.values()]
    if not context.more:
        lines = context.children_before(child, owners[0])
        if len(lines) <= _ALL_LINES:
            return {LINES: [plan.decode(line) for line in lines]}
    added, removed, changed = list[Row](), list[Row](), list[Mapping[str, Row]]()
    documents = (context.lines.get(record_name(plan.table, key)) for key in keys)
    differing = {id(line): line for each in documents if each is not None for line in each.changes}
    for line in islice(differing.values(), _CHANGED_LINES):
        before, after = (
            row if row is not None and row.get(child.column) in owners else None for row in (line.before, line.after)
        )
        if before is None:
            added.append(plan.decode(line.key))
        elif after is None:
            removed.append(plan.decode(before))
        else:
            former = {column: before.get(column) for column in changed_columns(before, after)}
            changed.append({"key": plan.decode(line.key), "previous": plan.decode(former)})
    more = context.more or len(differing) > _CHANGED_LINES
    return {LINES_CHANGED: {"added": added, "removed": removed, "changed": changed, "more": more}}


def _children(plan: TablePlan, change: MergedChange | RowChange, context: _Context) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    (owner,) = change.key.values()
    for kind, child in plan.children:
        if change.operation is Operation.DELETE:
            rows = context.history.deleted(context.time, child, owner)
        else:
            rows = context.children(child, owner)
        found[kind] = [plan.decode(row) for row in rows]
    return found
