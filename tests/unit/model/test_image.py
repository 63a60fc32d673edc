"""Images that are decoded when somebody looks at more than their key."""

from __future__ import annotations

from itertools import pairwise
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.postgres_catalogue import compile_decode
from cdc.database.mysql_journal import JournalShape, image_reader
from cdc.mapping.merge import merge
from cdc.model.change import Operation, Row
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.image import Image, ImageReader, array_key_reader, key_in, key_of, object_key_reader, opened
from support.row_changes import change

COLUMNS = (
    Column("total", ColumnKind.DOUBLE),
    Column("code", ColumnKind.TEXT),
    Column("id", ColumnKind.INTEGER),
    Column("note", ColumnKind.TEXT),
)


class Counting:
    """A decoder, and the texts that it was given."""

    def __init__(self) -> None:
        self.decoded: list[str] = []
        self.reader = ImageReader(self, ("id",), object_key_reader(COLUMNS, ("id",)))

    def __call__(self, text: str) -> Row:
        self.decoded.append(text)
        row: Row = orjson.loads(text)
        return row

    def image(self, text: str) -> Image:
        return Image(text, self.reader)

    def text(self, **values: object) -> str:
        return orjson.dumps({"total": 1.5, "code": "A", "id": 7, "note": None} | values).decode()


def test_nothing_is_decoded_for_the_key_and_everything_once() -> None:
    counting = Counting()
    image = counting.image(counting.text())
    assert (image["id"], "id" in image, bool(image), repr(image)) == (7, True, True, "Image({'id': 7})")
    assert key_of(image, ("id",)) == {"id": 7}
    assert counting.decoded == []
    assert image == {"total": 1.5, "code": "A", "id": 7, "note": None}
    assert (list(image), len(image), image["code"], image.get("x"), "x" in image) == (
        ["total", "code", "id", "note"],
        4,
        "A",
        None,
        False,
    )
    assert type(opened(image)) is dict
    assert len(counting.decoded) == 1


def test_a_row_is_its_own_image() -> None:
    row = {"id": 1}
    assert opened(row) is row
    assert (key_of(row, ("id",)), key_of(row, ("id", "other")), key_of(row, ())) == (row, None, {})


@pytest.mark.parametrize(
    ("text", "key"), [('{"code":"A"}', None), ('{"id":"7"}', {"id": "7"}), ('{"id":1.5}', {"id": 1.5})]
)
def test_where_the_key_cannot_be_read_alone_all_of_it_is(text: str, key: Row | None) -> None:
    """An image from before the key's column had this name, or this type."""
    counting = Counting()
    image = counting.image(text)
    assert (key_of(image, ("id",)), key_in(image, counting.reader)) == (key, key or {})
    assert (image.get("id"), "id" in image) == ((key or {}).get("id"), key is not None)
    assert counting.decoded == [text]


def test_a_key_of_other_columns_than_the_reader_knew_is_looked_up() -> None:
    counting = Counting()
    image = counting.image(counting.text())
    assert (key_of(image, ("code",)), key_of(image, ("code", "id")), key_of(image, ("gone",))) == (
        {"code": "A"},
        {"code": "A", "id": 7},
        None,
    )


def test_what_a_transaction_left_behind_in_between_is_never_decoded() -> None:
    counting = Counting()
    texts = [counting.text(total=number) for number in range(5)]
    changes = [
        change(Operation.UPDATE, "t", counting.image(before), counting.image(after))
        for before, after in pairwise(texts)
    ]
    (merged,) = merge(changes)
    assert merged.before is not None
    assert merged.after is not None
    assert (merged.before["total"], merged.after["total"]) == (0, 4)
    assert (type(merged.before), type(merged.after)) == (dict, dict)
    assert counting.decoded == [texts[0], texts[-1]]


_VALUES = {
    ColumnKind.BOOLEAN: st.booleans(),
    ColumnKind.INTEGER: st.integers(-(2**63), 2**64 - 1),
    ColumnKind.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    ColumnKind.DATE: st.dates().map(str),
    ColumnKind.TEXT: st.text(st.characters(codec="utf-8")),
    ColumnKind.OTHER: st.text(st.characters(codec="utf-8")),
}


@given(st.data())
def test_the_key_that_is_read_alone_is_that_of_the_row(data: st.DataObject) -> None:
    """To the type; whatever the kinds, the number and the order of columns and key."""
    kinds = data.draw(st.lists(st.sampled_from(list(_VALUES)), min_size=1, max_size=5))
    columns = tuple(Column(f"c{number}", kind) for number, kind in enumerate(kinds))
    names = [column.name for column in columns]
    key = tuple(data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
    values = [data.draw(_VALUES[kind]) for kind in kinds]
    table = Table("t", columns, key)

    whole = compile_decode(table, lambda: ZoneInfo("UTC"))
    named = orjson.dumps(dict(zip(names, values, strict=True))).decode()
    for reader, text in (
        (ImageReader(whole, key, object_key_reader(columns, key)), named),
        (image_reader(JournalShape("t", columns, key)), orjson.dumps(values).decode()),
    ):
        image, row = Image(text, reader), reader.decode(text)
        assert repr(key_of(image, key)) == repr({name: row[name] for name in key})
        assert repr(opened(image)) == repr(row)
        assert repr(key_of(image, key)) == repr({name: row[name] for name in key})


def test_most_keys_are_read_alone() -> None:
    for key in (("id",), ("code",), ("code", "id"), ("id", "code")):
        row = {"id": 1, "code": "A"}
        assert object_key_reader(COLUMNS, key)('{"id":1,"note":[],"code":"A"}') == {name: row[name] for name in key}
        assert array_key_reader(COLUMNS, key)('[{},"A",1,null]') == {name: row[name] for name in key}
