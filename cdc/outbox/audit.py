"""A row of the audit log, which is kept where the outbox is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cdc.audit import AuditEntry


def audit_row(entry: AuditEntry, stored: Callable[[datetime], Any]) -> dict[str, Any]:
    """``stored``: a time as the driver takes it."""
    return {
        "recorded_at": stored(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail_json(),
    }
