"""Logins and logouts, and whose permissions changed."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.change import Operation, Row, RowChange
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import Facts, FactsRequest, gather_facts
from cdc.mapping.mapper import Mapper
from cdc.mapping.merge import merged
from support.row_changes import change, delete, events, insert, mapped, names, transaction, update

_LOLA: Row = {
    "nick": "lola",
    "admin": False,
    "level": 2,
    "lastip": "10.0.0.1",
    "lastbrowser": "Firefox",
    "lastactivity": "a",
}
_STATE = "session:users:lola"


def _key(*more: str, **values: Any) -> RowChange:
    """A change of lola's session key."""
    return update("users", _LOLA, key="nick", secrets=["logkey", *more], **values)


@pytest.mark.parametrize(
    ("known", "values", "inferred"),
    [
        (None, {}, "login"),
        ("login", {}, "logout"),
        ("logout", {}, "login"),
        ("login", {"lastip": "10.9.9.9"}, "login"),
        ("login", {"lastbrowser": "Chrome"}, "login"),
        ("login", {"lastactivity": "b"}, "logout"),
    ],
)
def test_logins_and_logouts(known: str | None, values: dict[str, Any], inferred: str) -> None:
    result = mapped(transaction(_key(**values)), states={} if known is None else {_STATE: known})
    event = result.events[-1]
    assert (event.name, event.inferred) == (f"user.{inferred}", True)
    assert result.states_changed == {_STATE: inferred}


def test_they_alternate_within_a_batch() -> None:
    result = mapped(transaction(_key(), token="t1"), transaction(_key(), token="t2"), transaction(_key(), token="t3"))
    assert [event.name for event in result.events] == ["user.login", "user.logout", "user.login"]


def test_a_new_password_is_neither_and_leaves_the_state() -> None:
    result = mapped(transaction(_key("password")), states={_STATE: "login"})
    assert [(event.name, event.inferred) for event in result.events] == [("user.password_changed", False)]
    assert result.states_changed == {}


def test_activity_alone_is_nothing() -> None:
    assert names(update("users", _LOLA, key="nick", lastactivity="b")) == []


def test_a_deleted_user_is_forgotten_and_a_renamed_one_is_not() -> None:
    gone = mapped(transaction(delete("users", _LOLA, "nick")), states={_STATE: "login"})
    assert gone.states_changed == {_STATE: None}
    assert mapped(transaction(delete("users", _LOLA, "nick"))).states_changed == {}
    emptied = mapped(transaction(change(Operation.TRUNCATE, "users", None, None)), states={_STATE: "login", "x": "y"})
    assert emptied.states_changed == {_STATE: None}
    renamed = mapped(transaction(update("users", _LOLA, key="nick", nick="dolores")), states={_STATE: "login"})
    assert renamed.states_changed == {_STATE: None, "session:users:dolores": "login"}


def test_the_state_is_kept_when_only_logouts_are_wanted() -> None:
    rules = 'disable = ["user.login"]'
    result = mapped(transaction(_key(), token="t1"), transaction(_key(), token="t2"), rules=rules)
    assert [event.name for event in result.events] == ["user.logout"]


# -- permissions ------------------------------------------------------------------------------------------------------

_MEMBER: Row = {"id": 1, "codrole": "ventas", "nick": "lola"}
_ACCESS: Row = {"id": 5, "codrole": "ventas", "pagename": "ListCliente", "allowdelete": True}
_CHANGED = "user.permissions_changed"
_PEPE: Row = {"id": 2, "codrole": "ventas", "nick": "pepe"}
_MEMBERS = Facts(members={"ventas": [_MEMBER, _PEPE]})


def test_administrator_flag_and_level() -> None:
    made = events(update("users", _LOLA, key="nick", admin=True))
    assert [event.name for event in made] == ["user.updated", _CHANGED]
    assert made[1].data == {
        "nick": "lola",
        "changes": [
            {
                "table": "users",
                "operation": "update",
                "row": {"nick": "lola", "admin": True, "level": 2},
                "previous": {"admin": False},
            }
        ],
    }
    assert (made[1].key, made[1].record, made[1].previous) == ({"nick": "lola"}, "users:lola", None)
    assert names(update("users", _LOLA, key="nick", level=3)) == ["user.updated", _CHANGED]
    assert names(insert("users", {**_LOLA, "admin": True}, "nick")) == ["user.created"]


@pytest.mark.parametrize(
    "made",
    [insert("roles_users", _MEMBER), delete("roles_users", _MEMBER), update("roles_users", _MEMBER, codrole="compras")],
)
def test_roles_of_a_user(made: RowChange) -> None:
    (event,) = events(made)
    assert (event.name, event.data["nick"]) == (_CHANGED, "lola")


