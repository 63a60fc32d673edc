"""Tells logins from logouts.

Both change ``users.logkey`` and nothing else that is certain.  Another address or browser is a login; otherwise the
two alternate, starting from the user's last known state; of an unknown user the first one is a login.  A change of
the password renews ``logkey`` too, is neither, and leaves the state as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdc.change import Operation
from cdc.mapping.event_id import record_name
from cdc.mapping.merge import MergedChange

USERS_TABLE = "users"
LOGIN = "login"
LOGOUT = "logout"

_PREFIX = "session:"
_SESSION_COLUMN = "logkey"
_PASSWORD_COLUMN = "password"  # noqa: S105 - a column's name
_PLACE_COLUMNS = frozenset({"lastip", "lastbrowser"})


class Sessions:
    """Reads the stored states and collects what changed.

    A state is stored under ``session:users:<nick>`` and is what was inferred last: ``login`` or ``logout``.
    """

    def __init__(self, states: Mapping[str, str]) -> None:
        self._stored = states
        self.changed: dict[str, str | None] = {}

    def observe(self, change: MergedChange, columns: Collection[str]) -> str | None:
        """LOGIN, LOGOUT or None; ``columns``: those that differ (without secret ones)."""
        state = f"{_PREFIX}{record_name(change.table, change.key)}"
        if change.operation is not Operation.UPDATE:
            self._forget(change.operation, state)
            return None
        if change.former_key is not None:
            self._move(f"{_PREFIX}{record_name(change.table, change.former_key)}", state)
        if _SESSION_COLUMN not in change.secrets_changed or _PASSWORD_COLUMN in change.secrets_changed:
            return None
        elsewhere = not _PLACE_COLUMNS.isdisjoint(columns)
        inferred = LOGIN if elsewhere or self._known(state) != LOGIN else LOGOUT
        self.changed[state] = inferred
        return inferred

    def _known(self, state: str) -> str | None:
        return self.changed[state] if state in self.changed else self._stored.get(state)

    def _forget(self, operation: Operation, state: str) -> None:
        if operation is Operation.DELETE:
            self._remove(state)
        elif operation is Operation.TRUNCATE:
            for known in {*self._stored, *self.changed}:
                if known.startswith(_PREFIX):
                    self._remove(known)

    def _remove(self, state: str) -> None:
        if self._known(state) is not None:
            self.changed[state] = None

    def _move(self, former: str, state: str) -> None:
        known = self._known(former)
        self._remove(former)
        if known is not None:
            self.changed[state] = known
