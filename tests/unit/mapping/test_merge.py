from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cdc.mapping.merge import MergedChange, merge
from cdc.model.change import Operation, Row, Value
from support.deferred_table import STEPS, DeferredTable
from support.row_changes import change, delete, insert, update


def _outline(merged: list[MergedChange]) -> list[tuple[str, Value]]:
    return [(change_.operation.value, next(iter(change_.key.values()), None)) for change_ in merged]


def test_insert_and_updates_are_an_insert_with_the_last_image() -> None:
    first = insert("t", {"id": 1, "total": 0})
    last = update("t", {"id": 1, "total": 0}, total=5)
    (merged,) = merge([first, last])
    assert (merged.operation, merged.before, merged.after) == (Operation.CREATE, None, {"id": 1, "total": 5})
    assert (merged.ordinal, merged.first_time, merged.time) == (first.ordinal, first.time, last.time)


def test_updates_keep_the_first_before_and_unite_secrets() -> None:
    (merged,) = merge(
        [
            update("t", {"id": 1, "a": 1}, a=2, secrets=["password"]),
            update("t", {"id": 1, "a": 2}, a=3, secrets=["logkey"]),
        ]
    )
    assert (merged.before, merged.after) == ({"id": 1, "a": 1}, {"id": 1, "a": 3})
    assert merged.secrets_changed == {"password", "logkey"}
    assert merged.former_key is None


def test_insert_and_delete_are_nothing_even_when_the_delete_is_reported_twice() -> None:
    row = {"id": 1}
    assert merge([insert("t", row), delete("t", row)]) == []
    assert merge([insert("t", row), delete("t", row), delete("t", row)]) == []


def test_delete_and_insert_of_a_key_are_an_update() -> None:
    (merged,) = merge([delete("t", {"id": 1, "a": 1}), insert("t", {"id": 1, "a": 2})])
    assert (merged.operation, merged.before, merged.after) == (Operation.UPDATE, {"id": 1, "a": 1}, {"id": 1, "a": 2})


def test_one_row_deleted_along_two_cascades_is_one_delete() -> None:
    row = {"id": 1, "parent": 7}
    nulled = update("t", row, parent=None)
    (merged,) = merge([nulled, delete("t", {"id": 1, "parent": None}), delete("t", row)])
    assert (merged.operation, merged.before, merged.after) == (Operation.DELETE, row, None)


def test_a_renamed_key_is_followed() -> None:
    (merged,) = merge([update("t", {"id": "A"}, id="B"), update("t", {"id": "B"}, id="C")])
    assert (merged.key, merged.former_key, merged.before, merged.after) == (
        {"id": "C"},
        {"id": "A"},
        {"id": "A"},
        {"id": "C"},
    )
    (back,) = merge([update("t", {"id": "A"}, id="B"), update("t", {"id": "B"}, id="A")])
    assert back.former_key is None
    (alone,) = merge([update("t", {"id": "A"}, id="B")])
    assert alone.former_key == {"id": "A"}


def test_a_renamed_and_deleted_row_is_deleted_under_its_first_key() -> None:
    (merged,) = merge([update("t", {"id": "A"}, id="B"), delete("t", {"id": "B"})])
    assert (merged.operation, merged.key, merged.before) == (Operation.DELETE, {"id": "A"}, {"id": "A"})


def test_who_takes_over_a_key_follows_who_leaves_it() -> None:
    a: Row = {"id": "A", "v": 1}
    b: Row = {"id": "B", "v": 2}
    merged = merge([update("t", a, v=3), delete("t", b), update("t", {**a, "v": 3}, id="B")])
    assert _outline(merged) == [("delete", "B"), ("update", "B")]
    merged = merge([update("t", a, id="C"), insert("t", a), update("t", {**a, "id": "C"}, v=9)])
    assert _outline(merged) == [("update", "C"), ("create", "A")]


def test_keys_are_compared_exactly() -> None:
    assert _outline(merge([delete("t", {"id": "abc"}), insert("t", {"id": "ABC"})])) == [
        ("delete", "abc"),
        ("create", "ABC"),
    ]


def test_tables_do_not_mix() -> None:
    assert len(merge([insert("t", {"id": 1}), insert("u", {"id": 1}), delete("u", {"id": 1})])) == 1


def test_truncate_swallows_what_came_before_in_its_table() -> None:
    merged = merge(
        [
            insert("t", {"id": 1}),
            delete("t", {"id": 2}),
            insert("u", {"id": 1}),
            change(Operation.TRUNCATE, "t", None, None),
            insert("t", {"id": 2}),
        ]
    )
    assert [(c.table, c.operation) for c in merged] == [
        ("u", Operation.CREATE),
        ("t", Operation.TRUNCATE),
        ("t", Operation.CREATE),
    ]


def test_reads_pass() -> None:
    reads = [change(Operation.READ, "t", None, {"id": number}) for number in (1, 1)]
    assert _outline(merge(reads)) == [("read", 1), ("read", 1)]


@given(st.sets(st.integers(0, 5)), STEPS)
@example({1, 2, 3}, [("r", 0, 2, 0), ("r", 0, 3, 0), ("r", 0, 4, 0)])  # id = id + 1
@example({1, 2}, [("r", 0, 2, 0), ("r", 0, 1, 0)])  # exchanged
@example({1, 2}, [("i", 0, 2, 0), ("r", 1, 3, 0)])  # the new row comes first
@example({1, 2}, [("r", 0, 2, 0), ("d", 0, 0, 0), ("d", 0, 0, 0)])
def test_each_record_is_followed_through_keys_shared_for_a_moment(
    keys: set[int], steps: list[tuple[str, int, int, int]]
) -> None:
    table = DeferredTable.played(keys, steps, telling=True)
    merged = merge(table.changes)
    assert {(repr(c.before), repr(c.after)) for c in merged if c.before != c.after} == table.expected()
    for each in merged:
        assert each.key == {"id": (each.after or each.before or {})["id"]}
        renamed = each.before is not None and each.after is not None and each.before["id"] != each.after["id"]
        assert each.former_key == ({"id": each.before["id"]} if renamed and each.before else None)


@given(st.sets(st.integers(0, 5)), STEPS)
@example({1, 2, 3}, [("r", 0, 2, 0), ("r", 0, 3, 0), ("r", 0, 4, 0)])
def test_merged_changes_lead_where_the_single_ones_do(keys: set[int], steps: list[tuple[str, int, int, int]]) -> None:
    """Also of rows that only their keys tell apart."""
    table = DeferredTable.played(keys, steps, telling=False)
    merged = merge(table.changes)
    rows = {row["id"]: row for row in table.before.values()}
    for before in (each.before for each in merged if each.before is not None):
        assert rows.pop(before["id"]) == before, "each row that was there is changed once, from what it was"
    for after in (each.after for each in merged if each.after is not None):
        assert after["id"] not in rows
        rows[after["id"]] = after
    assert rows == {row["id"]: row for row in table.rows.values()}
    leaves = {each.before["id"]: index for index, each in enumerate(merged) if each.before is not None}
    takes = {each.after["id"]: index for index, each in enumerate(merged) if each.after is not None}
    if not _exchanged(merged):
        assert all(leaves.get(key, -1) <= index for key, index in takes.items()), "they can be applied in order"


def _exchanged(merged: list[MergedChange]) -> bool:
    """Whether records took each other's keys in a circle, which no order can express."""
    moves = {c.before["id"]: c.after["id"] for c in merged if c.before and c.after and c.before["id"] != c.after["id"]}
    for start in moves:
        key: Value = start
        for _ in moves:
            key = moves.get(key)
            if key == start:
                return True
    return False
