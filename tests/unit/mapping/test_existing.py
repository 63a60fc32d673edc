"""Rows that a backfill read, as events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.backfill import backfill_token
from cdc.model.change import Existing, Operation, Row, RowChange, Transaction, Value
from cdc.model.event import Event

MOMENT = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
RECEIPT: Row = {"idrecibo": 7, "pagado": True, "importe": 10.0, "observaciones": "O&#39;Brien"}


def told(*rows: Row, job: str = "bf_1", endpoint: str = "", at: datetime = MOMENT, rules: str = "") -> list[Event]:
    existing = Existing(job, endpoint)
    changes = tuple(
        RowChange(Operation.READ, "recibospagoscli", {"idrecibo": row["idrecibo"]}, None, row, at, number)
        for number, row in enumerate(rows)
    )
    transaction = Transaction(backfill_token(existing), changes, existing=existing)
    mapper = Mapper(load_catalogue(rules or None))
    assert not mapper.batch("main", [transaction], {}).facts_needed().states
    return mapper.batch("main", [transaction], {}).map().events


def test_a_row_gives_one_event_and_no_transition() -> None:
    (event,) = told(RECEIPT)
    assert (event.name, event.record, event.key) == ("receipt.existing", "recibospagoscli:7", {"idrecibo": 7})
    assert event.data == {**RECEIPT, "observaciones": "O'Brien"}
    assert (event.previous, event.time, event.transaction) == (None, MOMENT, "backfill/bf_1")


def test_its_id_is_made_of_the_job_and_the_record_alone() -> None:
    other: Row = {**RECEIPT, "idrecibo": 8}
    (first, second), (alone,) = told(RECEIPT, other), told(other, at=MOMENT + timedelta(days=1))
    assert first.id != second.id == alone.id
    assert told(RECEIPT, job="bf_2")[0].id != first.id


def test_ids_ascend_with_numbers() -> None:
    numbers = (0, 7, 8, 255, 256, 2**63 - 1, 2**64 - 1)
    ids = [event.id for event in told(*({**RECEIPT, "idrecibo": number} for number in numbers))]
    assert ids == sorted(set(ids))
    assert {len(each) for each in ids} == {len("evt_") + 32}


def test_keys_that_are_no_such_numbers_have_ids_of_their_own() -> None:
    keys: tuple[Value, ...] = (-1, 2**64, "8", "8 ", True, 8, None)
    ids = [event.id for event in told(*({**RECEIPT, "idrecibo": key} for key in keys))]
    assert len(set(ids)) == len(keys)
    assert {len(each) for each in ids} == {len("evt_") + 32}


def test_it_says_which_endpoint_alone_is_to_get_it() -> None:
    assert [event.only_to for event in told(RECEIPT, endpoint="ep_a")] == ["ep_a"]
    assert [event.only_to for event in told(RECEIPT)] == [""]


def test_a_disabled_event_is_not_told() -> None:
    assert told(RECEIPT, rules='disable = ["receipt.existing"]') == []


def test_secret_columns_stay_out() -> None:
    (event,) = told({**RECEIPT, "iban": "ES00"})
    assert "iban" not in event.data
