"""Verdict on a run: the requests that the receivers got against the commits, by losses, order, ids and duration.

It shares no code with the product.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from support.chaos.plan import ITEMS, Receiver, Source
from support.chaos.workload import Book
from support.fault.judge import Delivery, Verdict, judge, parsed

_TABLES, _KEYS = {ITEMS: ITEMS}, {ITEMS: "id"}
#: The p99 of a healthy source or endpoint may grow by this factor.
FACTOR = 2.0


class Phase(NamedTuple):
    """A phase of a run, by `time.monotonic`."""

    begin: float
    end: float

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, float) and self.begin <= moment < self.end


class Arrival(NamedTuple):
    moment: float
    accepted: bool
    source: str
    delivery: Delivery


@dataclass
class Latencies:
    """Seconds from before the commit to the arrival, by phase."""

    quiet: list[float] = field(default_factory=list)
    chaos: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return p99(self.chaos) / p99(self.quiet) if self.quiet and self.chaos else 0.0


@dataclass
class Judgement:
    """``total``: of all receivers.  ``lost``: not accepted by a receiver that had to get it, healthy or recovered."""

    latencies: dict[str, Latencies] = field(default_factory=lambda: defaultdict(Latencies))
    total: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, receiver: Receiver, source: str, verdict: Verdict) -> None:
        for name, number in verdict.numbers().items():
            self.total[name] += number
        self.examples += [f"{receiver.path} {receiver.ailment} {source}: {each}" for each in verdict.examples]

    @property
    def faults(self) -> dict[str, int]:
        return {name: self.total[name] for name in Verdict.FAULTS if self.total[name]}

    def slow(self) -> list[str]:
        """The healthy whose p99 grew by more than the factor, worst first."""
        found = {name: each.ratio for name, each in self.latencies.items() if each.ratio > FACTOR}
        return [f"{name}: p99 {ratio:.2f} times" for name, ratio in sorted(found.items(), key=lambda item: -item[1])]


def p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


def arrivals(file: Path) -> Iterator[Arrival]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            moment, accepted, body = line.split("\t", 2)
            source = str(json.loads(body)["source"])
            for delivery in parsed(body.rstrip("\n"), _TABLES, _KEYS):
                yield Arrival(float(moment), accepted == "1", source, delivery)


def decide(
    books: Mapping[str, Book],
    sources: Sequence[Source],
    receivers: Sequence[Receiver],
    folder: Path,
    phases: tuple[Phase, Phase],
) -> Judgement:
    """``phases``: without failures, with them."""
    found = Judgement()
    ids: dict[tuple[str, str, object, object], set[str]] = defaultdict(set)
    healthy = {source.name for source in sources if not source.sick}
    for receiver in receivers:
        by_source: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals(folder / str(receiver.number)):
            by_source[arrival.source].append(arrival)
            delivery = arrival.delivery
            if delivery.table:
                change = arrival.source, delivery.kind, delivery.key, delivery.data["valor"]
                ids[change].add(delivery.id)
        for name in [receiver.source] if receiver.source else list(books):
            came = by_source[name]
            verdict = judge(books[name].versions, (each.delivery for each in came if each.accepted))
            found.add(receiver, name, verdict)
            if name in healthy and not receiver.ailment:
                _measure(found, receiver, books[name], came, phases)
    doubled = [f"{change}: {sorted(each)}" for change, each in ids.items() if len(each) > 1]
    found.total["doubled"] += len(doubled)
    found.examples += doubled[:20]
    found.total["errors"] = sum(len(book.errors) for book in books.values())
    found.examples += [error for book in books.values() for error in book.errors[:3]]
    return found


def _measure(
    found: Judgement, receiver: Receiver, book: Book, came: Sequence[Arrival], phases: tuple[Phase, Phase]
) -> None:
    seen: set[str] = set()
    for moment, _, source, delivery in came:
        if not delivery.table or delivery.id in seen:
            continue
        seen.add(delivery.id)
        committed = book.moments.get((delivery.kind, delivery.key, delivery.data["valor"]))
        if committed is None:
            continue
        for name in (f"source {source}", f"endpoint {receiver.number}"):
            if committed in phases[0]:
                found.latencies[name].quiet.append(moment - committed)
            elif committed in phases[1]:
                found.latencies[name].chaos.append(moment - committed)


class Accepted:
    """The number of different events of the workload that each receiver has accepted so far."""

    def __init__(self, receivers: Sequence[Receiver], folder: Path) -> None:
        self._files = {receiver: folder / str(receiver.number) for receiver in receivers}
        self._read: Counter[Receiver] = Counter()
        self._ids: dict[Receiver, set[str]] = defaultdict(set)

    def missing(self, books: Mapping[str, Book]) -> dict[str, int]:
        """Receiver → events that it has to get still."""
        found = {}
        for receiver, file in self._files.items():
            self._follow(receiver, file)
            wanted = [books[receiver.source]] if receiver.source else list(books.values())
            missing = sum(len(book.versions) for book in wanted) - len(self._ids[receiver])
            if missing > 0:
                found[f"{receiver.path} {receiver.ailment}".strip()] = missing
        return found

    def _follow(self, receiver: Receiver, file: Path) -> None:
        with file.open("rb") as opened:
            opened.seek(self._read[receiver])
            for line in opened:
                if not line.endswith(b"\n"):
                    break
                self._read[receiver] += len(line)
                _, accepted, body = line.split(b"\t", 2)
                event = json.loads(body)
                if accepted == b"1" and str(event["event"]).startswith(f"{ITEMS}."):
                    self._ids[receiver].add(event["id"])
