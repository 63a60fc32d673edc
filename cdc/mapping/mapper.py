"""Transactions in, events out.  Pure: what it must know comes as facts and states, what it learns goes out again.

Order within a transaction: records in the order of their first change; of one record ``created``, ``updated`` or
``deleted`` first, then its transitions in catalogue order; `permissions_changed` events of all users last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, islice
from operator import ne
from typing import Any, Final

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.facts import NO_FACTS, FactLookup, Facts, FactsRequest, History, gather_facts
from cdc.mapping.merge import Emitted, LinesChanged, MergedChange, MergedTransaction, lines_changed, merge, own_changes
from cdc.mapping.permissions import (
    HELD,
    MEMBERS,
    PERMISSION_TABLES,
    ROLE_TABLES,
    Members,
    PermissionEvents,
    must_be_read,
)
from cdc.mapping.plan import ANY_COLUMN, Plans, TablePlan, Transition, page_url
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
    linked,
)
from cdc.model.backfill import days_since
from cdc.model.change import Existing, Operation, Row, RowChange, Transaction, Value
from cdc.model.event import NO_TIME, Event, ExistingIds, event_id, event_ids, record_name
from cdc.model.image import opened

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


class Mapper:
    """Maps by one catalogue; has no state of its own."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._plans = Plans(catalogue)

    def batch(
        self, source: str, transactions: Sequence[Transaction], states: Mapping[str, str], site: str = ""
    ) -> BatchMapping:
        """Return the mapping of these transactions.  ``states``: the outbox's small states of this source, as of the
        transactions before these.  ``site``: the address of FacturaScripts; empty: not known."""
        return BatchMapping(self._plans, source, transactions, states, site)

    def holds(self, states: Mapping[str, str]) -> bool:
        """Return whether the states hold events that `release` gives when no change comes for a while (`QUIET`)."""
        return HELD in states

    def release(self, source: str, states: Mapping[str, str]) -> Mapped:
        """Return the events that are held."""
        return BatchMapping(self._plans, source, (), states, "").release()


