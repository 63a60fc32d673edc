"""Users whose permissions a transaction changed, and the events about them.

A user's permissions are its administrator flag and level, its roles (``roles_users``), and what these roles allow
(``roles_access``).  A transaction that changes a user or its roles gives one event a user.  Changes of what roles allow
come as one transaction a permission: they are held in a `Burst`, and give one event a user and burst.  A deleted user
is not affected any more, and a user that was only renamed is not affected either.

Members of roles are known as the stream has shown them, and stored with the position, so that no answer depends on when
it is read.  The rows of ``roles_users`` are read once, when the stream first shows a change of permissions, and again
where the stream reads them again after a gap.  From then on only changes in the stream count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE, USERS_TABLE
from cdc.mapping.merge import MergedChange, MergedTransaction
from cdc.model.change import Operation, Row, RowChange, Value
from cdc.model.event import NO_TIME, Event, event_id, event_ids, record_name

#: Name of the state that holds the members.
MEMBERS = "members"
#: Tables of which a change needs the members.
ROLE_TABLES = frozenset({ACCESS_TABLE, MEMBERS_TABLE})


def must_be_read(change: RowChange | MergedChange, states: Mapping[str, str]) -> bool:
    """Return whether mapping this change of one of `ROLE_TABLES` needs the rows of ``roles_users`` as they are now."""
    return MEMBERS not in states or (change.table == MEMBERS_TABLE and change.operation is Operation.READ)


class Members:
    """The members of roles, as the stream has shown them (record of ``roles_users`` → role and nick)."""

    def __init__(self, state: str | None) -> None:
        self._state = state
        self._found: dict[str, tuple[Value, Value]] = {}
        if state is not None:
            self._found = {record: (role, nick) for record, (role, nick) in json.loads(state).items()}

    @classmethod
    def read(cls, rows: Iterable[Row], batch: Sequence[Sequence[MergedChange]]) -> Members:
        """Return the members before ``batch``.  ``rows``: of ``roles_users``, as they were read after it; the changes
        of the batch are undone."""
        members = cls(None)
        for row in rows:
            members._put(record_name(MEMBERS_TABLE, {"id": row.get("id")}), row)
        for changes in reversed(batch):
            for change in reversed(changes):
                if change.table == MEMBERS_TABLE and change.operation not in (Operation.READ, Operation.TRUNCATE):
                    members._exchange(change, change.before, change.former_key or change.key)
        return members

    def apply(self, changes: Iterable[MergedChange]) -> None:
        """Apply what one transaction did."""
        for change in changes:
            if change.table == MEMBERS_TABLE:
                if change.operation is Operation.TRUNCATE:
                    self._found.clear()
                else:
                    self._exchange(change, change.after, change.key)

    def nicks(self, role: Value) -> list[Value]:
        """Return the nicks of a role's members."""
        return list(dict.fromkeys(nick for member, nick in self._found.values() if member == role))

    def state(self) -> str:
        """Return the members as text, for `MEMBERS`."""
        return json.dumps(self._found, ensure_ascii=False, separators=(",", ":"))

    def _exchange(self, change: MergedChange, row: Row | None, key: Row) -> None:
        for former in (change.former_key, change.key):
            if former is not None:
                self._found.pop(record_name(MEMBERS_TABLE, former), None)
        if row is not None:
            self._put(record_name(MEMBERS_TABLE, key), row)

    def _put(self, record: str, row: Row) -> None:
        self._found[record] = (row.get("codrole"), row.get("nick"))


#: Name of the state that holds the burst.
HELD: Final = "permissions"
#: A burst is over after so much time without a change, or since its first one, and with so many changes.
QUIET: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(seconds=20)
MOST_CHANGES: Final = 1000


@dataclass(frozen=True, slots=True)
class AccessCause:
    """One change that affects users.  ``ids``: what the id of an event is made from (transaction, table, ordinal, time
    in the id); ``time``: of the change; ``shown``: the change as events show it."""

    ids: tuple[str, str, int, str]
    time: datetime
    shown: Mapping[str, Any]
    observed: bool


