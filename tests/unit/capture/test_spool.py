"""A huge transaction on disk comes back in parts of whole records."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from cdc.capture.spool import Spool
from cdc.mapping.merge import merge
from cdc.model.change import Operation, Row, RowChange, Value
from support.deferred_table import STEPS, DeferredTable

TIME = datetime(2026, 11, 24, 21, 48, 0, 123456, tzinfo=UTC)


def change(ordinal: int, before: Row | None, after: Row | None, table: str = "t", **more: Value) -> RowChange:
    operation = Operation.UPDATE if before and after else Operation.CREATE if after else Operation.DELETE
    image = after or before or {}
    return RowChange(operation, table, {"id": image["id"]}, before, after, TIME, ordinal)


def test_the_changes_come_back_as_they_were() -> None:
    row: dict[str, Value] = {"id": 2**64 - 1, "b": True, "i": -1, "d": 1e300, "t": 'é"\n\u2028', "n": None, "u": 1.0}
    changes = [
        change(0, None, row),
        RowChange(Operation.UPDATE, "ü", {"id": "a"}, {"id": "a"}, {"id": "a"}, TIME, 1, frozenset({"pin"})),
        RowChange(Operation.TRUNCATE, "t", {}, None, None, TIME.replace(microsecond=0), 2),
    ]
    with Spool() as spool:
        for each in changes:
            spool.add(each)
        (part,) = spool.parts(10)
    assert part.changes == tuple(changes)
    assert part.final
    assert [type(value) for value in (part.changes[0].after or {}).values()] == [type(each) for each in row.values()]


def test_parts_hold_whole_records_whichever_name_they_had() -> None:
    with Spool() as spool:
        for number in range(6):
            spool.add(change(number, None, {"id": number % 3, "n": number}))
        spool.add(change(6, {"id": 0}, {"id": 9}))
        spool.add(change(7, {"id": 9}, None))
        spool.add(change(8, None, {"id": 0, "n": 8}, table="other"))
        parts = list(spool.parts(2))
    ordinals = [[each.ordinal for each in part.changes] for part in parts]
    assert ordinals == [[0, 3, 6, 7], [1, 4], [2, 5], [8]]
    assert [part.final for part in parts] == [False, False, False, True]
    assert [part.records for part in parts] == [1, 2, 3, 4]


def test_reading_goes_on_behind_a_record() -> None:
    with Spool() as spool:
        for number in range(10):
            spool.add(change(number, None, {"id": number}))
        first, second, *_ = spool.parts(3)
        rest = list(spool.parts(3, behind=first.records))
    assert rest[0] == second
    assert [each.ordinal for part in rest for each in part.changes] == list(range(3, 10))


def test_a_part_of_long_rows_is_short() -> None:
    with Spool() as spool:
        for number in range(20):
            spool.add(change(number, None, {"id": number, "t": "x" * 50_000}))
        sizes = [len(part.changes) for part in spool.parts(20)]
    assert sum(sizes) == 20
    assert max(sizes) <= 4


def test_nothing_left_is_one_empty_part() -> None:
    with Spool() as spool:
        spool.add(change(0, None, {"id": 1}))
        (part,) = spool.parts(5, behind=1)
    assert (part.records, part.changes, part.final) == (1, (), True)


@given(st.sets(st.integers(0, 5)), STEPS)
@example(
    {0, 1, 2, 3, 4, 5}, [("r", 0, 1, 0), ("i", 0, 3, 0), ("d", 0, 0, 0), ("d", 0, 0, 0), ("d", 1, 0, 0), ("d", 2, 0, 0)]
)
@example({1, 2, 3}, [("u", 1, 0, 9), ("r", 0, 2, 0), ("r", 0, 3, 0), ("r", 0, 4, 0)])  # v = 9, id = id + 1
def test_parts_can_be_merged_one_by_one(keys: set[int], steps: list[tuple[str, int, int, int]]) -> None:
    table = DeferredTable.played(keys, steps, telling=True)
    with Spool() as spool:
        for each in table.changes:
            spool.add(each)
        merged = [each for part in spool.parts(1) for each in merge(part.changes)]
    assert {(repr(each.before), repr(each.after)) for each in merged if each.before != each.after} == table.expected()


def test_keys_that_move_up_in_descending_order_cost_no_long_part() -> None:
    with Spool() as spool:
        for number in range(9, 0, -1):
            spool.add(change(9 - number, {"id": number}, {"id": number + 1}))
        assert [len(part.changes) for part in spool.parts(1)] == [1] * 9
