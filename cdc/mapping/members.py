"""Members of roles as the stream has shown them: kept with the position, so that no answer depends on when it is read.

The rows of ``roles_users`` are read once, when the stream first shows a change of permissions, and again where the
stream reads them again after a gap.  From then on only changes in the stream count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE
from cdc.mapping.event_id import record_name
from cdc.mapping.merge import MergedChange
from cdc.model.change import Operation, Row, RowChange, Value

#: Name of the state that holds the members.
STATE = "members"
#: Tables of which a change needs the members.
TABLES = frozenset({ACCESS_TABLE, MEMBERS_TABLE})


def must_be_read(change: RowChange | MergedChange, states: Mapping[str, str]) -> bool:
    """Return whether mapping this change of one of `TABLES` needs the rows of ``roles_users`` as they are now."""
    return STATE not in states or (change.table == MEMBERS_TABLE and change.operation is Operation.READ)


class Members:
    """``found``: record of ``roles_users`` → role and nick."""

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

    def follow(self, changes: Iterable[MergedChange]) -> None:
        """Apply what one transaction did."""
        for change in changes:
            if change.table == MEMBERS_TABLE:
                if change.operation is Operation.TRUNCATE:
                    self._found.clear()
                else:
                    self._exchange(change, change.after, change.key)

    def of(self, role: Value) -> list[Value]:
        """Return the nicks of a role's members."""
        return list(dict.fromkeys(nick for member, nick in self._found.values() if member == role))

    def state(self) -> str:
        return json.dumps(self._found, ensure_ascii=False, separators=(",", ":"))

    def _exchange(self, change: MergedChange, row: Row | None, key: Row) -> None:
        for former in (change.former_key, change.key):
            if former is not None:
                self._found.pop(record_name(MEMBERS_TABLE, former), None)
        if row is not None:
            self._put(record_name(MEMBERS_TABLE, key), row)

    def _put(self, record: str, row: Row) -> None:
        self._found[record] = (row.get("codrole"), row.get("nick"))
