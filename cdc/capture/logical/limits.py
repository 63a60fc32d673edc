"""What bounds the source that reads PostgreSQL's log, in rows and in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """``batch``: rows stored together.  ``huge``: a transaction with more changes than this is stored in parts.
    ``idle``: seconds to wait at most before looking after other things.  ``progress``: seconds after which a position
    is stored though nothing of ours was committed.  ``standby``: seconds between two tries to become the consumer.
    ``check_pause``: between two looks at slot and tables.  ``reread_pause``: between two re-reads of a table.
    ``retained``: bytes of log that the server may keep for the slot; beyond them it is dropped (0: never)."""

    batch: int = 1000
    huge: int = 2000
    idle: float = 1.0
    progress: float = 10.0
    standby: float = 5.0
    check_pause: timedelta = timedelta(minutes=1)
    reread_pause: timedelta = timedelta(minutes=1)
    retained: int = 0
