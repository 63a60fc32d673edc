"""Between the rows of a database and the nouns; times are as the driver has them: ``moment`` and ``stored`` convert."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from cdc.access.model import (
    Allowance,
    ApiToken,
    AuditFilter,
    IdempotentResponse,
    Origin,
    PageSession,
    Role,
    Scope,
    User,
    user_key,
)
from cdc.audit import AuditEntry, RecordedEntry

Row = Sequence[Any]
Moment = Callable[[Any], datetime]
Stored = Callable[[datetime], Any]


def same(time: datetime) -> datetime:
    """For drivers that have datetimes."""
    return time


def user_row(user: User, stored: Stored) -> dict[str, Any]:
    return {
        "name_key": user.key,
        "name": user.name,
        "role": user.role.value,
        "password_hash": user.password_hash,
        "totp_secret": user.totp_secret,
        "stamp": user.stamp,
        "created_at": stored(user.created_at),
    }


def user_from(row: Row, moment: Moment) -> User:
    name, role, password_hash, totp_secret, stamp, created_at = row
    return User(name, Role(role), moment(created_at), stamp, password_hash, totp_secret)


def session_row(session: PageSession, stored: Stored) -> dict[str, Any]:
    return {
        "digest": session.digest,
        "user_key": session.key,
        "user_name": session.user,
        "role": session.role.value,
        "origin": session.origin.value,
        "stamp": session.stamp,
        "address": session.address,
        "created_at": stored(session.created_at),
        "last_used_at": stored(session.last_used_at),
        "expires_at": stored(session.expires_at),
    }


def session_from(row: Row, moment: Moment) -> tuple[PageSession, User | None]:
    """A session, and the user of ours with its name, if any."""
    digest, name, role, origin, stamp, address, *times = row[:9]
    user = row[9:]
    session = PageSession(digest, name, Role(role), Origin(origin), stamp, address, *map(moment, times))
    return session, None if user[0] is None else user_from(user, moment)


def token_row(token: ApiToken, digest: str, stored: Stored) -> dict[str, Any]:
    return {
        "id": token.id,
        "name_key": user_key(token.name),
        "name": token.name,
        "scope": token.scope.value,
        "digest": digest,
        "created_at": stored(token.created_at),
        "expires_at": _maybe(stored, token.expires_at),
        "last_used_at": _maybe(stored, token.last_used_at),
        "sources": json.dumps(token.sources),
        "allowed": json.dumps(token.allowed),
    }


def token_from(row: Row, moment: Moment) -> ApiToken:
    identity, name, scope, created_at, expires_at, last_used_at, sources, allowed = row
    expires, used = _maybe(moment, expires_at), _maybe(moment, last_used_at)
    beyond = tuple(Allowance(each) for each in json.loads(allowed))
    return ApiToken(identity, name, Scope(scope), moment(created_at), expires, used, tuple(json.loads(sources)), beyond)


def audit_from(row: Row, moment: Moment) -> RecordedEntry:
    number, at, actor, action, subject, detail = row
    return RecordedEntry(number, AuditEntry(moment(at), actor, action, subject, json.loads(detail)))


def audit_query(which: AuditFilter, limit: int, before: int | None) -> dict[str, Any]:
    return {
        "actor": which.actor,
        "action": which.action,
        "subject": which.subject,
        "limit": limit,
        "before": before,
    }


def request_from(
    row: Row, moment: Moment, opened: Callable[[str], str]
) -> tuple[str, datetime, IdempotentResponse | None]:
    """Fingerprint, start, answer.  ``opened``: opens what is sealed."""
    fingerprint, started_at, status, content_type, body = row
    answer = None if status is None else IdempotentResponse(status, content_type, opened(body))
    return fingerprint, moment(started_at), answer


def _maybe(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)
