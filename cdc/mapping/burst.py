"""Changes of what roles allow, held until the burst is over: the ERP writes one transaction a permission.

The burst is a small state, stored with the position of the changes in it, and released in the transaction that stores
its events: a crash between loses nothing and doubles nothing.  A user's event takes its id from the first change that
affects the user, so a replay gives the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cdc.model.change import Value

#: Name of the state that holds the burst.
STATE: Final = "permissions"
#: A burst is over after so much time without a change, or since its first one, and with so many changes.
QUIET: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(seconds=20)
MOST_CHANGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Cause:
    """One change that affects users.  ``ids``: what the id of an event is made from (transaction, table, ordinal, time
    in the id); ``time``: of the change; ``shown``: the change as events show it."""

    ids: tuple[str, str, int, str]
    time: datetime
    shown: Mapping[str, Any]
    observed: bool


@dataclass(slots=True)
class Burst:
    """``causes``: in order, each with the nicks of the users that it affects."""

    causes: list[tuple[Cause, list[Value]]] = field(default_factory=list)

    @classmethod
    def load(cls, state: str | None) -> Burst:
        causes: list[tuple[Cause, list[Value]]] = []
        for nicks, group in json.loads(state) if state is not None else ():
            for ids, time, shown, observed in group:
                causes.append((Cause(tuple(ids), datetime.fromisoformat(time), shown, observed), list(nicks)))
        return cls(causes)

    def state(self) -> str | None:
        """Return the burst as text, successive causes with the same users together; None without any cause."""
        groups: list[tuple[list[Value], list[Any]]] = []
        for cause, nicks in self.causes:
            if not groups or groups[-1][0] != nicks:
                groups.append((nicks, []))
            groups[-1][1].append((cause.ids, cause.time.isoformat(), cause.shown, cause.observed))
        return json.dumps(groups, ensure_ascii=False, separators=(",", ":")) if groups else None

    def add(self, cause: Cause, nicks: Iterable[Value]) -> None:
        self.causes.append((cause, list(nicks)))

    def over(self, time: datetime) -> bool:
        """Return whether a change at ``time`` no longer belongs to the burst; of a clock that was set back, neither."""
        if not self.causes:
            return False
        since_first, since_last = time - self.causes[0][0].time, time - self.causes[-1][0].time
        return abs(since_last) > QUIET or abs(since_first) > LONGEST or len(self.causes) >= MOST_CHANGES

    def release(self, wanted: Callable[[Value], bool] = lambda _nick: True) -> dict[Value, list[Cause]]:
        """Remove and return the causes of these users, by nick, in the order of each user's first one."""
        released: dict[Value, list[Cause]] = {}
        left: list[tuple[Cause, list[Value]]] = []
        for cause, nicks in self.causes:
            for nick in filter(wanted, nicks):
                released.setdefault(nick, []).append(cause)
            if others := [nick for nick in nicks if not wanted(nick)]:
                left.append((cause, others))
        self.causes = left
        return released
