from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdc.mapping.merge import MergedChange, merge
from cdc.model.change import Operation, Row, RowChange, Value
from support.row_changes import change, delete, insert, update

Rows = dict[Value, dict[str, Value]]


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


_STEP = st.tuples(st.sampled_from("iudr"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))


def _play(start: Rows, steps: list[tuple[str, int, int, int]]) -> tuple[list[RowChange], Rows]:
    """Changes that a database could make, and the rows afterwards."""
    rows: Rows = {key: dict(row) for key, row in start.items()}
    changes = []
    for kind, key, other, value in steps:
        row = rows.get(key)
        if kind == "i" and row is None:
            rows[key] = {"id": key, "v": value}
            changes.append(insert("t", rows[key]))
        elif kind == "d" and row is not None:
            changes.append(delete("t", rows.pop(key)))
        elif kind == "u" and row is not None:
            rows[key] = {**row, "v": value}
            changes.append(update("t", row, v=value))
        elif kind == "r" and row is not None and other not in rows:
            rows[other] = {**rows.pop(key), "id": other}
            changes.append(update("t", row, id=other))
    return changes, rows


@given(st.sets(st.integers(0, 5)), st.lists(_STEP, max_size=25))
def test_merged_changes_lead_where_the_single_ones_do(
    existing: set[int], steps: list[tuple[str, int, int, int]]
) -> None:
    start: Rows = {key: {"id": key, "v": 0} for key in existing}
    changes, end = _play(start, steps)
    merged = merge(changes)
    rows: Rows = dict(start)
    for before in (change_.before for change_ in merged if change_.before is not None):
        assert rows.pop(before["id"]) == before, "each row that was there is changed once, from what it was"
    for after in (change_.after for change_ in merged if change_.after is not None):
        assert after["id"] not in rows
        rows[after["id"]] = dict(after)
    assert rows == end


@given(st.sets(st.integers(0, 5)), st.lists(_STEP, max_size=25))
def test_merged_changes_can_be_applied_one_after_the_other(
    existing: set[int], steps: list[tuple[str, int, int, int]]
) -> None:
    start: Rows = {key: {"id": key, "v": 0} for key in existing}
    changes, end = _play(start, steps)
    merged = merge(changes)
    leaves = {change_.before["id"]: index for index, change_ in enumerate(merged) if change_.before is not None}
    takes = {change_.after["id"]: index for index, change_ in enumerate(merged) if change_.after is not None}
    if _exchanged(merged):
        return
    assert all(leaves.get(key, -1) <= index for key, index in takes.items())
    assert len(end) == len(start) + sum((c.before is None) - (c.after is None) for c in merged)


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
