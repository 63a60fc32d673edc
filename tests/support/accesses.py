"""Nouns for tests of access."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cdc.access.base import AccessStore
from cdc.access.model import ApiToken, AuditFilter, Origin, PageSession, Role, Scope, User
from cdc.model.audit import AuditEntry, RecordedEntry
from support.outboxes import NOW

IDLE = timedelta(hours=2)
EVERYTHING = AuditFilter()


def user(name: str = "ann", role: Role = Role.MANAGER, stamp: str = "s1", **fields: Any) -> User:
    return User(name, role, fields.pop("created_at", NOW), stamp, **fields)


def entry(action: str = "user.add", subject: str = "user:ann", at: datetime = NOW, **fields: Any) -> AuditEntry:
    return AuditEntry(at, fields.pop("actor", "cli:root"), action, subject, fields)


def session(digest: str = "d1", name: str = "ann", stamp: str = "s1", **fields: Any) -> PageSession:
    created_at = fields.pop("created_at", NOW)
    defaults: dict[str, Any] = {
        "role": Role.VIEWER,
        "origin": Origin.PASSWORD,
        "address": "192.0.2.1",
        "last_used_at": created_at,
        "expires_at": created_at + timedelta(hours=12),
    }
    return PageSession(digest=digest, user=name, stamp=stamp, created_at=created_at, **(defaults | fields))


def token(number: int = 1, **fields: Any) -> ApiToken:
    defaults: dict[str, Any] = {"name": f"shop-{number}", "scope": Scope.READ, "created_at": NOW}
    return ApiToken(id=f"tok_{number}", **(defaults | fields))


async def recorded(access: AccessStore) -> list[RecordedEntry]:
    """All of the audit log, oldest first."""
    return list(reversed(await access.audit(EVERYTHING, 1000)))


async def actions(access: AccessStore) -> list[str]:
    return [each.entry.action for each in await recorded(access)]
