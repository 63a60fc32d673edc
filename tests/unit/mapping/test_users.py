"""Logins and logouts, and whose permissions changed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import Facts, FactsRequest, gather_facts
from cdc.mapping.mapper import Mapper
from cdc.model.change import Row, RowChange, Transaction
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.event import Event
from support.row_changes import applied, delete, events, insert, mapped, names, transaction, update

_LOLA: Row = {
    "nick": "lola",
    "admin": False,
    "level": 2,
    "lastip": "10.0.0.1",
    "lastbrowser": "Firefox",
    "lastactivity": "a",
}


def _key(*more: str, **values: Any) -> RowChange:
    """A change of lola's session key."""
    return update("users", _LOLA, key="nick", secrets=["logkey", *more], **values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "session_changed"),
        ({"lastactivity": "b"}, "session_changed"),
        ({"lastip": "10.9.9.9"}, "login"),
        ({"lastbrowser": "Chrome", "lastactivity": "b"}, "login"),
    ],
)
def test_new_session_key_is_login_only_from_another_address_or_browser(values: dict[str, Any], expected: str) -> None:
    result = mapped(transaction(_key(**values)))
    assert (result.events[-1].name, result.events[-1].inferred) == (f"user.{expected}", True)
    assert result.states_changed == {}


def test_new_password_is_no_session_event() -> None:
    made = events(_key("password", lastip="10.9.9.9"))
    assert [(event.name, event.inferred) for event in made] == [
        ("user.updated", False),
        ("user.password_changed", False),
    ]


def test_activity_alone_gives_no_event() -> None:
    assert names(update("users", _LOLA, key="nick", lastactivity="b")) == []


# -- permissions ------------------------------------------------------------------------------------------------------

_MEMBER: Row = {"id": 1, "codrole": "ventas", "nick": "lola"}
_ACCESS: Row = {"id": 5, "codrole": "ventas", "pagename": "ListCliente", "allowdelete": True}
_CHANGED = "user.permissions_changed"
_PEPE: Row = {"id": 2, "codrole": "ventas", "nick": "pepe"}
_MEMBERS = Facts(members=[_MEMBER, _PEPE])


def _settled(*transactions: Transaction, facts: Facts = _MEMBERS, rules: str | None = None) -> list[Event]:
    """The events of these transactions, and then what mapping holds."""
    mapper = Mapper(load_catalogue(rules))
    result = mapper.batch("main", transactions, {}).map(facts)
    return [*result.events, *mapper.release("main", applied({}, result)).events]


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
    mapper = Mapper(load_catalogue())
    assert mapper.batch("main", [transaction(made)], {}).facts_needed() == FactsRequest(members=True)
    assert mapper.batch("main", [transaction(made)], {"members": "{}"}).facts_needed() == FactsRequest()
    assert [event.record for event in _settled(transaction(made))] == ["users:lola", "users:pepe"]
    assert _settled(transaction(made), facts=Facts(members=[])) == [], "a role without members"
    assert _settled(transaction(update("roles_access", _ACCESS))) == [], "nothing changed"


def test_who_joins_the_role_later_is_not_concerned_by_what_came_before() -> None:
    access, joins = insert("roles_access", _ACCESS), insert("roles_users", _PEPE)
    made = _settled(transaction(access, token="t1"), transaction(joins, token="t2"))
    assert {(event.transaction, event.record) for event in made} == {("t1", "users:lola"), ("t2", "users:pepe")}


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
    assert [event.record for event in _settled(transaction(*changes))] == ["users:lola", "users:pepe"]


def test_a_renamed_user_has_the_same_permissions() -> None:
    renamed = update("users", _LOLA, key="nick", nick="dolores")
    cascade = update("roles_users", _MEMBER, nick="dolores")
    assert names(renamed, cascade) == ["user.updated"]
    (_, event) = events(renamed, update("roles_users", _MEMBER, nick="dolores", codrole="compras"))
    assert event.record == "users:dolores"


def test_no_tables_of_permissions_when_nobody_wants_them() -> None:
    rules = f'disable = ["{_CHANGED}"]'
    assert names(insert("roles_users", _MEMBER), rules=rules) == []
    batch = Mapper(load_catalogue(rules)).batch("main", [transaction(insert("roles_access", _ACCESS))], {})
    assert batch.facts_needed() == FactsRequest()


class _Rows:
    """Look-ups answered from memory, and remembered."""

    def __init__(self, **tables: list[Row]) -> None:
        self.stored = tables
        self.known: dict[str, Table] = {}
        self.asked: list[tuple[str, str, tuple[Any, ...]]] = []

    async def rows(self, table: str, column: str, values: Any) -> list[Row]:
        self.asked.append((table, column, tuple(values)))
        return [row for row in self.stored.get(table, []) if row[column] in values]

    async def all_rows(self, table: str) -> list[Row]:
        return self.stored.get(table, [])

    async def tables(self) -> dict[str, Table]:
        return self.known


async def test_facts_are_gathered_in_few_look_ups() -> None:
    rows = _Rows(estados_documentos=[{"idestado": 1, "generadoc": None}], roles_users=[_MEMBER, _PEPE])
    facts = await gather_facts(FactsRequest(states={1, 2}, members=True), rows, {})
    assert facts == Facts(states={1: {"idestado": 1, "generadoc": None}}, members=[_MEMBER, _PEPE])
    assert rows.asked == [("estados_documentos", "idestado", (1, 2))]


async def test_documents_are_read_by_their_own_key() -> None:
    table = Table("facturascli", (Column("idfactura", ColumnKind.INTEGER),), ("idfactura",))
    rows = _Rows(facturascli=[{"idfactura": 1}, {"idfactura": 2}])
    rows.known = {"facturascli": table}
    documents = defaultdict[str, set[Any]](set, {"facturascli": {2}, "gone": {1}})
    request = FactsRequest(documents=documents)
    assert (await gather_facts(request, rows, {})).documents == {"facturascli": ("idfactura", {2: {"idfactura": 2}})}


async def test_nothing_is_looked_up_when_nothing_is_needed() -> None:
    rows = _Rows()
    assert await gather_facts(FactsRequest(), rows, {}) == Facts()
    assert rows.asked == []


async def test_many_values_are_asked_in_pieces() -> None:
    rows = _Rows()
    await gather_facts(FactsRequest(states=set(range(1200))), rows, {})
    assert [len(values) for _, _, values in rows.asked] == [500, 500, 200]
