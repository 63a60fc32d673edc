"""Whose permissions a transaction changed, and the events about it.

A user's permissions are its administrator flag and level, its roles (``roles_users``), and what these roles allow
(``roles_access``).  A transaction that changes a user or its roles gives one event a user.  Changes of what roles allow
come as one transaction a permission: they are held, and give one event a user and burst (`cdc.mapping.burst`).  A
deleted user is not affected any more, and a user that was only renamed is not affected either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any

from cdc.mapping import burst as bursts
from cdc.mapping import members as membership
from cdc.mapping.burst import Burst, Cause
from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE, USERS_TABLE
from cdc.mapping.event_id import NO_TIME, event_id, event_ids, record_name
from cdc.mapping.members import Members
from cdc.mapping.merge import MergedChange, MergedTransaction
from cdc.model.change import Operation, Row, Value
from cdc.model.event import Event

TABLES = frozenset({USERS_TABLE, MEMBERS_TABLE, ACCESS_TABLE})
#: Name of the state that holds events for `PermissionEvents.release`.
HELD = bursts.STATE
_USER_COLUMNS = ("admin", "level")

MembersOf = Callable[[Value], Iterable[Value]]


@dataclass(slots=True)
class Affected:
    """A user and the changes that affect it, in order."""

    nick: Value
    causes: list[MergedChange] = field(default_factory=list)


def roles_of(change: MergedChange) -> Iterator[Value]:
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
    return [row["nick"] for row in (before, after) if "nick" in row]  # of a deleted row perhaps only its key is known


class PermissionEvents:
    """The events ``name`` of one batch.  ``states``: as of before the batch; ``members``: before it, where they
    were read (None: they are known from the states)."""

    def __init__(
        self,
        name: str,
        source: str,
        states: Mapping[str, str],
        decode: Callable[[Value], Value],
        members: Members | None = None,
    ) -> None:
        self._name = name
        self._source = source
        self._states = states
        self._decode = decode
        self._burst = Burst.load(states.get(bursts.STATE))
        self._members = members

    def settle(self, transaction: MergedTransaction) -> list[Event]:
        """Release what comes before this transaction: all events if it is too late to belong to the burst, else those
        of the users that it changes itself, so that the events of a user keep their order."""
        changes = transaction.changes
        if not self._burst.causes or not changes:
            return []
        if self._burst.over(max(change.time for change in changes)):
            return self.release()
        own = [change for change in changes if change.table in (USERS_TABLE, MEMBERS_TABLE)]
        images = (image for change in own for image in (change.before, change.after) if image is not None)
        return self.release({image.get("nick") for image in images}) if own else []

    def release(self, nicks: Collection[Value] | None = None) -> list[Event]:
        """Return the held events, of these users or of all."""
        released = self._burst.release() if nicks is None else self._burst.release(nicks.__contains__)
        return [self._event(nick, causes) for nick, causes in released.items()]

    def of(self, transaction: MergedTransaction) -> list[Event]:
        """Return the events of a transaction that changed users or their roles; hold what only roles allow."""
        changes = [change for change in transaction.changes if change.table in TABLES]
        if not changes:
            return []
        roles = any(change.table != USERS_TABLE for change in changes)
        members = self._members_after(changes) if roles else None
        events: list[Event] = []
        held: dict[int, list[Value]] = {}
        for user in affected_users(changes, members.of if members else _no_members):
            if all(change.table == ACCESS_TABLE for change in user.causes):
                for change in user.causes:
                    held.setdefault(id(change), []).append(user.nick)
                continue
            events.append(self._event(user.nick, [_cause(change, transaction) for change in user.causes]))
        for change in changes:
            if id(change) in held:
                self._burst.add(_cause(change, transaction), held[id(change)])
        return events

    def states_changed(self) -> dict[str, str | None]:
        changed: dict[str, str | None] = {bursts.STATE: self._burst.state()}
        if self._members is not None:
            changed[membership.STATE] = self._members.state()
        return {name: value for name, value in changed.items() if value != self._states.get(name)}

    def _members_after(self, changes: Iterable[MergedChange]) -> Members:
        if self._members is None:
            self._members = Members(self._states.get(membership.STATE))
        self._members.follow(changes)
        return self._members

    def _event(self, nick: Value, causes: Sequence[Cause]) -> Event:
        same = (cause.ids for cause in causes if cause.ids[0] == causes[0].ids[0])
        token, table, ordinal, time = min(same, key=itemgetter(2))
        record = record_name(USERS_TABLE, {"nick": nick})
        shared = event_ids(self._source, token, table, ordinal, datetime.fromisoformat(time))
        data = {"nick": nick, "changes": [cause.shown for cause in causes]}
        return Event(
            id=event_id(shared, self._name, record),
            name=self._name,
            source=self._source,
            table=USERS_TABLE,
            record=record,
            key={"nick": self._decode(nick)},
            data=_decoded(data, self._decode),
            previous=None,
            time=max(cause.time for cause in causes),
            transaction=token,
            observed=any(cause.observed for cause in causes),
        )


def _no_members(_role: Value) -> Iterable[Value]:
    return ()


def _cause(change: MergedChange, transaction: MergedTransaction) -> Cause:
    token, observed = transaction.transaction.token, transaction.transaction.observed
    time = NO_TIME if observed else change.first_time
    return Cause((token, change.table, change.ordinal, time.isoformat()), change.time, _described(change), observed)


def _decoded(data: Any, decode_value: Callable[[Value], Value]) -> Any:
    if isinstance(data, dict):
        return {key: _decoded(value, decode_value) for key, value in data.items()}
    if isinstance(data, list):
        return [_decoded(value, decode_value) for value in data]
    return decode_value(data)


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
