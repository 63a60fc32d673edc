"""Limits of the sources of row changes, in rows and in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cdc.capture.base import SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """``batch``: rows stored together.  ``huge``: a transaction with more rows than this is stored in parts.
    ``idle``: seconds to wait at most before looking after other things.  ``standby``: seconds between two tries to
    become the consumer.  ``progress``: seconds after which a position is stored though nothing of ours was committed.
    ``check_pause``: between two checks of what is installed.  ``reread_pause``: between two re-reads of a table.
    ``silent``: seconds of silence after which the server takes the consumer lock away."""

    batch: int = 1000
    huge: int = 2000
    idle: float = 1.0
    standby: float = 5.0
    progress: float = 5.0
    check_pause: timedelta = timedelta(minutes=1)
    reread_pause: timedelta = timedelta(minutes=1)
    silent: int = SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits(CaptureLimits):
    """``heads``: transactions listed at a time."""

    heads: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits(CaptureLimits):
    """Of the binlog.  ``heartbeat``: seconds after which a server with nothing to say says that it lives."""

    heartbeat: float = 5.0
    reread_pause: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLimits(CaptureLimits):
    """Of PostgreSQL's log.  ``retained``: bytes of it that the server may keep for the slot; beyond them the slot is
    dropped (0: never)."""

    progress: float = 10.0
    retained: int = 0
