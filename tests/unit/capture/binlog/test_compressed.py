"""Compressed rows, statements and transactions, and what is damaged in them."""

from __future__ import annotations

import re
import sys
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.binlog.inspector import refused
from cdc.capture.binlog.item import LogTransaction, SchemaChange
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_reader import PLAIN, inflated, payload, plain_rows
from cdc.capture.binlog.stream import read_log
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import MalformedEvent, SourceError
from support.log_stream import LogStream, query, rows, table_map

START = LogPosition("log.000001", 4, "")


def deflated(plain: bytes, length: int | None = None, kind: int = 0) -> bytes:
    said = len(plain) if length is None else length
    width = max(1, (said.bit_length() + 7) // 8)
    return bytes([0x80 | kind << 4 | width]) + said.to_bytes(width, "big") + zlib.compress(plain)


def wrapped(plain: bytes, *, algorithm: int = 0, said: int | None = None) -> bytes:
    """Body of a TRANSACTION_PAYLOAD."""
    data = zstandard.compress(plain) if algorithm == 0 else plain
    length = (len(plain) if said is None else said).to_bytes(8, "little")
    kind = b"\2\1\0" if algorithm == 0 else b"\2\3\xfc" + algorithm.to_bytes(2, "little")
    return kind + b"\3\x09\xfe" + length + b"\1\1\0" + b"\0" + data


class TestMariaDB:
    @given(images=st.binary(max_size=70_000), columns=st.integers(1, 600), kind=st.sampled_from(sorted(PLAIN)))
    def test_only_the_images_are_compressed(self, images: bytes, columns: int, kind: int) -> None:
        count = bytes([columns]) if columns < 251 else b"\xfc" + columns.to_bytes(2, "little")
        extra = b"\4\0zz" if kind > 168 else b""
        bitmaps = b"\xff" * ((columns + 7) // 8) * (2 if kind in (167, 170) else 1)
        head = bytes(8) + extra + count + bitmaps
        assert plain_rows(kind, head + deflated(images)) == head + images

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            rows(7)[:10] + b"",
            rows(7)[:10] + deflated(b"abc", kind=1),
            rows(7)[:10] + deflated(b"abc", length=2),
            rows(7)[:10] + deflated(b"abc", length=4),
            rows(7)[:10] + deflated(b"abc")[:-6],
            rows(7)[:10] + b"\x81\3nonsense",
            rows(7)[:10] + b"\x84\xff\xff\xff\xff" + zlib.compress(b"abc"),
            bytes(8) + b"\xfe" + b"\xff" * 8,
        ],
    )
    def test_damage(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            plain_rows(166, body)

    def test_a_length_that_is_said_takes_no_memory(self) -> None:
        body = rows(7)[:10] + b"\x84\x3f\xff\xff\xff" + zlib.compress(bytes(1000))
        tracemalloc.start()
        with pytest.raises(MalformedEvent):
            plain_rows(166, body)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 1 << 20

    def test_in_a_stream(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.begin()
        log.event(19, table_map(7, "shop", "a"))
        log.event(166, rows(7)[:10] + deflated(rows(7, 1, 2, 3)[10:]))
        log.commit()
        log.gtid(2, standalone=True)
        log.event(165, query(deflated(b"DROP TABLE a"), "shop"))
        items = list(read_log([log.bytes], lambda t: UnreadableTable(t.table, "", None), START, Flavour.MARIADB))
        assert isinstance(items[0], LogTransaction)
        assert [(each.event_type, each.body) for each in items[0].rows] == [(23, rows(7, 1, 2, 3))]
        assert isinstance(items[1], SchemaChange)
        assert items[1].statement == "DROP TABLE a"

    def test_statements(self) -> None:
        assert inflated(deflated(b"x" * 70_000), 0) == b"x" * 70_000


class TestMySQL:
    @staticmethod
    def inner(*events: tuple[int, bytes]) -> bytes:
        log = LogStream(Flavour.MYSQL, checksums=False)
        return b"".join(log.raw_event(kind, body, log_pos=0) for kind, body in events)

    @given(plain=st.binary(max_size=10_000), algorithm=st.sampled_from([0, 255]))
    def test_comes_back(self, plain: bytes, algorithm: int) -> None:
        assert b"".join(payload(wrapped(plain, algorithm=algorithm))) == plain

    def test_a_step_at_a_time(self) -> None:
        plain = bytes(range(256)) * 40_000
        pieces = list(payload(wrapped(plain)))
        assert b"".join(pieces) == plain
        assert max(map(len, pieces)) <= 1 << 20

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            wrapped(b"abc", said=2),
            wrapped(b"abc", said=4),
            wrapped(b"abc" * 100)[:-3],
            wrapped(b"abc", algorithm=9),
            b"\2\1\0\0nonsense",
        ],
    )
    def test_damage(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            list(payload(body))

    @pytest.mark.parametrize("checksums", [True, False])
    def test_in_a_stream(self, checksums: bool) -> None:
        log = LogStream(Flavour.MYSQL, checksums=checksums)
        log.gtid(1)
        many = tuple(range(300_000))
        log.event(
            40,
            wrapped(
                self.inner(
                    (2, query(b"BEGIN")),
                    (19, table_map(7, "shop", "a")),
                    (23, rows(7, *many)),
                    (2, query(b"CREATE TABLE b (n INT)", "shop")),
                    (19, table_map(8, "shop", "b")),
                    (23, rows(8, 2)),
                    (16, bytes(8)),
                )
            ),
        )
        behind = log.offset
        log.transaction("a", 5, number=2)
        items = list(read_log([log.bytes], lambda t: UnreadableTable(t.table, "", None), START, Flavour.MYSQL))
        assert isinstance(items[1], LogTransaction)
        assert isinstance(items[2], LogTransaction)
        assert [each.body for each in items[1].rows] == [rows(7, *many), rows(8, 2)]
        assert items[1].position.offset == behind
        assert items[2].position.offset == log.offset

    @pytest.mark.parametrize(
        "plain",
        [
            b"x",
            b"".join([bytes(9), b"\x05\0\0\0", bytes(6)]),
            bytes(9) + b"\xff\0\0\0" + bytes(6),
        ],
    )
    def test_what_is_no_event_inside(self, plain: bytes) -> None:
        log = LogStream(Flavour.MYSQL)
        log.gtid(1)
        log.event(40, wrapped(plain))
        with pytest.raises(MalformedEvent):
            list(read_log([log.bytes], lambda _: None, START, Flavour.MYSQL))

    def test_one_within_another(self) -> None:
        """Which could unpack for ever."""
        log = LogStream(Flavour.MYSQL)
        log.gtid(1)
        log.event(40, wrapped(self.inner((40, wrapped(b"")))))
        with pytest.raises(MalformedEvent, match="within another"):
            list(read_log([log.bytes], lambda _: None, START, Flavour.MYSQL))

    def test_without_the_extra_it_is_refused_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = {"log_bin": "ON", "binlog_transaction_compression": "ON"}
        body = wrapped(b"abc")
        assert list(refused(settings)) == []
        monkeypatch.setitem(sys.modules, "zstandard", None)
        (wrong,) = refused(settings)
        assert re.search(r"pip install .*(zstandard|zstd)", wrong.fix)
        assert list(refused(settings | {"binlog_transaction_compression": "OFF"})) == []
        with pytest.raises(SourceError, match="is not installed") as caught:
            list(payload(body))
        assert not isinstance(caught.value, MalformedEvent)  # which would be stepped over
        assert caught.value.hint == wrong.fix
