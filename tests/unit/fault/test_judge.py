"""The judge of the fault harness finds each class of planted defect, and none in a history without one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from support.fault.judge import Allowed, Delivery, expected, judge, parsed
from support.fault.ledger import Entry, Ledger, Row, Version, changed_columns

TESTS = Path(__file__).resolve().parents[2]
TABLE = "clientes"
KEY = "codcliente"


def row(key: str, mark: str, **more: Any) -> Row:
    return {KEY: key, "observaciones": mark, "debaja": False, "riesgomax": 1.0, **more}


class History:
    """Transactions, and the deliveries that show them as they are."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.entries: list[Entry] = []
        self._names = count(1)

    def write(self, before: Row | None, after: Row | None) -> History:
        old, new = (None if each is None else each[KEY] for each in (before, after))
        self.entries.append(Entry(self.ledger.number(), TABLE, old, new, before, after))
        return self

    def commit(self) -> History:
        self.ledger.commit(f"T{next(self._names)}", self.entries)
        self.entries = []
        return self

    @property
    def versions(self) -> list[Version]:
        return self.ledger.in_order()

    def deliveries(self) -> list[Delivery]:
        return [delivery(version) for version in self.versions]


def delivery(version: Version, **other: Any) -> Delivery:
    data = version.before if version.after is None else version.after
    assert data is not None
    previous = changed_columns(version.before, version.after) if version.before and version.after else None
    fields: dict[str, Any] = {
        "id": f"evt_{version.number}",
        "table": TABLE,
        "kind": version.operation,
        "key": version.old if version.new is None else version.new,
        "data": data,
        "previous": previous,
        "transaction": version.transaction,
        "timestamp": "2026-01-01T00:00:00Z",
        **other,
    }
    return Delivery(**fields, body=json.dumps(fields))


@pytest.fixture
def history() -> History:
    """Three versions of A, its new key B, and its end; a record C of the same transactions."""
    made = History()
    made.write(None, row("A", "1")).write(None, row("C", "1")).commit()
    made.write(row("A", "1"), row("A", "2")).commit()
    made.write(row("A", "2"), row("A", "3", debaja=True)).write(row("C", "1"), row("C", "2")).commit()
    made.write(row("A", "3", debaja=True), row("B", "4")).commit()
    made.write(row("B", "4"), None).commit()
    return made


def test_true_history_has_no_faults(history: History) -> None:
    verdict = judge(history.versions, history.deliveries())
    assert verdict.faults == {}
    assert verdict.delivered == len(history.versions) == 7


def test_missing_delivery_is_lost(history: History) -> None:
    for place in range(len(history.versions)):
        found = history.deliveries()
        del found[place]
        assert judge(history.versions, found).faults == {"lost": 1}


def test_change_of_no_transaction_is_invented(history: History) -> None:
    rolled_back = Version(99, "T9", TABLE, "C", "C", row("C", "2"), row("C", "9"))
    unknown = Version(98, "T9", TABLE, None, "Z", None, row("Z", "9"))
    for each in (rolled_back, unknown):
        assert judge(history.versions, [*history.deliveries(), delivery(each)]).faults == {"invented": 1}


def test_event_without_a_change_is_invented(history: History) -> None:
    same = Version(99, "T9", TABLE, "C", "C", row("C", "2"), row("C", "2"))
    assert judge(history.versions, [*history.deliveries(), delivery(same)]).faults == {"invented": 1}


def test_exchanged_deliveries_of_a_record_are_reordered(history: History) -> None:
    chain = [place for place, version in enumerate(history.versions) if version.records[0][1] != "C"]
    for first, second in pairwise(chain):
        found = history.deliveries()
        found[first], found[second] = found[second], found[first]
        assert judge(history.versions, found).faults == {"reordered": 1}


def test_exchanged_deliveries_of_different_records_are_in_order(history: History) -> None:
    found = history.deliveries()
    found[1], found[2] = found[2], found[1]
    assert judge(history.versions, found).faults == {}


def test_repetition_with_the_same_id_is_counted_only(history: History) -> None:
    found = [each for each in history.deliveries() for _ in range(2)]
    verdict = judge(history.versions, found)
    assert (verdict.faults, verdict.again) == ({}, 7)


def test_repetition_after_a_later_change_is_reordered(history: History) -> None:
    found = history.deliveries()
    assert judge(history.versions, [*found, found[2]]).faults == {"reordered": 1}


