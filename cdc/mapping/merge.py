"""Makes one change per record out of all changes that one transaction made to it.

FacturaScripts writes a row several times in a transaction (an invoice is inserted with total 0 and updated with its
totals), and a foreign key cascade can be reported twice.  What counts is the record before and after:

* insert, then updates: an insert with the last image; updates: first before image, last after image;
* insert, then delete: nothing; delete, then insert of the same key: an update;
* an update that renames the primary key is followed: ``before`` holds the old key, ``after`` the new one.  Records may
  share a key for a moment, where the primary key is deferred: then the images tell them apart;
* a row reported as deleted twice was deleted once; TRUNCATE swallows what came before it in its table.

READ and TRUNCATE pass as they are.  Only the images that are left are decoded (`cdc.model.image`).

Changes of a document's lines are merged into a change of the document.  A huge transaction comes in parts, and the
lines of one document may lie in several: the document has its ``updated`` with the first of them.  The documents that
had an event are noted in small states, one a part, until the last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cdc.mapping.plan import Plans, TablePlan
from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.event import record_name
from cdc.model.image import Image, key_of, opened

_PREFIX = "lines:"
#: Table and key values: binary-exact, unlike the database's own collation.
Identity = tuple[Value, ...]


@dataclass(slots=True)
class MergedChange:
    """The changes of one transaction to one record, as one.

    ``ordinal`` and ``first_time`` are those of its first change (they identify it), ``time`` of its last one (the
    image that ``after`` shows).  ``former_key``: the key before, when the transaction renamed it.
    """

    operation: Operation
    table: str
    key: Row
    before: Row | None
    after: Row | None
    ordinal: int
    first_time: datetime
    time: datetime
    secrets_changed: frozenset[str] = frozenset()
    former_key: Row | None = None


@dataclass(slots=True)
class LinesChanged:
    """The changes that one transaction made to the lines of one document (``owner``: the value of its key)."""

    plan: TablePlan
    owner: Value
    changes: list[MergedChange] = field(default_factory=list)

    @property
    def again(self) -> bool:
        """Return whether nothing is known but that the lines were read again."""
        return all(change.operation is Operation.READ for change in self.changes)


@dataclass(slots=True)
class MergedTransaction:
    """``changes``: none of rows that a backfill read, each of which is there once.  ``lines``: the documents whose
    lines differ, ``own``: those with lines that were changed themselves, both by record."""

    transaction: Transaction
    changes: list[MergedChange]
    lines: Mapping[str, LinesChanged]
    own: frozenset[str] = frozenset()


def merge(changes: Sequence[RowChange]) -> list[MergedChange]:
    """Return the merged changes in the order of each record's first change, except that a record which takes over the
    key of another one follows it (exchanged keys have no such order and keep the first)."""
    if len(changes) == 1:
        change = _started(changes[0])
        _finish(change)
        return [change]
    merger = _Merger()
    for each in changes:
        merger.add(each)
    return merger.result()


def key_before(change: RowChange | MergedChange) -> Row:
    """Return the primary key that the before image holds."""
    assert change.before is not None
    key = key_of(change.before, tuple(change.key))
    assert key is not None, "both images of a change have the same columns"
    return key


def _started(change: RowChange) -> MergedChange:
    return MergedChange(
        change.operation,
        change.table,
        change.key,
        change.before,
        change.after,
        change.ordinal,
        change.time,
        change.time,
        change.secrets_changed,
    )


def _finish(change: MergedChange) -> None:
    if change.before is not None:
        change.before = opened(change.before)
    if change.after is not None:
        change.after = opened(change.after)
    if change.operation is Operation.UPDATE:
        former = key_before(change)
        change.former_key = former if former != change.key else None


class _Merger:
    """``live``: touched records by the key that they have now: several while a deferred primary key lets them share
    it; ``dead``: records that existed before the transaction and do not now, by their original key.  ``begun``: keys
    whose original row is one of these; ``gone``: keys whose row was reported as deleted and did not come back, with the
    images that it had; ``earlier``: images that a created record no longer has."""

    def __init__(self) -> None:
        self._changes: dict[int, MergedChange] = {}
        self._live: dict[Identity, list[MergedChange]] = {}
        self._dead: dict[Identity, MergedChange] = {}
        self._begun: set[Identity] = set()
        self._gone: dict[Identity, list[Row | None]] = {}
        self._earlier: dict[int, list[Row | None]] = {}
        self._renamed = False

    def add(self, change: RowChange) -> None:
        """Merge one more change."""
        match change.operation:
            case Operation.UPDATE:
                self._update(change)
            case Operation.CREATE:
                identity = (change.table, *change.key.values())
                self._gone.pop(identity, None)
                self._live.setdefault(identity, []).append(self._start(change))
            case Operation.DELETE:
                self._delete(change)
            case Operation.TRUNCATE:
                self._forget_table(change.table)
                self._start(change)
            case Operation.READ:
                self._start(change)

    def result(self) -> list[MergedChange]:
        """Return the merged changes.  Records that have one key at the end become one, and so do a deleted and a
        created one of one key."""
        for identity, records in self._live.items():
            first = next((each for each in records if each.before is not None), records[0])
            for other in records if len(records) > 1 else ():
                first.after, first.time = other.after, other.time
                if other is not first:
                    del self._changes[id(other)]
            dead = self._dead.get(identity)
            if dead is not None and first.operation is Operation.CREATE:
                dead.operation, dead.after, dead.time = Operation.UPDATE, first.after, first.time
                del self._changes[id(first)]
        changes = list(self._changes.values())
        for change in changes:
            _finish(change)
        return _vacated_first(changes) if self._renamed else changes

    def _start(self, change: RowChange) -> MergedChange:
        merged = _started(change)
        self._changes[id(merged)] = merged
        return merged

    def _update(self, change: RowChange) -> None:
        former = (change.table, *key_before(change).values())
        identity = (change.table, *change.key.values())
        self._gone.pop(former, None)
        merged = self._taken(former, change)
        if merged is None and (merged := self._dead.pop(former, None)) is not None:
            merged.operation = Operation.UPDATE
        if merged is None:
            self._begun.add(former)
            merged = self._start(change)
        else:
            if merged.operation is Operation.CREATE:
                self._earlier.setdefault(id(merged), []).append(merged.after)
            merged.key, merged.after, merged.time = change.key, change.after, change.time
            if change.secrets_changed and merged.operation is Operation.UPDATE:
                merged.secrets_changed |= change.secrets_changed
        self._live.setdefault(identity, []).append(merged)
        if former != identity:
            self._gone.pop(identity, None)
            self._renamed = True

    def _delete(self, change: RowChange) -> None:
        identity = (change.table, *change.key.values())
        images = self._gone.get(identity)
        if (
            images is not None
            and identity not in self._live
            and (identity in self._begun or any(_same(each, change.before) for each in images))
        ):
            return  # a deletion that is reported again
        merged = self._taken(identity, change)
        self._gone[identity] = [change.before, *self._earlier.pop(id(merged), ())]
        if merged is None:
            self._begun.add(identity)
            self._dead[identity] = self._start(change)
        elif merged.operation is Operation.CREATE:
            del self._changes[id(merged)]
        else:
            merged.key = key_before(merged)
            merged.operation = Operation.DELETE
            merged.after = None
            merged.time = change.time
            merged.secrets_changed = frozenset()
            self._dead[merged.table, *merged.key.values()] = merged

    def _taken(self, identity: Identity, change: RowChange) -> MergedChange | None:
        """Return the touched record that the change found at a key, which is free then; None: it found another row.

        The images decide where a row that the transaction has not touched yet may have the same key."""
        records = self._live.get(identity)
        if not records:
            return None
        found = len(records) - 1
        if found or identity not in self._begun:
            found = next((at for at in range(found, -1, -1) if self._had(records[at], change.before)), -1)
            if found < 0 and identity not in self._begun:
                return None
        merged = records.pop(found)
        if not records:
            del self._live[identity]
        return merged

    def _had(self, merged: MergedChange, image: Row | None) -> bool:
        """Return whether the record has the image, or had it since it was created: a cascade can be reported as if
        others had not been."""
        return _same(merged.after, image) or any(_same(each, image) for each in self._earlier.get(id(merged), ()))

    def _forget_table(self, table: str) -> None:
        self._changes = {number: change for number, change in self._changes.items() if change.table != table}
        self._earlier = {number: images for number, images in self._earlier.items() if number in self._changes}
        self._live = {identity: records for identity, records in self._live.items() if identity[0] != table}
        self._dead = {identity: change for identity, change in self._dead.items() if change.table != table}
        self._begun = {identity for identity in self._begun if identity[0] != table}
        self._gone = {identity: images for identity, images in self._gone.items() if identity[0] != table}


def _same(one: Row | None, other: Row | None) -> bool:
    """Return whether two images are equal in the columns that both have: a column may be added in between."""
    if one is None or other is None:
        return False
    if type(one) is Image and type(other) is Image and one.text == other.text:
        return True
    one, other = opened(one), opened(other)
    return one == other or all(one[column] == other[column] for column in one.keys() & other.keys())


def _vacated_first(changes: Iterable[MergedChange]) -> list[MergedChange]:
    """Return the changes, each after the one that frees the key which it takes; otherwise in their order."""
    changes = list(changes)
    owners = {(c.table, *(c.former_key or c.key).values()): c for c in changes if c.before is not None}
    ordered: dict[int, MergedChange] = {}
    for change in changes:
        chain: dict[int, MergedChange] = {}
        current: MergedChange | None = change
        while current is not None and id(current) not in ordered and id(current) not in chain:
            chain[id(current)] = current
            current = owners.get((current.table, *current.key.values())) if current.after is not None else None
        ordered.update(reversed(chain.items()))
    return list(ordered.values())


def lines_changed(plans: Plans, changes: Iterable[MergedChange]) -> dict[str, LinesChanged]:
    """Return the documents whose lines differ, by record, in the order of the first change."""
    found: dict[str, LinesChanged] = {}
    for change in changes:
        for plan in plans.documents.get(change.table, ()):
            for owner in _owners(plan, change):
                record = record_name(plan.table, {"": owner})
                if record not in found:
                    found[record] = LinesChanged(plan, owner)
                found[record].changes.append(change)
    return found


def own_changes(plans: Plans, changes: Iterable[MergedChange]) -> frozenset[str]:
    """Return the documents with lines that were changed themselves, by the records that they are and were."""
    return frozenset(
        record_name(change.table, key)
        for change in changes
        if (plan := plans[change.table]) is not None and plan.lines is not None
        for key in (change.key, change.former_key)
        if key
    )


def _owners(plan: TablePlan, change: MergedChange) -> Iterable[Value]:
    """The documents that the line belonged to and belongs to, if it differs in more than noise."""
    assert plan.lines is not None, "a document with lines"
    before, after = change.before, change.after
    if (
        before is not None
        and after is not None
        and not any(before.get(column) != after.get(column) for column in {*before, *after} - plan.lines_noise)
    ):
        return ()
    owners = (image.get(plan.lines.column) for image in (before, after) if image is not None)
    return [owner for owner in dict.fromkeys(owners) if owner is not None]


class Emitted:
    """Documents of huge transactions that had an event with an earlier part.  ``changed``: states to be stored."""

    def __init__(self, states: Mapping[str, str]) -> None:
        self._parts: dict[str, str | None] = {name: text for name, text in states.items() if name.startswith(_PREFIX)}
        self.changed: dict[str, str | None] = {}

    def before(self, transaction: Transaction) -> set[str]:
        """Return the records that had an event with an earlier part of this transaction."""
        texts = (text for text in self._of(transaction).values() if text is not None)
        return {record for text in texts for record in json.loads(text)}

    def note(self, transaction: Transaction, records: Iterable[str]) -> None:
        """Note the records that have an event with this part; forget all with the last part."""
        former = self._of(transaction)
        if not transaction.more:
            changed: dict[str, str | None] = dict.fromkeys(former)
        else:
            text = json.dumps(sorted(records), ensure_ascii=False, separators=(",", ":"))
            changed = {f"{_PREFIX}{transaction.token}:{len(former)}": text}
        self.changed |= changed
        self._parts |= changed

    def _of(self, transaction: Transaction) -> dict[str, str | None]:
        start = f"{_PREFIX}{transaction.token}:"
        return {name: text for name, text in self._parts.items() if name.startswith(start)} if self._parts else {}
