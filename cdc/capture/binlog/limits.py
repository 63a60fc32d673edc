"""What bounds the binlog source in rows and in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class LogLimits:
    """``batch``: rows stored together.  ``huge``: a transaction with more rows than this is stored in parts.
    ``idle``: seconds to wait at most before looking after the lock and re-reads.  ``heartbeat``: seconds after which a
    server with nothing to say says that it lives.  ``standby``: between two tries to become the consumer.
    ``progress``: after which a position is stored though nothing of ours was committed.  ``reread_pause``: between two
    re-reads of a table.  ``check_pause``: between two looks at triggers."""

    batch: int = 1000
    huge: int = 2000
    idle: float = 1.0
    heartbeat: float = 5.0
    standby: float = 5.0
    progress: float = 5.0
    reread_pause: timedelta = timedelta(seconds=5)
    check_pause: timedelta = timedelta(minutes=1)
