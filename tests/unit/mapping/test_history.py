"""Lines, receipts and members as of a transaction, from what can be read after the whole batch."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cdc.mapping.facts import History
from cdc.mapping.merge import merge
from cdc.mapping.rule import Child
from cdc.model.change import Row, RowChange
from support.row_changes import delete, insert, update

_CHILD = Child("lineas", "doc")


def _line(number: int, doc: int = 1, amount: int = 1) -> Row:
    return {"id": number, "doc": doc, "amount": amount}


def test_the_transactions_own_changes_win_over_what_is_read() -> None:
    live = [_line(1), _line(2, amount=99), _line(5)]  # others have changed 2 and added 5 since
    own = merge(
        [
            update("lineas", _line(2), amount=7),
            delete("lineas", _line(3)),
            insert("lineas", _line(4)),
            insert("lineas", _line(9, doc=2)),
            update("lineas", _line(5), doc=2),
        ]
    )
    history = History([own])
    assert history.rows(0, _CHILD, 1, live) == [_line(1), _line(2, amount=7), _line(4)]
    assert history.rows(0, _CHILD, 2, []) == [_line(5, doc=2), _line(9, doc=2)]


def test_changes_of_later_transactions_are_undone() -> None:
    history = History(
        [
            merge([insert("lineas", _line(1))]),
            merge([update("lineas", _line(1), amount=2), insert("lineas", _line(2))]),
            merge([delete("lineas", _line(1, amount=2))]),
        ]
    )
    live = [_line(2)]
    assert [history.rows(time, _CHILD, 1, live) for time in range(3)] == [
        [_line(1)],
        [_line(1, amount=2), _line(2)],
        [_line(2)],
    ]


def test_rows_that_went_with_their_owner() -> None:
    history = History([merge([delete("lineas", _line(1)), delete("lineas", _line(2, doc=2))]), []])
    assert history.deleted(0, _CHILD, 1) == [_line(1)]
    assert history.deleted(1, _CHILD, 1) == []


def test_untouched_rows_are_as_they_are_now() -> None:
    history = History([merge([insert("otra", {"id": 1, "doc": 1})])])
    assert history.rows(0, _CHILD, 1, [_line(2), _line(1)]) == [_line(2), _line(1)]


_STEP = st.tuples(st.sampled_from("iudmx"), st.integers(0, 4), st.integers(1, 2), st.integers(0, 9))


@given(st.lists(st.lists(_STEP, max_size=5), max_size=5))
@example([[("i", 0, 1, 1), ("i", 1, 1, 1)], [("x", 0, 1, 1)], [("x", 1, 1, 0)]])
def test_every_transaction_of_a_batch_sees_its_own_moment(batch: list[list[tuple[str, int, int, int]]]) -> None:
    rows: dict[int, Row] = {}
    merged, moments = [], []
    for steps in batch:
        merged.append(merge([change for step in steps for change in _apply(rows, *step)]))
        moments.append(dict(rows))
    history = History(merged)
    for time, moment in enumerate(moments):
        for doc in (1, 2):
            live = [row for _, row in sorted(rows.items()) if row["doc"] == doc]
            expected = [row for _, row in sorted(moment.items()) if row["doc"] == doc]
            assert history.rows(time, _CHILD, doc, live) == expected


def _apply(rows: dict[int, Row], kind: str, number: int, doc: int, amount: int) -> list[RowChange]:
    before = rows.get(number)
    if kind == "i" and before is None:
        rows[number] = _line(number, doc, amount)
        return [insert("lineas", rows[number])]
    if kind == "x" and before is not None and (other := rows.get(amount)) is not None and amount != number:
        rows[number], rows[amount] = {**other, "id": number}, {**before, "id": amount}
        return [update("lineas", before, id=amount), update("lineas", other, id=number)]
    if kind == "d" and before is not None:
        return [delete("lineas", rows.pop(number))]
    if kind in "um" and before is not None:
        made = update("lineas", before, doc=doc) if kind == "m" else update("lineas", before, amount=amount)
        rows[number] = made.after or {}
        return [made]
    return []
