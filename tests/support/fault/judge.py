"""Compares what a receiver was sent with the ledger of what was committed.  It shares no code with the product."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from support.fault.ledger import BASELINE, SILENT, Record, Row, Version, changed_columns, same, same_row

CHANGES = frozenset({"created", "updated", "deleted"})
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it arrived.  ``table`` is empty for events that are about no table of the ledger."""

    id: str
    table: str
    kind: str
    key: Any
    data: Row
    previous: Row | None
    transaction: str
    timestamp: str
    body: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """The exceptions that injected faults justify.  ``gaps``: tables whose changes may be missing if the last state
    arrives by ``read``; ``shapes``: tables whose events may lack a column that was added, or have one that was dropped,
    up to the version with the number ``until``.  ``revoked``: transactions that need not arrive.  ``renumbered``: the
    server restarts its count of transactions: one token names a transaction of before and one of after, with another
    timestamp.  ``restored``: tables that were put back from a dump; the log shows its rows as inserted, and the rows
    that it put back must be shown."""

    gaps: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    until: int = 1 << 60
    revoked: frozenset[str] = frozenset()
    renumbered: bool = False
    restored: frozenset[str] = frozenset()


@dataclass
class Verdict:
    """Numbers of faults, and examples of them.

    lost: committed, and neither delivered nor covered by a permitted re-read.  invented: no committed transaction made
    this change.  reordered: it arrived after a later change of its record.  doubled: the same change with another id.
    wrong: the change was committed, with other values.  split: the changes of one transaction carry several transaction
    tokens, or one token names several transactions.

    Not faults: changes delivered; again: repetitions with the same id; read: rows read again; covered: changes that
    only a permitted re-read shows; late: changes that arrived after a re-read had shown a later state; older: events
    with the columns of before or after an ALTER.
    """

    lost: int = 0
    invented: int = 0
    reordered: int = 0
    doubled: int = 0
    wrong: int = 0
    split: int = 0
    delivered: int = 0
    again: int = 0
    read: int = 0
    covered: int = 0
    late: int = 0
    older: int = 0
    derived: int = 0
    examples: list[str] = field(default_factory=list)

    FAULTS = ("lost", "invented", "reordered", "doubled", "wrong", "split")

    @property
    def faults(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.FAULTS if getattr(self, name)}

    def note(self, name: str, example: str) -> None:
        setattr(self, name, getattr(self, name) + 1)
        if name in self.FAULTS and sum(each.startswith(name) for each in self.examples) < EXAMPLES:
            self.examples.append(f"{name}: {example}"[:2000])

    def numbers(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "examples"}


def judge(versions: Sequence[Version], deliveries: Iterable[Delivery], allowed: Allowed | None = None) -> Verdict:
    """``versions`` in order of their numbers; ``deliveries`` in order of arrival."""
    court = _Court(versions, allowed or Allowed())
    for delivery in deliveries:
        court.take(delivery)
    return court.close()