def test_same_id_with_another_body_is_wrong(history: History) -> None:
    found = history.deliveries()
    other = delivery(history.versions[-1], transaction="T77")
    assert judge(history.versions, [*found, other]).faults == {"wrong": 1}


def test_same_change_with_another_id_is_doubled(history: History) -> None:
    other = delivery(history.versions[3], id="evt_other")
    found = history.deliveries()
    assert judge(history.versions, [*found[:4], other, *found[4:]]).faults == {"doubled": 1}


@pytest.mark.parametrize("value", [{"riesgomax": 2.0}, {"debaja": 0}, {"nombre": "x"}])
def test_other_value_is_wrong(history: History, value: dict[str, Any]) -> None:
    found = history.deliveries()
    found[4] = delivery(history.versions[4], data={**row("C", "2"), **value})
    assert judge(history.versions, found).faults == {"lost": 1, "wrong": 1}


def test_other_previous_value_is_wrong(history: History) -> None:
    found = history.deliveries()
    found[2] = delivery(history.versions[2], previous={"observaciones": "0"})
    assert judge(history.versions, found).faults == {"lost": 1, "wrong": 1}


def test_transaction_with_two_tokens_is_split(history: History) -> None:
    found = history.deliveries()
    found[1] = delivery(history.versions[1], transaction="T1b")
    assert judge(history.versions, found).faults == {"split": 1}


def test_token_of_two_transactions_is_split(history: History) -> None:
    found = [delivery(version, transaction="same") for version in history.versions]
    assert judge(history.versions, found).faults == {"split": 1}


def test_token_used_again_by_a_renumbered_log_is_told_apart_by_time(history: History) -> None:
    found = [delivery(each, transaction="same", timestamp=each.transaction) for each in history.versions]
    assert judge(history.versions, found, Allowed(renumbered=True)).faults == {}
    found = [delivery(each, transaction="same") for each in history.versions]
    assert judge(history.versions, found, Allowed(renumbered=True)).faults == {"split": 1}


def read(key: str, data: Row, number: int) -> Delivery:
    version = Version(number, "R", TABLE, key, key, None, data)
    return delivery(version, kind="read", previous=None)


GAPS = Allowed(gaps=frozenset({TABLE}))


def deleted(key: str, number: int) -> Delivery:
    """A deletion of which only the key could be recorded."""
    return delivery(Version(number, "T90", TABLE, key, None, {KEY: key}, None))


def test_read_covers_missing_changes_only_where_gaps_are_allowed(history: History) -> None:
    found = history.deliveries()
    found[1:5] = [found[1], read("A", row("A", "3", debaja=True), 90), found[4]]
    assert judge(history.versions, found).faults == {"lost": 2}
    verdict = judge(history.versions, found, GAPS)
    assert (verdict.faults, verdict.covered, verdict.read) == ({}, 2, 1)


def test_rows_of_a_dump_are_not_the_transactions_that_wrote_them() -> None:
    """Only re-reads showed these, and the dump inserts them in one transaction."""
    made = History().write(None, row("A", "1")).commit().write(None, row("B", "1")).commit()
    reads = [read(key, row(key, "1"), 90 + number) for number, key in enumerate("AB")]
    dumped = [delivery(each, id=f"dump_{each.number}", transaction="T9") for each in made.versions]
    allowed = Allowed(gaps=frozenset({TABLE}), restored=frozenset({TABLE}))
    assert judge(made.versions, [*reads, *dumped], allowed).faults == {}
    assert judge(made.versions, [*reads, *dumped], GAPS).faults == {"split": 1}


def test_last_state_that_no_read_shows_is_lost_also_with_gaps(history: History) -> None:
    found = [each for each in history.deliveries() if not (each.key == "C" and each.kind == "updated")]
    assert judge(history.versions, found, GAPS).faults == {"lost": 1}


def test_deletion_within_a_gap_cannot_be_read(history: History) -> None:
    found = history.deliveries()[:-1]
    assert judge(history.versions, found, GAPS).faults == {}
    assert judge(history.versions, found).faults == {"lost": 1}


def test_deletion_with_the_key_only_shows_within_a_gap_that_the_record_ended(history: History) -> None:
    found = [*history.deliveries()[:5], deleted("A", 90), deleted("B", 91)]
    assert judge(history.versions, found, GAPS).faults == {}
    assert judge(history.versions, found).faults == {"lost": 2, "invented": 2}
    assert judge(history.versions, [*found, deleted("B", 92)], GAPS).faults == {"reordered": 1}