def test_a_role_that_moves_to_another_user_concerns_both() -> None:
    made = events(update("roles_users", _MEMBER, nick="pepe"))
    assert [event.record for event in made] == ["users:lola", "users:pepe"]
    assert len({event.id for event in made}) == 2


def test_what_a_role_allows_concerns_its_members() -> None:
    made = update("roles_access", _ACCESS, allowdelete=False)
    assert Mapper(load_catalogue()).facts_needed(merged([transaction(made)])) == FactsRequest(
        roles=frozenset({"ventas"})
    )
    assert [event.record for event in events(made, facts=_MEMBERS)] == ["users:lola", "users:pepe"]
    assert names(made) == [], "a role without members"
    assert names(update("roles_access", _ACCESS), facts=_MEMBERS) == [], "nothing changed"


def test_who_joins_the_role_later_is_not_concerned_by_what_came_before() -> None:
    access, joins = insert("roles_access", _ACCESS), insert("roles_users", _PEPE)
    result = mapped(transaction(access, token="t1"), transaction(joins, token="t2"), facts=_MEMBERS)
    assert [(event.transaction, event.record) for event in result.events] == [
        ("t1", "users:lola"),
        ("t2", "users:pepe"),
    ]


def test_one_event_a_user_and_transaction() -> None:
    made = events(
        delete("roles_users", _MEMBER),
        delete("roles_access", _ACCESS),
        delete("roles", {"codrole": "ventas"}, "codrole"),
        update("users", _LOLA, key="nick", level=9),
    )
    assert [event.name for event in made] == ["role.deleted", "user.updated", _CHANGED]
    assert [cause["table"] for cause in made[-1].data["changes"]] == ["roles_users", "users"]


def test_a_user_deleted_in_the_same_transaction_is_left_out() -> None:
    changes = (delete("roles_users", _MEMBER), delete("roles_access", _ACCESS), delete("users", _LOLA, "nick"))
    assert names(*changes) == ["user.deleted"]
    assert [event.record for event in events(*changes, facts=_MEMBERS)] == ["users:lola", "users:pepe"]


def test_a_renamed_user_has_the_same_permissions() -> None:
    renamed = update("users", _LOLA, key="nick", nick="dolores")
    cascade = update("roles_users", _MEMBER, nick="dolores")
    assert names(renamed, cascade) == ["user.updated"]
    (_, event) = events(renamed, update("roles_users", _MEMBER, nick="dolores", codrole="compras"))
    assert event.record == "users:dolores"


def test_no_tables_of_permissions_when_nobody_wants_them() -> None:
    rules = f'disable = ["{_CHANGED}"]'
    assert names(insert("roles_users", _MEMBER), rules=rules) == []
    request = Mapper(load_catalogue(rules)).facts_needed(merged([transaction(insert("roles_access", _ACCESS))]))
    assert request.empty


class _Rows:
    """Look-ups answered from memory, and remembered."""

    def __init__(self, **tables: list[Row]) -> None:
        self.tables = tables
        self.asked: list[tuple[str, str, tuple[Any, ...]]] = []

    async def rows(self, table: str, column: str, values: Any) -> list[Row]:
        self.asked.append((table, column, tuple(values)))
        return [row for row in self.tables.get(table, []) if row[column] in values]

    async def all_rows(self, table: str) -> list[Row]:
        return self.tables.get(table, [])


async def test_facts_are_gathered_in_few_look_ups() -> None:
    rows = _Rows(estados_documentos=[{"idestado": 1, "generadoc": None}], roles_users=[_MEMBER, _PEPE])
    facts = await gather_facts(FactsRequest(states=frozenset({1, 2}), roles=frozenset({"ventas"})), rows)
    assert facts == Facts(states={1: {"idestado": 1, "generadoc": None}}, members={"ventas": [_MEMBER, _PEPE]})
    assert rows.asked == [("estados_documentos", "idestado", (1, 2)), ("roles_users", "codrole", ("ventas",))]


async def test_nothing_is_looked_up_when_nothing_is_needed() -> None:
    rows = _Rows()
    assert await gather_facts(FactsRequest(), rows) == Facts()
    assert rows.asked == []


async def test_many_values_are_asked_in_pieces() -> None:
    rows = _Rows()
    await gather_facts(FactsRequest(states=frozenset(range(1200))), rows)
    assert [len(values) for _, _, values in rows.asked] == [500, 500, 200]