def content(table: str, operation: str, key: Any, data: Row, previous: Row | None) -> str:
    """The text by which a delivery and a version are the same; true and 1 differ in it, 1 and 1.0 do not."""
    values = [table, operation, key, _plain(data), _plain(previous or {})]
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _plain(row: Row) -> dict[str, Any]:
    """Return whole doubles as integers: JSON does not distinguish 121.0 from 121."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in row.items()
    }


def expected(version: Version) -> str:
    data = version.before if version.after is None else version.after
    assert data is not None
    previous = changed_columns(version.before, version.after) if version.before and version.after else None
    key = version.old if version.new is None else version.new
    return content(version.table, version.operation, key, data, previous)


class _Court:
    def __init__(self, versions: Sequence[Version], allowed: Allowed) -> None:
        self.versions = versions
        self.allowed = allowed
        self.verdict = Verdict()
        self.chains: dict[Record, list[int]] = defaultdict(list)  # record → versions, in order
        self.waiting: dict[str, list[int]] = defaultdict(list)  # content → versions not delivered yet
        self.known: dict[str, int] = {}  # content → a version delivered already
        self.arrived: dict[int, str] = {}  # version → id of its event
        self.latest: dict[Record, int] = {}  # record → the newest version shown
        self.possible: dict[Record, int] = {}  # record → the newest version that its last re-read may have shown
        self.covered: set[int] = set()
        self.bodies: dict[str, tuple[str, int | None]] = {}  # id → body and version
        self.tokens: dict[str, set[str]] = defaultdict(set)  # ledger transaction → tokens of its events
        for place, version in enumerate(versions):
            for record in version.records:
                self.chains[record].append(place)
            if version.transaction in (BASELINE, SILENT):
                self.arrived[place] = ""
                if version.transaction == BASELINE:
                    self._advance(place)
            else:
                self.waiting[expected(version)].append(place)

    def take(self, delivery: Delivery) -> None:
        if delivery.id in self.bodies:
            self._again(delivery)
            return
        self.bodies[delivery.id] = (delivery.body, None)
        if not delivery.table:
            self.verdict.derived += 1
        elif delivery.kind == "read" or self._restored(delivery):
            self._read(delivery)
        elif delivery.kind == "deleted" and len(delivery.data) == 1 and delivery.table in self.allowed.gaps:
            self._end(delivery)
        elif delivery.kind in CHANGES:
            self._change(delivery)
        else:
            self.verdict.derived += 1

    def _restored(self, delivery: Delivery) -> bool:
        """Return whether this is a row that a dump inserted again, perhaps one that only a re-read had shown."""
        if delivery.kind != "created" or delivery.table not in self.allowed.restored:
            return False
        text = content(delivery.table, delivery.kind, delivery.key, delivery.data, delivery.previous)
        return all(place in self.covered for place in self.waiting[text])

    def _again(self, delivery: Delivery) -> None:
        body, place = self.bodies[delivery.id]
        self.verdict.again += 1
        if body != delivery.body:
            self.verdict.note("wrong", f"the id {delivery.id} has two bodies: {body} and {delivery.body}")
        if place is not None and self._superseded(place):
            self.verdict.note("reordered", f"repeated after a later change of its record: {delivery.body}")

    def _superseded(self, place: int) -> bool:
        return any(self.latest.get(record, -1) > place for record in self.versions[place].records)

    def _change(self, delivery: Delivery) -> None:
        place = self._match(delivery)
        if place is None:
            return
        version = self.versions[place]
        self.verdict.delivered += 1
        self.arrived[place] = delivery.id
        self.bodies[delivery.id] = (delivery.body, place)
        token = f"{delivery.transaction} {delivery.timestamp}" if self.allowed.renumbered else delivery.transaction
        self.tokens[version.transaction].add(token)
        if place in self.covered:
            self.verdict.late += 1
        elif self._superseded(place):
            self.verdict.note("reordered", f"arrived after a later change of its record: {delivery.body}")
        self._advance(place)

    def _match(self, delivery: Delivery) -> int | None:
        """The version that the delivery shows, if there is one."""
        text = content(delivery.table, delivery.kind, delivery.key, delivery.data, delivery.previous)
        if self.waiting[text]:
            self.known[text] = self.waiting[text].pop(0)
            return self.known[text]
        if text in self.known:
            other = self.arrived[self.known[text]]
            self.verdict.note("doubled", f"{delivery.body} came with the id {other} already")
            return None
        near = self._nearest(delivery)
        if near is None:
            self.verdict.note("invented", delivery.body)
        elif delivery.table in self.allowed.shapes and self._same_but_shape(delivery, near):
            self.waiting[expected(self.versions[near])].remove(near)
            self.verdict.older += 1
            return near
        else:
            self.verdict.note("wrong", f"{delivery.body} instead of {expected(self.versions[near])}")
        return None

    def _nearest(self, delivery: Delivery) -> int | None:
        """The first version, not delivered yet, that differs from the delivery in the fewest values."""
        best, most = None, 0
        for place in self.chains.get((delivery.table, delivery.key), ()):
            version = self.versions[place]
            data = version.before if version.after is None else version.after
            if place in self.arrived or version.operation != delivery.kind or data is None:
                continue
            equal = sum(name in delivery.data and same(value, delivery.data[name]) for name, value in data.items())
            if equal > most and equal * 2 > len(data):
                best, most = place, equal
        return best

    def _same_but_shape(self, delivery: Delivery, place: int) -> bool:
        """Return whether the values of all columns that both have are equal, and the columns differ."""
        version = self.versions[place]
        if version.number > self.allowed.until:
            return False
        data = version.before if version.after is None else version.after
        assert data is not None
        common = data.keys() & delivery.data.keys()
        return common != data.keys() | delivery.data.keys() and all(same(data[n], delivery.data[n]) for n in common)

    def _read(self, delivery: Delivery) -> None:
        self.verdict.read += 1
        record = (delivery.table, delivery.key)
        chain = self.chains.get(record, [])
        shown = [place for place in chain if self._shows(place, delivery)]
        if not shown:
            self.verdict.note("wrong", f"this state was never committed: {delivery.body}")
            return
        latest = self.latest.get(record, -1)
        newer = [place for place in shown if place >= latest]
        if not newer and not self._shows(latest, delivery):
            self.verdict.note("reordered", f"an older state was read after a later one: {delivery.body}")
            return
        place = min(newer, default=latest)  # of equal states the first: a later one may be shown once more
        self.bodies[delivery.id] = (delivery.body, place)
        self.possible[record] = max(shown)
        self._cover(record, place)

    def _end(self, delivery: Delivery) -> None:
        """A deletion within a gap carries the key only: a deletion, or a change of the key, that is not shown yet."""
        self.verdict.read += 1
        record = (delivery.table, delivery.key)
        ends = [place for place in self.chains.get(record, []) if self._ends(place, delivery.key)]
        place = min((place for place in ends if place > self.latest.get(record, -1)), default=None)
        if not ends:
            self.verdict.note("invented", delivery.body)
        elif place is None:
            self.verdict.note("reordered", f"arrived after a later state of its record: {delivery.body}")
        else:
            self.bodies[delivery.id] = (delivery.body, place)
            self._cover(record, place)

    def _ends(self, place: int, key: Any) -> bool:
        version = self.versions[place]
        return place not in self.arrived and version.old == key != version.new

    def _shows(self, place: int, delivery: Delivery) -> bool:
        version = self.versions[place]
        if version.after is None or version.new != delivery.key:
            return False
        if delivery.table in self.allowed.shapes:
            common = version.after.keys() & delivery.data.keys()
            return all(same(version.after[name], delivery.data[name]) for name in common)
        return same_row(version.after, delivery.data)

    def _cover(self, record: Record, place: int) -> None:
        """A re-read showed this version: those before it are not missed any more."""
        for each in self.chains[record]:
            if each <= place and each not in self.arrived:
                self.covered.add(each)
        self.latest[record] = max(place, self.latest.get(record, -1))

    def _advance(self, place: int) -> None:
        for record in self.versions[place].records:
            self.latest[record] = max(place, self.latest.get(record, -1))

    def close(self) -> Verdict:
        for place, version in enumerate(self.versions):
            if place not in self.arrived:
                self._missing(place, version)
            elif version.transaction == SILENT and version.table in self.allowed.restored:
                self._put_back(place, version)
        self._split()
        return self.verdict

    def _missing(self, place: int, version: Version) -> None:
        if version.transaction in self.allowed.revoked:
            return
        if version.table in self.allowed.gaps and (place in self.covered or self._shown_later(place, version)):
            self.verdict.covered += 1
            return
        by = " (only a re-read showed it)" if place in self.covered else ""
        self.verdict.note("lost", f"{version.number} {version.transaction}{by} {expected(version)}")

    def _put_back(self, place: int, version: Version) -> None:
        """A row that a dump put back, as the record's last state, must have been shown."""
        record = version.records[-1]
        shown = max(self.latest.get(record, -1), self.possible.get(record, -1))
        if version.after is not None and self.chains[record][-1] == place and shown < place:
            self.verdict.note("lost", f"put back by a dump, and not shown: {expected(version)}")

    def _shown_later(self, place: int, version: Version) -> bool:
        """Return whether, in a table with gaps, the record's last state was shown, or it has none that a re-read could
        show."""
        record = version.records[-1]
        last = self.chains[record][-1]
        shown = max(self.latest.get(record, -1), self.possible.get(record, -1))
        return shown >= place or self.versions[last].new != record[1]

    def _split(self) -> None:
        owners: dict[str, set[str]] = defaultdict(set)
        for transaction, tokens in self.tokens.items():
            for token in tokens:
                owners[token].add(transaction)
            if len(tokens) > 1:
                self.verdict.note("split", f"transaction {transaction} arrived as {sorted(tokens)}")
        for token, transactions in owners.items():
            if len(transactions) > 1:
                self.verdict.note("split", f"the token {token} names the transactions {sorted(transactions)}")


def parsed(body: str, tables: Mapping[str, str], keys: Mapping[str, str]) -> list[Delivery]:
    """The events of a request body.  ``tables``: entity → table; ``keys``: table → its key column."""
    found = json.loads(body)
    return [_delivery(event, body, tables, keys) for event in (found if isinstance(found, list) else [found])]


def _delivery(event: Mapping[str, Any], body: str, tables: Mapping[str, str], keys: Mapping[str, str]) -> Delivery:
    entity, _, kind = str(event["event"]).partition(".")
    table = tables.get(entity, "")
    return Delivery(
        id=str(event["id"]),
        table=table,
        kind=kind,
        key=event["key"].get(keys[table]) if table else None,
        data=event["data"],
        previous=event.get("previous"),
        transaction=str(event.get("transaction")),
        timestamp=str(event["timestamp"]),
        body=body,
    )
