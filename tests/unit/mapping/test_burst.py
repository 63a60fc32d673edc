"""Changes of what a role allows, one transaction a permission."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import NO_FACTS, Facts
from cdc.mapping.mapper import Mapper
from cdc.mapping.permissions import LONGEST, MOST_CHANGES, QUIET
from cdc.model.change import Row, Transaction
from cdc.model.event import Event
from support.row_changes import START, applied, delete, insert, transaction, update

_MAPPER = Mapper(load_catalogue())
_MEMBERS: list[Row] = [{"id": 1, "codrole": "ventas", "nick": "lola"}, {"id": 2, "codrole": "ventas", "nick": "pepe"}]


def _saved(number: int, seconds: float) -> Transaction:
    row: Row = {"id": number, "codrole": "ventas", "pagename": f"Page{number}"}
    change = insert("roles_access", row)._replace(time=START + timedelta(seconds=seconds), ordinal=1)
    return transaction(change, token=f"t{number}")


def _play(batches: list[list[Transaction]], members: list[Row] = _MEMBERS) -> list[Event]:
    """The events of batches that are stored one after the other, and those that are held at the end."""
    states: dict[str, str] = {}
    events = []
    for batch in batches:
        facts = Facts(members=members) if _MAPPER.batch("main", batch, states).facts_needed().members else NO_FACTS
        result = _MAPPER.batch("main", batch, states).map(facts)
        states = applied(states, result)
        events += result.events
    released = _MAPPER.release("main", states)
    states = applied(states, released)
    assert not _MAPPER.holds(states)
    return [*events, *released.events]


def _seen(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.record, len(event.data["changes"])) for event in events]


_BURST = [_saved(number, number / 100) for number in range(67)]


def test_saved_role_gives_one_event_for_each_member() -> None:
    events = _play([_BURST])
    assert _seen(events) == [("users:lola", 67), ("users:pepe", 67)]
    assert (events[0].transaction, events[0].time) == ("t0", START + timedelta(seconds=0.66))


@settings(deadline=None)
@given(st.lists(st.integers(1, 66), max_size=8))
def test_events_do_not_depend_on_batches(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), 67]
    batches = [_BURST[start:end] for start, end in pairwise(edges)]
    assert _play(batches) == _play([_BURST])


def test_burst_is_over_after_silence() -> None:
    pause = QUIET.total_seconds() + 0.1
    assert _seen(_play([[_saved(1, 0), _saved(2, 1), _saved(3, 1 + pause)]])) == [
        ("users:lola", 2),
        ("users:pepe", 2),
        ("users:lola", 1),
        ("users:pepe", 1),
    ]


def test_burst_has_a_longest_time_and_a_most_of_changes() -> None:
    steady = [_saved(number, float(number)) for number in range(int(LONGEST.total_seconds()) + 3)]
    assert [count for record, count in _seen(_play([steady])) if record == "users:lola"] == [21, 2]
    many = [_saved(number, number / 1000) for number in range(MOST_CHANGES + 5)]
    assert [count for record, count in _seen(_play([many])) if record == "users:lola"] == [MOST_CHANGES, 5]


def test_clock_that_was_set_back_ends_the_burst() -> None:
    assert len(_play([[_saved(1, 3600), _saved(2, 0)]])) == 4


def test_other_changes_do_not_end_the_burst() -> None:
    customer = insert("clientes", {"codcliente": "1"}, "codcliente")._replace(time=START + timedelta(seconds=1))
    events = _play([[_saved(1, 0), transaction(customer, token="other"), _saved(2, 2)]])
    assert [event.name for event in events] == ["customer.created", *["user.permissions_changed"] * 2]


def test_held_event_of_a_user_comes_before_later_ones() -> None:
    lola: Row = {"nick": "lola", "admin": False, "level": 1, "homepage": None}
    later = update("users", lola, key="nick", homepage="ListCliente")._replace(time=START + timedelta(seconds=1))
    events = _play([[_saved(1, 0), transaction(later, token="u"), _saved(2, 1)]])
    assert [(event.name, event.transaction) for event in events if event.record == "users:lola"] == [
        ("user.permissions_changed", "t1"),
        ("user.updated", "u"),
        ("user.permissions_changed", "t2"),
    ]


def test_members_are_those_that_the_stream_has_shown() -> None:
    """Whatever the table holds when it is asked: after the first look only the stream counts."""
    leaves = transaction(delete("roles_users", _MEMBERS[1])._replace(time=START), token="leaves")
    joins = transaction(insert("roles_users", {"id": 3, "codrole": "ventas", "nick": "eva"})._replace(time=START))
    batches = [[joins], [_saved(1, 0)], [leaves], [_saved(2, 0.1)]]
    now = [_MEMBERS[0], _MEMBERS[1], {"id": 3, "codrole": "ventas", "nick": "eva"}]
    counts = {record: count for record, count in _seen(_play(batches, now)) if count > 1 or "pepe" in record}
    assert counts == {"users:lola": 2, "users:pepe": 1, "users:eva": 2}


def test_nothing_is_kept_where_the_event_is_disabled() -> None:
    quiet = Mapper(load_catalogue('disable = ["user.permissions_changed"]'))
    states = {"members": "{}", "permissions": "[]", "session:users:lola": "login"}
    assert quiet.release("main", states).states_changed == dict.fromkeys(states)
