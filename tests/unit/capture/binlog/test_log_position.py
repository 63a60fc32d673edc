"""GTID sets against sets of numbers, against another implementation, and as a server wrote them."""

from __future__ import annotations

from struct import pack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysqlreplication import gtid as other

from cdc.capture.binlog.log_position import DomainState, GtidSet, MySQLGtid, parse_gtid, parse_tagged_gtid, uuid_text
from cdc.model.errors import MalformedEvent, SourceError
from support.log_stream import SERVER, packed, tagged

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
Members = dict[tuple[str, str], set[int]]

servers = st.sampled_from([A, B])
tags = st.sampled_from(["", "", "loader", "b_2"])
members: st.SearchStrategy[Members] = st.dictionaries(
    st.tuples(servers, tags), st.sets(st.integers(1, 40), min_size=1), max_size=5
)


def made(found: Members) -> GtidSet:
    gtids = GtidSet()
    for (server, tag), numbers in found.items():
        for number in numbers:
            gtids.add(UUID(server).bytes, tag, number)
    return gtids


def holds(gtids: GtidSet) -> Members:
    found = {}
    for server in (A, B):
        for tag in ("", "loader", "b_2"):
            numbers = {number for number in range(45) if gtids.contains(UUID(server).bytes, tag, number)}
            if numbers:
                found[server, tag] = numbers
    return found


@given(members)
def test_what_was_added_is_contained_and_nothing_else(found: Members) -> None:
    assert holds(made(found)) == found


@given(members)
def test_text_reads_back(found: Members) -> None:
    text = made(found).text()
    assert holds(GtidSet.parse(text)) == found
    assert GtidSet.parse(text).text() == text
    assert GtidSet.parse(text.replace(",", ",\n ").upper()).text() == text


@given(members)
def test_bytes_read_back(found: Members) -> None:
    assert holds(GtidSet.decode(made(found).encode())) == found


@given(members, members)
def test_union(one: Members, two: Members) -> None:
    gtids = made(one)
    gtids.update(made(two))
    assert holds(gtids) == {key: one.get(key, set()) | two.get(key, set()) for key in {**one, **two}}


@given(st.lists(st.tuples(servers, tags, st.integers(1, 30)), max_size=60))
def test_the_text_is_right_after_each_addition(additions: list[tuple[str, str, int]]) -> None:
    gtids = GtidSet()
    for server, tag, number in additions:
        gtids.add(UUID(server).bytes, tag, number)
        assert gtids.text() == GtidSet.parse(gtids.text()).text()
        assert holds(GtidSet.parse(gtids.text())) == holds(gtids)


@given(members.map(lambda found: {key: numbers for key, numbers in found.items() if not key[1]}))
def test_text_and_bytes_are_those_of_mysql_replication_where_there_are_no_tags(found: Members) -> None:
    theirs = other.GtidSet("")
    for (server, _), numbers in found.items():
        for number in numbers:
            theirs += other.Gtid(f"{server}:{number}")
    ours = made(found)
    assert ours.text() == ",".join(sorted(str(each) for each in theirs.gtids))
    assert len(ours.encode()) == theirs.encoded_length
    assert GtidSet.decode(theirs.encode()).text() == ours.text()


def test_text_as_mysql_prints_it() -> None:
    text = f"{A}:1-5:7:b:1:loader:1-3,{B}:2"
    assert GtidSet.parse(text).text() == text
    assert GtidSet.parse(f"{B}:2, {A}:loader:1-3,{A}:b:1,{A}:1-3:4-5:7:5").text() == text
    assert GtidSet.parse("").text() == ""


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x:1",
        f"{A}:0",
        f"{A}:5-3",
        f"{A}:1-x",
        f"{A}:x-y",
        f"{A}:{'t' * 33}:1",
        f"{A}:1:",
        f"{A}:1-2-3",
        f"{A}:é:1",
    ],
)
def test_text_that_is_no_set(text: str) -> None:
    with pytest.raises(SourceError):
        GtidSet.parse(text)


