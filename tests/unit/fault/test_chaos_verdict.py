"""The verdict on a chaos run finds each planted defect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support.chaos.plan import ITEMS, Receiver, Source
from support.chaos.verdict import Accepted, Judgement, Phase, decide
from support.chaos.workload import Book
from support.fault.ledger import Version

SOURCES = [Source("well", "mariadb", "triggers", sick=False), Source("ill", "mariadb", "triggers", sick=True)]
PHASES = Phase(0.0, 100.0), Phase(100.0, 200.0)
HEALTHY, SICK = Receiver(0, "well", ""), Receiver(1, "well", "hang")


class Sent(NamedTuple):
    """``delay``: seconds from the commit to the arrival."""

    number: int
    id: str
    delay: float = 0.1
    accepted: bool = True


def book(count: int) -> Book:
    """Of one record, written every ten seconds."""
    found = Book()
    rows = [{"id": 1, "valor": number, "nota": "x"} for number in range(count)]
    for number, row in enumerate(rows):
        before = rows[number - 1] if number else None
        found.versions.append(Version(number, f"T{number}", ITEMS, 1 if before else None, 1, before, row))
        found.moments["updated" if before else "created", 1, number] = number * 10.0
    return found


def line(sent: Sent, source: str = "well") -> str:
    number = sent.number
    event = {
        "id": sent.id,
        "event": f"{ITEMS}.{'updated' if number else 'created'}",
        "timestamp": "2026-11-24T21:48:00Z",
        "source": source,
        "key": {"id": 1},
        "data": {"id": 1, "valor": number, "nota": "x"},
        "previous": {"valor": number - 1} if number else None,
        "transaction": f"t{number}",
    }
    return f"{number * 10.0 + sent.delay}\t{int(sent.accepted)}\t{json.dumps(event)}\n"


def judged(folder: Path, count: int, sent: Sequence[Sent], receiver: Receiver = HEALTHY) -> Judgement:
    (folder / str(receiver.number)).write_text("".join(map(line, sent)))
    return decide({"well": book(count), "ill": Book()}, SOURCES, [receiver], folder, PHASES)


def in_order(count: int) -> list[Sent]:
    return [Sent(number, f"e{number}") for number in range(count)]


def test_nothing_is_found_in_a_good_run(tmp_path: Path) -> None:
    found = judged(tmp_path, 20, in_order(20))
    assert (found.faults, found.slow(), found.total["delivered"]) == ({}, [], 20)
    assert [len(each.quiet) + len(each.chaos) for each in found.latencies.values()] == [20, 20]


@pytest.mark.parametrize("receiver", [HEALTHY, SICK])
def test_event_that_was_not_accepted_is_lost(tmp_path: Path, receiver: Receiver) -> None:
    sent = in_order(20)
    sent[5] = sent[5]._replace(accepted=False)
    assert judged(tmp_path, 20, sent, receiver).faults == {"lost": 1}


def test_later_change_that_arrives_first_is_found(tmp_path: Path) -> None:
    sent = in_order(20)
    sent[5:7] = sent[6], sent[5]
    assert judged(tmp_path, 20, sent).faults == {"reordered": 1}


def test_second_id_of_a_change_is_found(tmp_path: Path) -> None:
    assert "doubled" in judged(tmp_path, 20, [*in_order(20), Sent(19, "other")]).faults
    assert judged(tmp_path, 20, [*in_order(20), Sent(19, "e19")]).faults == {}


def test_slow_phase_is_found_at_source_and_endpoint(tmp_path: Path) -> None:
    sent = [*in_order(10), *(each._replace(delay=0.3) for each in in_order(20)[10:])]
    slow = judged(tmp_path, 20, sent).slow()
    assert [each.split(":")[0] for each in slow] == ["source well", "endpoint 0"]
    assert judged(tmp_path, 20, sent, SICK).slow() == []


def test_what_is_missing_is_counted_as_it_arrives(tmp_path: Path) -> None:
    books = {"well": book(3), "ill": Book()}
    file = tmp_path / "1"
    file.write_text(line(Sent(0, "e0")) + line(Sent(1, "e1", accepted=False)))
    accepted = Accepted([SICK], tmp_path)
    assert accepted.missing(books) == {"/hook/1 hang": 2}
    with file.open("a") as opened:
        opened.write(line(Sent(1, "e1")) + line(Sent(2, "e2")))
    assert accepted.missing(books) == {}
