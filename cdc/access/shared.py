"""Rules and sentences that the stores of access share: when a session has ended, what a claim is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from cdc.access.credential import CDCT
from cdc.access.model import (
    IDEMPOTENCY_KEPT,
    REQUEST_LEASE,
    USE_NOTED,
    ApiToken,
    Claim,
    ClaimState,
    IdempotentResponse,
    Origin,
    PageSession,
    User,
)
from cdc.model.errors import NotFound, UsageError


def alive(session: PageSession, user: User | None, now: datetime, idle: timedelta) -> PageSession | None:
    """Return the session with its user's present role and sources, unless it has ended.  ``user``: ours of that name,
    if any."""
    if session.expires_at <= now or session.last_used_at + idle <= now:
        return None
    if session.portal is not None:
        return replace(session, sources=session.portal.sources) if session.origin is Origin.PORTAL else None
    if session.origin is Origin.FACTURASCRIPTS:
        return session if user is None else None
    if user is None or user.stamp != session.stamp:
        return None
    return replace(session, role=user.role, sources=user.sources)


def within(session: PageSession, token: ApiToken | None) -> PageSession:
    """Return a portal's link or session so that it ends with the token that made it, if any."""
    until = None if token is None else token.expires_at
    return session if until is None else replace(session, expires_at=min(session.expires_at, until))


def worth_noting(last_used_at: datetime | None, now: datetime) -> bool:
    """Return whether a use is to be written."""
    return last_used_at is None or last_used_at + USE_NOTED <= now


def claim_of(found: tuple[str, datetime, IdempotentResponse | None] | None, fingerprint: str, now: datetime) -> Claim:
    """``found``: fingerprint, start and answer of the request that was made with the key, if any.  A claim that is
    `ClaimState.NEW` begins now, and takes its place."""
    if found is None or found[1] + IDEMPOTENCY_KEPT <= now:
        return Claim(ClaimState.NEW, now)
    former, started_at, answer = found
    if answer is None and started_at + REQUEST_LEASE <= now:
        return Claim(ClaimState.NEW, now)
    if former != fingerprint:
        return Claim(ClaimState.OTHER, started_at)
    return Claim(ClaimState.RUNNING if answer is None else ClaimState.ANSWERED, started_at, answer)


def user_exists(name: str) -> UsageError:
    return UsageError(f"There is a user {name} already.", "Case does not count; `cdc user list` shows all.")


def token_exists(name: str) -> UsageError:
    return UsageError(f"There is a token {name} already.", "Case does not count; `cdc token list` shows all.")


def no_user(name: str) -> NotFound:
    return NotFound(f"There is no user {_shown(name)}.", "`cdc user list` shows the users.")


def no_token(token: str) -> NotFound:
    return NotFound(f"There is no token {_shown(token)}.", "`cdc token list` shows ids and names of all.")


def _shown(text: str) -> str:
    """Return a name for a message, unless it is a secret in the wrong place or too long to be a name."""
    most = 64
    return "of that name" if text.startswith(CDCT) or len(text) > most else repr(text)