class BatchMapping:
    """One batch on its way through mapping: `read_facts`, then `map`."""

    def __init__(
        self, plans: Plans, source: str, transactions: Sequence[Transaction], states: Mapping[str, str], site: str
    ) -> None:
        self._plans = plans
        self._source = source
        self._states = states
        self._site = site
        self._batch = [
            MergedTransaction(each, [] if each.existing is not None else merge(each.changes), _NO_LINES)
            for each in transactions
        ]
        for each in self._batch if plans.documents else ():
            each.lines, each.own = lines_changed(plans, each.changes), own_changes(plans, each.changes)
        self._facts = NO_FACTS
        self._events: list[Event] = []

    # -- facts ------------------------------------------------------------------------------------------------------

    async def read_facts(self, lookup: FactLookup, keys: dict[str, str]) -> BatchMapping:
        """Read the facts that mapping needs, which is nothing for most batches.  ``keys``: table → its key column,
        remembered from batch to batch.  Return itself."""
        asked = self.facts_needed()
        if asked.states or asked.members or asked.children or asked.documents or asked.paths:
            self._facts = await gather_facts(asked, lookup, keys)
        return self

    def facts_needed(self) -> FactsRequest:
        """Return the facts that `map` needs."""
        asked = FactsRequest(models=self._plans.models)
        for each in self._batch:
            existing = each.transaction.existing is not None
            changes: Sequence[MergedChange | RowChange] = each.transaction.changes if existing else each.changes
            for change in changes:
                plan = self._plans[change.table]
                if plan is not None and plan.asks:
                    self._ask(plan, change, asked)
                if change.table in ROLE_TABLES and not existing and must_be_read(change, self._states):
                    asked.members = self._plans.permissions is not None
        if self._plans.documents:
            self._ask_lines(asked)
        if asked.paths or self._plans.models:
            self._ask_images(asked)
        asked.states.discard(None)
        return asked

    def _ask(self, plan: TablePlan, change: MergedChange | RowChange, asked: FactsRequest) -> None:
        after, before = change.after, change.before
        if after is not None:
            reached = change.operation is not Operation.READ and plan.states_for  # READ fires no transition
            if reached and (before is None or any(before.get(c) != after.get(c) for c in plan.states_for)):
                asked.states.add(after.get(STATE_COLUMN))
            for _, child in plan.children:
                asked.children[child].update(change.key.values())
        row = before if after is None else after
        if row is not None:
            for _, path in plan.paths:
                asked.paths[path].add(row.get(path[0][0]))
            for child in plan.origin:
                asked.children[child].update(change.key.values())

    def _ask_lines(self, asked: FactsRequest) -> None:
        """Add the documents of which only lines changed; the batch shows those that it changes at another moment."""
        emitted, shown = Emitted(self._states), {record for each in self._batch for record in each.own}
        for each in self._batch:
            for record in each.lines.keys() - emitted.before(each.transaction):
                plan, owner = each.lines[record].plan, each.lines[record].owner
                for child in (*(child for _, child in plan.children), *plan.origin):
                    asked.children[child].add(owner)
                for _, path in plan.paths:
                    asked.paths[(("", plan.table), *path)].add(owner)
                if record not in shown:
                    asked.documents[plan.table].add(owner)

    def _ask_images(self, asked: FactsRequest) -> None:
        """Add the records to which rows lead that the batch itself changed: the database may hold these rows no more,
        or with other values."""
        paths, images = asked.paths, dict[str, list[tuple[Value, Row]]]()
        tables = {table for path in paths for _, table in path[:-1]} | ({TRANSFORMATIONS} if asked.models else set())
        for change in (change for each in self._batch for change in each.changes) if tables else ():
            if change.table in tables and len(change.key) == 1:
                (column,) = change.key
                rows = [row for row in (change.before, change.after) if row is not None]
                images.setdefault(change.table, []).extend((row.get(column), row) for row in rows)
        for length in range(max(map(len, paths), default=0), 1, -1):
            for path in [path for path in paths if len(path) == length]:
                rows = [row for key, row in images.get(path[0][1], ()) if key in paths[path]]
                paths[path[1:]].update(row.get(path[1][0]) for row in rows)
        for _, row in images.get(TRANSFORMATIONS, ()):
            for table, key in filter(None, (linked(row, side, asked.models) for side in "12")):
                asked.documents[table].add(key)

    # -- events -----------------------------------------------------------------------------------------------------

    def map(self, facts: Facts | None = None) -> Mapped:
        """Return the batch's events.  ``facts``: instead of those that were read."""
        self._facts = self._facts if facts is None else facts
        permissions = self._permission_events() if HELD in self._states else None
        emitted = Emitted(self._states) if self._plans.documents else None
        for each in self._batch:
            transaction = each.transaction
            if permissions is not None:
                self._events += permissions.settle(each)
            alone = self._begin(each, emitted)
            if transaction.existing is not None:
                self._map_existing(transaction.changes, transaction.existing)
            touched = False
            for change in each.changes:
                for changed in alone.get(id(change), ()) if alone else ():
                    self._map_lines(changed)
                touched |= change.table in PERMISSION_TABLES
                plan = self._plans[change.table]
                if plan is not None:
                    self._map_change(plan, change)
            if touched and (permissions := permissions or self._permission_events()) is not None:
                self._events += permissions.map(each)
        return self._mapped(permissions, {} if emitted is None else emitted.changed)

    def release(self) -> Mapped:
        """Return the events that are held."""
        permissions = self._permission_events()
        self._events += [] if permissions is None else permissions.release()
        return self._mapped(permissions, {})

    def _permission_events(self) -> PermissionEvents | None:
        """Return None where such events are switched off."""
        if self._plans.permissions is None:
            return None
        read = self._facts.members
        members = None if read is None else Members.read(read, [each.changes for each in self._batch])
        return PermissionEvents(self._plans.permissions, self._source, self._states, self._plans.decode, members)

    def _mapped(self, permissions: PermissionEvents | None, changed: Mapping[str, str | None]) -> Mapped:
        """Add the states to store.  Without events of permissions, the states for them are stale and go; so do the
        session states of 0.1.0."""
        stale: dict[str, str | None] = {name: None for name in self._states if name.startswith("session:")}
        if permissions is not None:
            stale |= permissions.states_changed()
        elif self._plans.permissions is None:
            stale |= {name: None for name in (HELD, MEMBERS) if name in self._states}
        return Mapped(self._events, {**changed, **stale})

    def _begin(self, each: MergedTransaction, emitted: Emitted | None) -> Mapping[int, list[LinesChanged]]:
        """Make ``each`` the transaction that is mapped.  Return the documents of which it changes lines and nothing
        else, by their first change."""
        self._merged, self._token, self._observed = each, each.transaction.token, each.transaction.observed
        self._copied: dict[str, set[Value]] = {}  # event → owners of the rows that its table copies
        self._document_states = self._facts.states
        if len(each.changes) > 1:  # what the transaction itself wrote is on top
            self._document_states = {**self._facts.states} | {
                change.key[STATE_COLUMN]: change.after
                for change in each.changes
                if change.table == STATE_TABLE and change.after is not None
            }
        self._lines = _NO_LINES
        alone: dict[int, list[LinesChanged]] = {}
        if emitted is not None:
            before = emitted.before(each.transaction)
            self._lines = {record: changed for record, changed in each.lines.items() if record not in before}
            emitted.note(each.transaction, each.own.union(self._lines))
            for record, changed in self._lines.items():
                if record not in each.own:
                    alone.setdefault(id(changed.changes[0]), []).append(changed)
        return alone

    def _map_existing(self, changes: Iterable[RowChange], existing: Existing) -> None:
        """Rows that a backfill read, or records whose date has come, if they meet the rule as they are now.

        Ids depend only on the job (of a rule by time: rule and day) and the record: a row that is read again, at
        any time and in pages of any size, has the same id."""
        due, ids = existing.due, dict[str, ExistingIds]()
        for change in changes:
            table, row, days = change.table, opened(change.after or {}), None
            plan = self._plans[table]
            name = None if plan is None else plan.existing
            if plan is not None and due is not None:
                meets, days = plan.due.get(due.event), days_since(due, row)
                name = due.event if meets is not None and days is not None and meets(row) else None
            if plan is None or name is None:
                continue
            if table not in ids:
                ids[table] = ExistingIds(event_ids(self._source, self._token, table, 0, NO_TIME), name)
            record = record_name(table, change.key)
            data, _ = self._shown(plan, change, row, None)
            self._events.append(
                Event(
                    ids[table].of(change.key, record) if due is None else event_id(ids[table].shared, name, record),
                    name, self._source, table, record, plan.decode(change.key), data, None, change.time, self._token,
                    only_to=existing.endpoint if due is None else "", labels=plan.label.searched(data), days=days,
                    related=self._related(plan, change, row), link=page_url(self._site, plan.page, data),
                )
            )  # fmt: skip

    def _map_lines(self, changed: LinesChanged) -> None:
        """The event of a document whose lines alone changed, or were read again.  A document that is gone by now has
        none: its deletion follows."""
        plan, first = changed.plan, changed.changes[0]
        operation = Operation.READ if changed.again else Operation.UPDATE
        name = plan.row_events[operation]
        column, row = self._document(plan.table, changed.owner)
        if name is None or row is None or (changed.again and self._observed):  # then the documents are read themselves
            return
        time = max(change.time for change in changed.changes)
        key = {column: changed.owner}
        change = MergedChange(operation, plan.table, key, None, row, first.ordinal, first.first_time, time)
        self._emit(plan, change, row, None if changed.again else {}, [(name, False)])

    def _map_change(self, plan: TablePlan, change: MergedChange) -> None:
        if change.operation is not Operation.UPDATE:
            row = (change.after if change.after is not None else change.before) or {}
            seen = RuleInput(change.operation, row, None, _NOTHING, self._document_states)
            names = [(rule.event, rule.inferred) for rule in self._fired(plan, seen, change.key)]
            name = plan.row_events[change.operation]
            if name is not None:
                names.insert(0, (name, False))
            if names:
                self._emit(plan, change, row, None, names)
            return
        before, after = change.before, change.after
        assert before is not None
        assert after is not None
        columns = changed_columns(before, after)
        lines = self._lines_differ(plan, change) if self._lines else False
        if not columns and not change.secrets_changed and not lines:
            return
        fired: list[Transition] = []
        watched = plan.watched
        if not watched.isdisjoint(columns) or not watched.isdisjoint(change.secrets_changed) or ANY_COLUMN in watched:
            changed = change.secrets_changed.union(columns)
            fired = self._fired(
                plan, RuleInput(Operation.UPDATE, after, before, changed, self._document_states), change.key
            )
        names = [(rule.event, rule.inferred) for rule in fired]
        name = plan.row_events[Operation.UPDATE]
        if name is not None and (lines or not plan.noise.union(*(rule.explains for rule in fired)).issuperset(columns)):
            names.insert(0, (name, False))
        if names:
            self._emit(plan, change, after, {column: before.get(column) for column in columns}, names)

    def _fired(self, plan: TablePlan, seen: RuleInput, key: Row) -> list[Transition]:
        return [
            rule
            for rule in plan.transitions[seen.operation]
            if rule.test(seen) and (rule.copies is None or self._originals(rule, rule.copies).isdisjoint(key.values()))
        ]

    def _originals(self, rule: Transition, child: Child) -> set[Value]:
        """Return the owners of rows in which the transaction changes the columns that the rule's table copies."""
        if rule.event not in self._copied:
            self._copied[rule.event] = {
                each.after.get(child.column)
                for each in self._merged.changes
                if each.table == child.table
                and each.before is not None
                and each.after is not None
                and any(each.before.get(column) != each.after.get(column) for column in rule.changed)
            }
        return self._copied[rule.event]

    def _emit(
        self, plan: TablePlan, change: MergedChange, row: Row, previous: Row | None, names: Iterable[tuple[str, bool]]
    ) -> None:
        """Add the events ``names`` (with whether each is inferred) of one change; they share key, data and previous."""
        table, token, observed = plan.table, self._token, self._observed
        record = record_name(table, change.key)
        former = None if change.former_key is None else record_name(table, change.former_key)
        data, previous = self._shown(plan, change, row, previous)
        key, labels = plan.decode(change.key), plan.label.searched(data)
        related = self._related(plan, change, row) if plan.related else None
        shown = self._site and change.operation is not Operation.DELETE
        link = page_url(self._site, plan.page, data) if shown else ""
        time = NO_TIME if observed else change.first_time
        shared = event_ids(self._source, token, table, change.ordinal, time)
        self._events += [
            Event(
                event_id(shared, name, record), name, self._source, table, record, key, data, previous,
                change.time, token, inferred, former, observed, "", labels, related=related, link=link,
            )
            for name, inferred in names
        ]  # fmt: skip

    # -- rows as receivers see them ---------------------------------------------------------------------------------

    def _shown(
        self, plan: TablePlan, change: MergedChange | RowChange, row: Row, former: Row | None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Return data and previous."""
        # Most rows have only columns that are known to be shown, which is seen fastest here.
        secrets, key = plan.secrets, change.key
        data: Mapping[str, Any] = plan.decode(row if row.keys() <= secrets.known else secrets.of(row, key))
        if plan.children and change.operation is not Operation.TRUNCATE:
            (owner,) = change.key.values()
            deleted = change.operation is Operation.DELETE
            read = self._deleted_children if deleted else self._children
            included = {kind: [plan.decode(row) for row in read(child, owner)] for kind, child in plan.children}
            data = {**data, **included}
        if former is None:
            return data, None
        previous: Mapping[str, Any] = plan.decode(former if former.keys() <= secrets.known else secrets.of(former, key))
        if plan.lines is not None and self._lines_differ(plan, change):
            previous = {**previous, **self._former_lines(plan, change, plan.lines)}
        return data, previous

    def _lines_differ(self, plan: TablePlan, change: MergedChange | RowChange) -> bool:
        if plan.lines is None or not self._lines:
            return False
        keys = (change.key, getattr(change, "former_key", None))
        return any(key and record_name(plan.table, key) in self._lines for key in keys)

    def _former_lines(self, plan: TablePlan, change: MergedChange | RowChange, child: Child) -> Mapping[str, Any]:
        """Return all former lines of a document or, where they are many or not known, those that were changed."""
        keys = [key for key in (getattr(change, "former_key", None), change.key) if key]
        owners = [value for key in keys for value in key.values()]
        more = self._merged.transaction.more  # the other parts of a huge transaction may change the same lines
        if not more:
            lines = self._children(child, owners[0], committed=False)
            if len(lines) <= _ALL_LINES:
                return {LINES: [plan.decode(line) for line in lines]}
        added, removed, changed = list[Row](), list[Row](), list[Mapping[str, Row]]()
        documents = (self._lines.get(record_name(plan.table, key)) for key in keys)
        differing = {id(line): line for each in documents if each is not None for line in each.changes}
        for line in islice(differing.values(), _CHANGED_LINES):
            before, after = (
                row if row is not None and row.get(child.column) in owners else None
                for row in (line.before, line.after)
            )
            if before is None:
                added.append(plan.decode(line.key))
            elif after is None:
                removed.append(plan.decode(before))
            else:
                former = {column: before.get(column) for column in changed_columns(before, after)}
                changed.append({"key": plan.decode(line.key), "previous": plan.decode(former)})
        more = more or len(differing) > _CHANGED_LINES
        return {LINES_CHANGED: {"added": added, "removed": removed, "changed": changed, "more": more}}

    # -- other records, as the transaction left or found them -------------------------------------------------------

    @cached_property
    def _past(self) -> tuple[History, Mapping[str, int]]:
        """The batch's changes by transaction, and each token's index; the parts of a huge transaction happened at
        once."""
        parts: dict[str, list[MergedChange]] = {}
        for each in self._batch:
            token = each.transaction.token
            parts[token] = parts[token] + each.changes if token in parts else each.changes
        return History(list(parts.values())), {token: time for time, token in enumerate(parts)}

    def _children(self, child: Child, owner: Value, *, committed: bool = True) -> list[Row]:
        """Return the rows of ``owner`` as the transaction left them, or found them."""
        history, times = self._past
        live = self._facts.children.get(child, {}).get(owner, [])
        return history.rows(times[self._token], child, owner, live, committed=committed)

    def _deleted_children(self, child: Child, owner: Value) -> list[Row]:
        history, times = self._past
        return history.deleted(times[self._token], child, owner)

    def _document(self, table: str, owner: Value, *, gone: bool = False) -> tuple[str, Row | None]:
        """Return the key column of a document, and its row as the transaction left it (None: it is not there any more).
        ``gone``: one that the transaction deleted as it was."""
        history, times = self._past
        known = history.record(times[self._token], table, owner, gone=gone)
        if known is not None:
            return known
        column, rows = self._facts.documents.get(table, ("", {}))
        return column, rows.get(owner)

    def _related(self, plan: TablePlan, change: MergedChange | RowChange, row: Row) -> Mapping[str, Any] | None:
        """Return the records that belong to ``row``, as the transaction left them; those of a deleted row as it found
        them.  None where the plan shows none."""
        if not plan.related or change.operation is Operation.TRUNCATE:
            return None
        gone = change.operation is Operation.DELETE
        related: dict[str, Any] = {kind: self._at_end(path, row, gone=gone) for kind, path in plan.paths}
        if plan.origin:
            (owner,) = change.key.values()
            sides: list[list[dict[str, Any]]] = []
            for child, side in zip(plan.origin, "12", strict=True):
                rows = self._children(child, owner, committed=not gone)
                links = dict.fromkeys(linked(row, side, self._plans.models) for row in rows)
                records = (self._record(*link, gone=gone) for link in links if link is not None)
                sides.append([record for record in records if record is not None])
            related[ORIGIN] = dict(zip(("before", "after"), sides, strict=True))
        return related

    def _at_end(self, path: Path, row: Row, *, gone: bool) -> dict[str, Any] | None:
        """Return the record at the end of a way; None where there is none."""
        reached: Row | None = row
        for column, table in path:
            value = None if reached is None else reached.get(column)
            reached = None if value is None else self._document(table, value, gone=gone)[1]
        return None if reached is None else self._record(table, value, gone=gone)

    def _record(self, table: str, key: Value, *, gone: bool) -> dict[str, Any] | None:
        column, row = self._document(table, key, gone=gone)
        plan = self._plans.record(table)
        return None if row is None or plan is None else plan.shown({column: key}, row, self._site)


def changed_columns(before: Row, after: Row) -> list[str]:
    """Return the columns whose values differ, in column order; one that only one image has differs unless it is
    null."""
    if list(before) == list(after):
        return list(compress(after, map(ne, after.values(), before.values())))
    columns = dict.fromkeys((*after, *before))
    return [column for column in columns if before.get(column) != after.get(column)]