def test_bytes_of_a_server() -> None:
    """MySQL 9.7: 1 to 15 without a tag, 1 with the tag ``tag1``."""
    server = "207b7844e87c11f1b60902fc00000001"
    first = f"{server}00" + "0100000000000000" + "0100000000000000" + "1000000000000000"
    second = f"{server}08" + b"tag1".hex() + "0100000000000000" + "0100000000000000" + "0200000000000000"
    data = bytes.fromhex("0102000000000001" + first + second)
    gtids = GtidSet.decode(data)
    assert gtids.text() == "207b7844-e87c-11f1-b609-02fc00000001:1-15:tag1:1"
    assert gtids.encode() == data


@pytest.mark.parametrize(
    "data",
    [b"", pack("<Q", 1), pack("<Q16sQQQ", 1, SERVER, 1, 5, 5), pack("<Q16sQQQ", 1, SERVER, 1, 0, 2), pack("<Q", 2**63)],
)
def test_bytes_that_are_no_set(data: bytes) -> None:
    with pytest.raises(MalformedEvent):
        GtidSet.decode(data)


class TestEvents:
    def test_a_transaction_made_here(self) -> None:
        body = pack("<B16sqBqq", 1, SERVER, 7, 2, 1, 2) + (5).to_bytes(7, "little") + b"\xfc\x01\1" + bytes(4)
        gtid = parse_gtid(body)
        assert gtid == MySQLGtid(SERVER, 7, "", 5)
        assert gtid.text() == f"{uuid_text(SERVER)}:7"

    def test_one_that_was_replicated_has_its_first_time(self) -> None:
        """So that its events have the same ids, whichever server they are read from."""
        times = (9 | 1 << 55).to_bytes(7, "little") + (5).to_bytes(7, "little")
        assert parse_gtid(pack("<B16sqBqq", 1, SERVER, 7, 2, 1, 2) + times + bytes(9)).micros == 5

    def test_old_ones_have_no_time(self) -> None:
        assert parse_gtid(pack("<B16sq", 1, SERVER, 7)).micros == 0

    def test_a_tag_as_a_server_wrote_it(self) -> None:
        body = bytes.fromhex(
            "026c00000002" + "40f6f088a103f822c503d9021204f10300000002" + "0404" + "060874616731"
            "0830" + "0a34" + "0c7f2c42a104116106" + "105104" + "1283120bcf"
        )  # fmt: skip
        gtid = parse_tagged_gtid(body)
        assert gtid.text() == "207b7844-e87c-11f1-b609-02fc00000001:tag1:1"
        assert gtid.micros == 0x06611104A1422C

    @given(
        number=st.integers(1, 2**62),
        micros=st.integers(1, 2**63 - 1),
        tag=st.from_regex(r"[a-z_][a-z0-9_]{0,31}", fullmatch=True),
    )
    def test_any_tag(self, number: int, micros: int, tag: str) -> None:
        assert parse_tagged_gtid(tagged(number, tag, micros)) == MySQLGtid(SERVER, number, tag, micros)

    def test_a_tag_that_was_replicated_has_its_first_time(self) -> None:
        body = tagged(1, "t", 9)
        at = body.index(b"\x10\x04")
        assert parse_tagged_gtid(body[:at] + b"\x0e" + packed(5) + body[at:]).micros == 5

    @pytest.mark.parametrize("body", [b"", b"\2\4\0", tagged(1, "t", 9)[:20], tagged(1, "t", 9)[:-4] + b"\x0c"])
    def test_a_tag_that_is_none(self, body: bytes) -> None:
        with pytest.raises(MalformedEvent):
            parse_tagged_gtid(body)


class TestDomains:
    def test_text(self) -> None:
        state = DomainState.parse(" 0-1-5,7-2-18446744073709551615")
        assert state.last == {0: (1, 5), 7: (2, 2**64 - 1)}
        assert state.text() == "0-1-5,7-2-18446744073709551615"
        assert DomainState.parse("").last == {}

    @pytest.mark.parametrize("text", ["0", "0-1", "0-1-x", "0-1--5", "0-1-5-6", "0-1-²"])
    def test_text_that_is_none(self, text: str) -> None:
        with pytest.raises(SourceError):
            DomainState.parse(text)

    def test_the_last_server_of_a_domain_counts(self) -> None:
        body = pack("<IIIQIIQ", 2 | 1 << 28, 0, 9, 100, 0, 1, 7)
        assert DomainState.decode(body).text() == "0-1-7"

    def test_a_list_that_ends_too_early(self) -> None:
        with pytest.raises(MalformedEvent):
            DomainState.decode(pack("<IIIQ", 2, 0, 9, 100))
