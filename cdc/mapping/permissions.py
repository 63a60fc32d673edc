"""Whose permissions a transaction changed.

A user's permissions are its administrator flag and level, its roles (``roles_users``), and what these roles allow
(``roles_access``).  There is one event a transaction and user affected; a deleted user is not affected any more, and a
user that was only renamed is not affected either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cdc.change import Operation, Row, RowChange, Value
from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE
from cdc.mapping.merge import MergedChange
from cdc.mapping.session import USERS_TABLE

TABLES = frozenset({USERS_TABLE, MEMBERS_TABLE, ACCESS_TABLE})
_USER_COLUMNS = ("admin", "level")

MembersOf = Callable[[Value], Iterable[Value]]


@dataclass(slots=True)
class Affected:
    """A user and the changes that affect it, in order."""

    nick: Value
    causes: list[MergedChange] = field(default_factory=list)


def roles_of(change: RowChange | MergedChange) -> Iterator[Value]:
    """The roles whose access a change of ``roles_access`` touches."""
    for row in (change.before, change.after):
        if row is not None:
            yield row.get("codrole")


def affected_users(changes: Iterable[MergedChange], members_of: MembersOf) -> list[Affected]:
    """``members_of``: the nicks of a role's members when the transaction had committed; whom it removed is affected by
    that change already."""
    changes = [change for change in changes if change.table in TABLES]
    users = [change for change in changes if change.table == USERS_TABLE]
    deleted = {change.key.get("nick") for change in users if change.operation is Operation.DELETE}
    renamed = {change.former_key.get("nick"): change.key.get("nick") for change in users if change.former_key}
    affected: dict[Value, Affected] = {}
    for change in changes:
        for nick in dict.fromkeys(renamed.get(nick, nick) for nick in _nicks(change, members_of, renamed)):
            if nick is not None and nick not in deleted:
                affected.setdefault(nick, Affected(nick)).causes.append(change)
    return list(affected.values())


def _nicks(change: MergedChange, members_of: MembersOf, renamed: Mapping[Value, Value]) -> Iterable[Value]:
    before, after = change.before or {}, change.after or {}
    if change.operation in (Operation.READ, Operation.TRUNCATE) or before == after:
        return ()
    if change.table == USERS_TABLE:
        differs = any(before.get(column) != after.get(column) for column in _USER_COLUMNS)
        return (after.get("nick"),) if change.operation is Operation.UPDATE and differs else ()
    if change.table == ACCESS_TABLE:
        return [nick for role in dict.fromkeys(roles_of(change)) for nick in members_of(role)]
    nick = before.get("nick")
    if change.operation is Operation.UPDATE and (renamed.get(nick, nick), before.get("codrole")) == (
        after.get("nick"),
        after.get("codrole"),
    ):
        return ()
    return [row["nick"] for row in (before, after) if row]


def permissions_data(user: Affected) -> dict[str, Any]:
    """``{"nick": …, "changes": […]}``: each change with its table, operation, row and, for updates, old values."""
    return {"nick": user.nick, "changes": [_described(change) for change in user.causes]}


def _described(change: MergedChange) -> dict[str, Any]:
    row = change.after if change.after is not None else change.before
    assert row is not None
    described: dict[str, Any] = {"table": change.table, "operation": change.operation.value, "row": _shown(change, row)}
    if change.operation is Operation.UPDATE and change.before is not None:
        shown = _shown(change, change.before)
        described["previous"] = {column: value for column, value in shown.items() if row.get(column) != value}
    return described


def _shown(change: MergedChange, row: Row) -> dict[str, Value]:
    if change.table == USERS_TABLE:
        return {column: row[column] for column in ("nick", *_USER_COLUMNS) if column in row}
    return dict(row)
