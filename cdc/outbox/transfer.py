"""Moves everything from one outbox to another, of the same kind or not, while nobody uses either.

Rows travel as tuples of the columns of `COLUMNS`, times as datetimes; an endpoint as (number, endpoint, removed_at)
with its secrets as they are stored.  The target has all of it, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.database import Row

#: Rows that travel together.
BATCH: Final = 1000


class TransferPart(StrEnum):
    """A table of an outbox, in an order in which they can be written; the values are their names."""

    ENDPOINTS = "endpoint"
    EVENTS = "event"
    DELIVERIES = "delivery"
    ATTEMPTS = "attempt"
    LANES = "lane_alias"
    POSITIONS = "source_position"
    STATES = "source_state"
    KEPT = "kept_row"
    REPLAYS = "replay"
    BACKFILLS = "backfill"
    QUARANTINE = "quarantine"
    ACTIVITY = "activity"
    USERS = "access_user"
    TOTP_STEPS = "access_totp_step"
    SETUP = "access_setup"
    SESSIONS = "access_session"
    TOKENS = "access_token"
    AUDIT = "audit"
    CHAIN = "audit_chain"
    REQUESTS = "idempotency"


#: The columns of each part; by the first, or all that name a row, they are read in order.
COLUMNS: Final[Mapping[TransferPart, Sequence[str]]] = {
    TransferPart.ENDPOINTS: ("number", "endpoint", "removed_at"),
    TransferPart.EVENTS: ("sequence", "id", "name", "source", "record", "time", "payload", "label_code", "label_name"),
    TransferPart.DELIVERIES: (
        "id", "event", "endpoint", "lane", "state", "due", "attempts", "worker", "created_at", "finished_at",
    ),
    TransferPart.ATTEMPTS: ("id", "delivery", "number", "url", "status", "started_at", "duration", "error", "answer"),
    TransferPart.LANES: ("lane", "root"),
    TransferPart.POSITIONS: ("source", "position"),
    TransferPart.STATES: ("source", "name", "value"),
    TransferPart.KEPT: ("source", "table_name", "key", "digest", "content"),
    TransferPart.REPLAYS: (
        "id", "created_at", "actor", "selection", "rate", "total", "state", "deliveries", "expunged", "place", "worker",
        "leased_until", "finished_at", "error",
    ),
    TransferPart.BACKFILLS: (
        "id", "created_at", "actor", "source", "table_name", "condition", "endpoint", "rate", "estimate", "state",
        "row_count", "place", "finished_at", "error",
    ),
    TransferPart.QUARANTINE: (
        "id", "found_at", "source", "table_name", "operation", "row_key", "token", "changed_at", "reason",
        "image_before", "image_after", "backfill",
    ),
    TransferPart.ACTIVITY: ("period_start", "endpoint", "source", "shard", "delivered", "failed", "seconds"),
    TransferPart.USERS: ("name_key", "name", "role", "password_hash", "totp_secret", "stamp", "sources", "created_at"),
    TransferPart.TOTP_STEPS: ("owner", "step"),
    TransferPart.SETUP: ("digest", "expires_at"),
    TransferPart.SESSIONS: (
        "digest", "user_key", "user_name", "role", "origin", "stamp", "address", "created_at", "last_used_at",
        "expires_at", "portal",
    ),
    TransferPart.TOKENS: (
        *("id", "name_key", "name", "scope", "digest", "created_at", "expires_at", "last_used_at"),
        *("sources", "allowed", "networks", "last_used_from"),
    ),
    TransferPart.AUDIT: ("number", "recorded_at", "actor", "action", "subject", "detail", "hash"),
    TransferPart.CHAIN: ("name", "number", "hash", "seal"),
    TransferPart.REQUESTS: (
        "actor", "request_key", "fingerprint", "started_at", "status", "content_type", "body", "location",
    ),
}  # fmt: skip


class Side(Protocol):
    """One outbox, in a transaction that keeps others from changing it."""

    #: For sentences.
    name: str

    def counts(self) -> dict[TransferPart, int]: ...

    def leased(self, now: datetime) -> int:
        """Return how many deliveries are being sent, by their leases."""
        ...

    def read(self, part: TransferPart) -> Iterator[list[Row]]: ...

    def write(self, part: TransferPart, rows: Sequence[Row]) -> None: ...

    def complete(self) -> None:
        """Work out what is kept beside the parts, and commit."""
        ...


def move(
    source: Side, target: Side, now: datetime, progress: Callable[[TransferPart, int, int], None]
) -> dict[TransferPart, int]:
    """Move all rows, and return how many of each part.  ``progress``: part, rows done, rows in all.

    Raises `UsageError` when the target is not empty, `OutboxError` when deliveries of the source are being sent."""
    if any(target.counts().values()):
        raise UsageError(
            f"{target.name} is not empty.", "Name a new file or database: what is in it would mix with what is moved."
        )
    sending = source.leased(now)
    if sending:
        raise OutboxError(
            f"{sending} deliveries of {source.name} are being sent.",
            "Stop every cdc run; if one was killed, wait until its leases have expired ([dispatch] lease_seconds).",
        )
    counts = source.counts()
    for part in TransferPart:
        done = 0
        for rows in source.read(part):
            target.write(part, rows)
            done += len(rows)
            progress(part, done, counts[part])
    target.complete()
    return counts
