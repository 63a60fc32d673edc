"""Changes of a document's lines: which documents they change, and which of these have had their event.

A huge transaction comes in parts, and the lines of one document may lie in several: the document has its ``updated``
with the first of them.  The documents that had an event are noted in small states, one a part, until the last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdc.mapping.event_id import record_name
from cdc.mapping.merge import MergedChange
from cdc.mapping.plan import Plans, TablePlan
from cdc.model.change import Operation, Row, Transaction, Value

_PREFIX = "lines:"


@dataclass(slots=True)
class LinesChanged:
    """The changes that one transaction made to the lines of one document (``owner``: the value of its key)."""

    plan: TablePlan
    owner: Value
    changes: list[MergedChange] = field(default_factory=list)

    @property
    def record(self) -> str:
        return document(self.plan, self.owner)

    @property
    def again(self) -> bool:
        """Return whether nothing is known but that the lines were read again."""
        return all(change.operation is Operation.READ for change in self.changes)


def document(plan: TablePlan, owner: Value) -> str:
    """The document's name as a record."""
    return record_name(plan.table, {"": owner})


def lines_changed(plans: Plans, changes: Iterable[MergedChange]) -> dict[str, LinesChanged]:
    """Return the documents whose lines differ, by record, in the order of the first change."""
    found: dict[str, LinesChanged] = {}
    for change in changes:
        for plan in plans.documents_of(change.table):
            for owner in _owners(plan, change):
                record = document(plan, owner)
                if record not in found:
                    found[record] = LinesChanged(plan, owner)
                found[record].changes.append(change)
    return found


def own_changes(plans: Plans, changes: Iterable[MergedChange]) -> set[str]:
    """Return the documents with lines that were changed themselves, by the records that they are and were."""
    return {
        record_name(change.table, key)
        for change in changes
        if (plan := plans.of(change.table)) is not None and plan.lines is not None
        for key in (change.key, change.former_key)
        if key
    }


def _owners(plan: TablePlan, change: MergedChange) -> Iterable[Value]:
    """The documents that the line belonged to and belongs to, if it differs in more than noise."""
    assert plan.lines is not None, "a document with lines"
    before, after = change.before, change.after
    if before is not None and after is not None and not _differ(before, after, plan.lines_noise):
        return ()
    owners = (image.get(plan.lines.column) for image in (before, after) if image is not None)
    return [owner for owner in dict.fromkeys(owners) if owner is not None]


def _differ(before: Row, after: Row, noise: frozenset[str]) -> bool:
    return any(before.get(column) != after.get(column) for column in {*before, *after} - noise)


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
