"""A page of a table beside the stream of changes: what is told of each record is its history, however writers, log,
snapshot and reader interleave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.capture.binlog.database import VisibilityCheck, last_visible_change
from cdc.capture.logical.source import Snapshot, Unseen
from cdc.capture.pages import Window
from cdc.model.change import Operation, Row, RowChange, Transaction
from support.selection import examples

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def row(number: int, value: int) -> Row:
    return {"id": number, "value": value}


def change(before: Row | None, after: Row | None, table: str = "item") -> RowChange:
    operation = Operation.CREATE if before is None else Operation.DELETE if after is None else Operation.UPDATE
    image = after or before or {}
    return RowChange(operation, table, {"id": image["id"]}, before, after, NOW, 1)


def transaction(*changes: RowChange) -> Transaction:
    return Transaction("t", changes)


def window(*rows: Row) -> Window:
    return Window("item", ("id",), rows)


def test_a_page_follows_what_is_told_of_its_rows() -> None:
    page = window(row(1, 0), row(2, 0), row(3, 0))
    page.follow([transaction(change(row(1, 0), row(1, 7)), change(row(2, 0), None), change(None, row(9, 1)))])
    page.follow([transaction(change(row(3, 0), row(3, 8), "other"))])
    assert page.rows() == [row(1, 7), row(3, 0)]


def test_a_row_that_is_deleted_and_comes_back_is_told_as_it_came_back() -> None:
    page = window(row(1, 0))
    page.follow([transaction(change(row(1, 0), None)), transaction(change(None, row(1, 5)))])
    assert page.rows() == [row(1, 5)]


def test_a_row_whose_key_is_renamed_is_told_under_its_new_one() -> None:
    page = window(row(1, 0))
    page.follow([transaction(change(row(1, 0), row(4, 1)), change(row(4, 1), row(4, 2)))])
    assert page.rows() == [row(4, 2)]


def test_nothing_is_left_of_a_table_that_was_emptied() -> None:
    page = window(row(1, 0))
    page.follow([transaction(RowChange(Operation.TRUNCATE, "item", {}, None, None, NOW, 1))])
    assert page.rows() == []


# -- a database, its log, and who reads both --------------------------------------------------------------------------


@dataclass
class World:
    """A server that logs a commit first and shows it later, in the same order; and one reader of log and table."""

    table: dict[int, Row] = field(default_factory=lambda: {number: row(number, 0) for number in range(6)})
    log: list[Transaction] = field(default_factory=list)
    shown: int = 0
    emitted: int = 0
    history: dict[int, Row | None] = field(default_factory=dict)
    value: int = 0
    page: Window | None = None
    mark: int = 0

    def __post_init__(self) -> None:
        self.visible = dict(self.table)

    def write(self, number: int) -> None:
        """An update, delete or insert; whoever holds the row until its commit is shown keeps others from it."""
        touched = {change_.key["id"] for each in self.log[self.shown :] for change_ in each.changes}
        if number in touched:
            return
        self.value += 1
        before = self.table.get(number)
        after = None if before is not None and self.value % 5 == 0 else row(number, self.value)
        if after is None:
            del self.table[number]
        else:
            self.table[number] = after
        self.log.append(transaction(change(before, after)))

    def show(self) -> None:
        if self.shown < len(self.log):
            for each in self.log[self.shown].changes:
                number = int(str(each.key["id"]))
                self.visible.pop(number, None)
                if each.after is not None:
                    self.visible[number] = each.after
            self.shown += 1

    def tell(self) -> None:
        if self.emitted < len(self.log):
            change = self.log[self.emitted]
            self.emitted += 1
            if self.page is not None:
                self.page.follow([change])
            for each in change.changes:
                self._note(int(str(each.key["id"])), each.before, each.after)

    def _note(self, number: int, before: Row | None, after: Row | None) -> None:
        assert self.history.get(number, before) == before, "what was told last is not what this begins with"
        self.history[number] = after

    def read(self, shows_all: Callable[[World], bool]) -> None:
        if self.page is None and shows_all(self):
            self.page = window(*(self.visible[number] for number in sorted(self.visible)))
            self.mark = len(self.log)

    def close(self) -> None:
        if self.page is not None and self.emitted >= self.mark:
            for each in self.page.rows():
                self._note(int(str(each["id"])), each, each)
            self.page = None


def by_witness(world: World) -> bool:
    witness = last_visible_change(world.log[: world.emitted])
    return witness is None or world.visible.get(int(str(witness.key["id"]))) != witness.before


def by_snapshot(world: World) -> bool:
    unseen = Unseen()
    unseen.add(range(world.emitted))
    return unseen.all_in(Snapshot(len(world.log), frozenset(range(world.shown, len(world.log)))))


STEPS = st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["show", "tell", "read", "close"])), max_size=80)


@pytest.mark.parametrize("shows_all", [by_witness, by_snapshot])
@settings(max_examples=examples(150), deadline=None)
@given(steps=STEPS)
def test_no_older_state_comes_after_a_newer_one(shows_all: Callable[[World], bool], steps: list[int | str]) -> None:
    world = World()
    for step in [*steps, *["show", "tell"] * len(steps), "read", "close"]:
        if isinstance(step, int):
            world.write(step)
        elif step == "read":
            world.read(shows_all)
        else:
            getattr(world, step)()
    assert {number: image for number, image in world.history.items() if image is not None} == world.table


def test_a_reader_that_trusts_any_snapshot_is_found_out() -> None:
    """The test above can fail."""
    world = World()
    world.write(1)
    world.tell()
    world.read(lambda _: True)  # before the commit is shown
    world.show()
    with pytest.raises(AssertionError, match="what was told last"):
        world.close()


# -- what a snapshot shows --------------------------------------------------------------------------------------------


def test_a_snapshot_shows_what_had_ended() -> None:
    snapshot = Snapshot.parse("700:705:700,703")
    assert [xid for xid in range(698, 708) if snapshot.shows(xid)] == [698, 699, 701, 702, 704]


def test_transaction_ids_go_round() -> None:
    snapshot = Snapshot.parse(f"{(7 << 32) - 2}:{(7 << 32) + 2}:{(7 << 32) - 2}")
    assert snapshot.shows((1 << 32) - 1)
    assert not snapshot.shows((1 << 32) - 2)
    assert snapshot.shows(1)
    assert not snapshot.shows(2)


def test_what_was_shown_once_is_not_asked_for_again() -> None:
    unseen = Unseen()
    unseen.add([5, 6])
    assert not unseen.all_in(Snapshot(7, frozenset({5})))
    assert unseen.all_in(Snapshot(6, frozenset()))


def test_a_witness_is_a_row_that_a_transaction_left_otherwise_than_it_found_it() -> None:
    undone = transaction(change(row(2, 0), row(2, 1)), change(row(2, 1), row(2, 0)))
    inserted_and_gone = transaction(change(None, row(3, 1)), change(row(3, 1), None))
    renamed = transaction(change(row(4, 1), row(5, 1)))
    assert last_visible_change([undone, inserted_and_gone]) is None
    assert last_visible_change([renamed, undone]) == VisibilityCheck("item", {"id": 5}, None)
    assert last_visible_change(
        [transaction(change(row(1, 0), row(1, 1)), change(row(1, 1), row(1, 2)))]
    ) == VisibilityCheck("item", {"id": 1}, row(1, 0))
    assert last_visible_change([transaction(change(row(1, 0), None))]) == VisibilityCheck("item", {"id": 1}, row(1, 0))