@dataclass(slots=True)
class Burst:
    """Changes of what roles allow, held until the burst is over: the ERP writes one transaction a permission.

    The burst is a small state, stored with the position of the changes in it, and released in the transaction that
    stores its events: a crash between loses nothing and doubles nothing.  A user's event takes its id from the first
    change that affects the user, so a replay gives the same one.

    ``causes``: in order, each with the nicks of the users that it affects."""

    causes: list[tuple[AccessCause, list[Value]]] = field(default_factory=list)

    @classmethod
    def load(cls, state: str | None) -> Burst:
        causes: list[tuple[AccessCause, list[Value]]] = []
        for nicks, group in json.loads(state) if state is not None else ():
            for ids, time, shown, observed in group:
                causes.append((AccessCause(tuple(ids), datetime.fromisoformat(time), shown, observed), list(nicks)))
        return cls(causes)

    def state(self) -> str | None:
        """Return the burst as text, successive causes with the same users together; None without any cause."""
        groups: list[tuple[list[Value], list[Any]]] = []
        for cause, nicks in self.causes:
            if not groups or groups[-1][0] != nicks:
                groups.append((nicks, []))
            groups[-1][1].append((cause.ids, cause.time.isoformat(), cause.shown, cause.observed))
        return json.dumps(groups, ensure_ascii=False, separators=(",", ":")) if groups else None

    def over(self, time: datetime) -> bool:
        """Return whether a change at ``time`` no longer belongs to the burst; of a clock that was set back, neither."""
        if not self.causes:
            return False
        since_first, since_last = time - self.causes[0][0].time, time - self.causes[-1][0].time
        return abs(since_last) > QUIET or abs(since_first) > LONGEST or len(self.causes) >= MOST_CHANGES

    def release(self, among: Collection[Value] | None = None) -> dict[Value, list[AccessCause]]:
        """Remove and return the causes of these users, or of all, by nick, in the order of each user's first one."""
        released: dict[Value, list[AccessCause]] = {}
        left: list[tuple[AccessCause, list[Value]]] = []
        for cause, nicks in self.causes:
            others = [nick for nick in nicks if among is not None and nick not in among]
            for nick in nicks:
                if nick not in others:
                    released.setdefault(nick, []).append(cause)
            if others:
                left.append((cause, others))
        self.causes = left
        return released


PERMISSION_TABLES = frozenset({USERS_TABLE, MEMBERS_TABLE, ACCESS_TABLE})
_USER_COLUMNS = ("admin", "level")

MembersOf = Callable[[Value], Iterable[Value]]


@dataclass(slots=True)
class Affected:
    """A user and the changes that affect it, in order."""

    nick: Value
    causes: list[MergedChange] = field(default_factory=list)


def roles_of(change: MergedChange) -> Iterator[Value]:
    """Yield the roles whose access a change of ``roles_access`` touches."""
    for row in (change.before, change.after):
        if row is not None:
            yield row.get("codrole")


def affected_users(changes: Iterable[MergedChange], members_of: MembersOf) -> list[Affected]:
    """Return the users whose permissions these changes affect.

    ``members_of``: the nicks of a role's members when the transaction had committed; users whom it removed are affected
    by that change already."""
    changes = [change for change in changes if change.table in PERMISSION_TABLES]
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
        self._burst = Burst.load(states.get(HELD))
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
        return [self._event(nick, causes) for nick, causes in self._burst.release(nicks).items()]

    def map(self, transaction: MergedTransaction) -> list[Event]:
        """Return the events of a transaction that changed users or their roles; hold what only roles allow."""
        changes = [change for change in transaction.changes if change.table in PERMISSION_TABLES]
        if not changes:
            return []
        roles = any(change.table != USERS_TABLE for change in changes)
        if roles:
            self._members = self._members or Members(self._states.get(MEMBERS))
            self._members.apply(changes)
        events: list[Event] = []
        held: dict[int, list[Value]] = {}
        for user in affected_users(changes, self._members.nicks if roles and self._members else lambda _role: ()):
            if all(change.table == ACCESS_TABLE for change in user.causes):
                for change in user.causes:
                    held.setdefault(id(change), []).append(user.nick)
                continue
            events.append(self._event(user.nick, [_cause(change, transaction) for change in user.causes]))
        for change in changes:
            if id(change) in held:
                self._burst.causes.append((_cause(change, transaction), held[id(change)]))
        return events

    def states_changed(self) -> dict[str, str | None]:
        """Return the states that differ from those before the batch (None: to be removed)."""
        changed: dict[str, str | None] = {HELD: self._burst.state()}
        if self._members is not None:
            changed[MEMBERS] = self._members.state()
        return {name: value for name, value in changed.items() if value != self._states.get(name)}

    def _event(self, nick: Value, causes: Sequence[AccessCause]) -> Event:
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


def _cause(change: MergedChange, transaction: MergedTransaction) -> AccessCause:
    token, observed = transaction.transaction.token, transaction.transaction.observed
    time = NO_TIME if observed else change.first_time
    return AccessCause(
        (token, change.table, change.ordinal, time.isoformat()), change.time, _described(change), observed
    )


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