def test_deletion_with_the_key_only_of_a_record_that_did_not_end_is_invented(history: History) -> None:
    for key in ("C", "A", "Z"):  # the change of the key A has arrived as such
        found = [*history.deliveries()[:6], deleted(key, 90), *history.deliveries()[6:]]
        assert judge(history.versions, found, GAPS).faults == {"invented": 1}


def test_read_of_a_state_that_was_never_committed_is_wrong(history: History) -> None:
    found = [*history.deliveries(), read("C", row("C", "8"), 90)]
    assert judge(history.versions, found, GAPS).faults == {"wrong": 1}


def test_read_of_an_older_state_is_reordered(history: History) -> None:
    found = [*history.deliveries(), read("C", row("C", "1"), 90)]
    assert judge(history.versions, found, GAPS).faults == {"reordered": 1}


def test_change_after_the_read_that_showed_it_is_late(history: History) -> None:
    found = history.deliveries()
    found.insert(4, read("C", row("C", "2"), 90))
    verdict = judge(history.versions, found, GAPS)
    assert (verdict.faults, verdict.late) == ({}, 1)


def test_events_of_an_altered_table_may_lack_a_column(history: History) -> None:
    found = history.deliveries()
    data = {name: value for name, value in found[4].data.items() if name != "riesgomax"}
    found[4] = delivery(history.versions[4], data=data)
    assert judge(history.versions, found).faults == {"lost": 1, "wrong": 1}
    verdict = judge(history.versions, found, Allowed(shapes=frozenset({TABLE})))
    assert (verdict.faults, verdict.older) == ({}, 1)


def test_baseline_need_not_arrive() -> None:
    made = History()
    made.write(None, row("A", "0"))
    made.ledger.commit("", made.entries)
    made.entries = []
    made.write(row("A", "0"), row("A", "1")).commit()
    assert judge(made.versions, [delivery(made.versions[1])]).faults == {}


Writes = Callable[[History], History]


@pytest.mark.parametrize(
    ("writes", "outcome"),
    [
        (lambda h: h.write(None, row("A", "1")).write(row("A", "1"), row("A", "2")), ["created A 2"]),
        (lambda h: h.write(row("A", "0"), row("A", "1")).write(row("A", "1"), row("A", "2")), ["updated A 2"]),
        (lambda h: h.write(None, row("A", "1")).write(row("A", "1"), None), []),
        (lambda h: h.write(row("A", "0"), None).write(None, row("A", "2")), ["updated A 2"]),
        (lambda h: h.write(row("A", "0"), row("A", "1")).write(row("A", "1"), row("A", "0")), []),
        (lambda h: h.write(row("A", "0"), row("A", "1")).write(row("A", "1"), row("B", "2")), ["updated B 2"]),
        (lambda h: h.write(row("A", "0"), row("A", "1")).write(row("A", "1"), None), ["deleted A 0"]),
    ],
)
def test_changes_of_a_record_in_one_transaction_merge(writes: Writes, outcome: list[str]) -> None:
    versions = writes(History()).commit().versions
    found = [delivery(version) for version in versions]
    assert [f"{each.kind} {each.key} {each.data['observaciones']}" for each in found] == outcome


def test_body_is_parsed_as_the_documentation_shows_it() -> None:
    body = {"id": "evt_1", "event": "customer.updated", "key": {KEY: "A"}, "data": row("A", "2"), "transaction": "t"}
    body["timestamp"] = "2026-01-01T00:00:00Z"
    version = Version(1, "T1", TABLE, "A", "A", row("A", "1"), row("A", "2"))
    (found,) = parsed(json.dumps({**body, "previous": {"observaciones": "1"}}), {"customer": TABLE}, {TABLE: KEY})
    assert judge([version], [found]).faults == {}
    assert expected(version)


def test_oracle_and_judge_share_no_code_with_the_product() -> None:
    modules = ("ledger", "normal", "judge", "tables", "session", "actions", "workload", "receiver")
    imports = "; ".join(f"import support.fault.{name}" for name in modules)
    check = f"import sys; {imports}; sys.exit(any(name.split('.')[0] == 'cdc' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], cwd=TESTS, check=False).returncode == 0
