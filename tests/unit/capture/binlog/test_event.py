"""What stands in single events."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.binlog.event import (
    LogPlace,
    XaPrepare,
    body_without_checksum,
    changes_rows,
    has_checksums,
    parse_heartbeat_2,
    parse_incident,
    parse_query,
    parse_rotate,
    parse_xa_prepare,
)
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import MalformedEvent
from support.log_stream import LogStream, query


@given(body=st.binary(max_size=50), checksums=st.booleans())
def test_a_checksum_is_recognised(body: bytes, checksums: bool) -> None:
    log = LogStream(Flavour.MARIADB, checksums=checksums)
    assert body_without_checksum(log.raw_event(4, body)) == body


def test_rotate() -> None:
    assert parse_rotate(pack("<Q", 2**40) + b"log.000002") == LogPlace("log.000002", 2**40)


@pytest.mark.parametrize("body", [b"", b"1234567", bytes(8) + b"\xff\xfe"])
def test_a_rotation_to_nowhere(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse_rotate(body)


class TestFormat:
    @staticmethod
    def body(version: int = 4, header: int = 19, algorithm: int = 1) -> bytes:
        return pack("<H50sIB", version, b"11.8", 0, header) + bytes(100) + bytes([algorithm]) + bytes(4)

    @pytest.mark.parametrize(("algorithm", "expected"), [(0, False), (1, True)])
    def test_checksums(self, algorithm: int, expected: bool) -> None:
        assert has_checksums(self.body(algorithm=algorithm)) is expected

    @pytest.mark.parametrize("body", [body(version=3), body(header=13), body(algorithm=7), body()[:61]])
    def test_unknown(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            has_checksums(body)


class TestHeartbeat:
    def test_fields_that_are_not_known_are_skipped(self) -> None:
        assert parse_heartbeat_2(b"\x09\2zz" + b"\1\1f" + b"\2\1\x2a" + b"\0rest") == LogPlace("f", 42)

    def test_one_that_ends_too_early(self) -> None:
        with pytest.raises(MalformedEvent):
            parse_heartbeat_2(b"\1\x0alog")


class TestQuery:
    def test_parts(self) -> None:
        found = parse_query(query(b"DROP TABLE x", "shop"))
        assert (found.database, found.text()) == ("shop", "DROP TABLE x")

    @pytest.mark.parametrize(
        ("variables", "statement", "expected"),
        [
            (b"", "é".encode(), "é"),
            (b"\0\0\0\0\0\1\0\0\0\0\0\0\0\0\6\3std\4\x08\0\x08\0\x08\0", b"\xe9\x80", "é€"),  # latin1 is cp1252 here
            (b"\3\1\0\1\0\4\x2d\0\x2d\0\x2d\0", "é".encode(), "é"),
            (b"\x7f\4\x08\0", "é".encode(), "é"),  # behind a variable of unknown length nothing can be read
            (b"\4\xff\xff\0\0\0\0", "é".encode(), "é"),  # a collation that is not known
        ],
    )
    def test_the_clients_character_set(self, variables: bytes, statement: bytes, expected: str) -> None:
        assert parse_query(query(statement, "", variables)).text() == expected

    @pytest.mark.parametrize("body", [b"", query(b"x")[:12], query(b"", "shop")[:-1], pack("<IIBHH", 1, 0, 0, 0, 99)])
    def test_one_that_ends_too_early(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            parse_query(body)


class TestXaPrepare:
    def test_the_name_is_as_in_statements(self) -> None:
        body = pack("<BIII", 0, 5, 2, 1) + b"\x0azq"
        assert parse_xa_prepare(body) == XaPrepare("x'0a7a',x'71',5", one_phase=False)
        assert parse_xa_prepare(b"\1" + body[1:]).one_phase

    @pytest.mark.parametrize("body", [b"", pack("<BIII", 0, 1, 65, 0) + bytes(65), pack("<BIII", 0, 1, 2, 0) + b"a"])
    def test_what_is_none(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            parse_xa_prepare(body)


@pytest.mark.parametrize(("body", "words"), [(b"\1\0", ""), (b"\1\0\4lost", "lost"), (b"\1\0\1\xff", "\ufffd")])
def test_incident(body: bytes, words: str) -> None:
    assert parse_incident(body) == words


@given(st.text(alphabet="/*! -#\n(0a", max_size=200) | st.text(alphabet="/*!", max_size=5000))
def test_no_text_takes_long(text: str) -> None:
    assert changes_rows(text) is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET STATEMENT max_statement_time = 5 FOR UPDATE x SET a = 1", True),
        ("ANALYZE FORMAT=JSON DELETE FROM x", True),
        ("analyze update x SET a = 1", True),
        ("ANALYZE TABLE x", False),
        ("SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE x ADD y INT", False),
    ],
)
def test_words_before_a_data_change_hide_none(text: str, expected: bool) -> None:
    assert changes_rows(text) is expected


@given(st.lists(st.sampled_from(["/* x */", "/*!50000", " ", "\t\n", "--\n", "# no\n", "(", "/**/"])))
def test_comments_hide_no_data_change(parts: list[str]) -> None:
    assert changes_rows("".join(parts) + "DeLeTe from x")
    assert not changes_rows("".join(parts) + "Drop table x")
    assert not changes_rows("".join(parts) + "Deleted")
