"""The audit log, requests with an idempotency key, and sealing, in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.access.model import IDEMPOTENCY_KEPT, AuditFilter, Claim, ClaimState, IdempotentResponse
from cdc.access.rows import audit_from, audit_query, request_from
from cdc.access.shared import claim_of
from cdc.access.sqlite_users import statement
from cdc.audit import RecordedEntry
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.sqlite import endpoints
from cdc.outbox.sqlite.file import overwriting
from cdc.outbox.sqlite.rows import micros, moment

# -- the audit log --------------------------------------------------------------------------------------------------


def audit(db: sqlite3.Connection, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    return [audit_from(row, moment) for row in statement(db, "audit", audit_query(which, limit, before))]


def forget_audit(db: sqlite3.Connection, until: datetime, limit: int) -> int:
    return statement(db, "forget_audit", {"until": micros(until), "limit": limit}).rowcount


# -- idempotency ----------------------------------------------------------------------------------------------------


def claim(db: sqlite3.Connection, box: SecretBox, actor: str, key: str, *, fingerprint: str, now: datetime) -> Claim:
    db.execute("DELETE FROM idempotency WHERE started_at <= ?", (micros(now - IDEMPOTENCY_KEPT),))
    request = {"actor": actor, "request_key": key}
    row = statement(db, "request", request).fetchone()
    found = claim_of(None if row is None else request_from(row, moment, box.open), fingerprint, now)
    if found.state is ClaimState.NEW:
        statement(db, "insert_request", request | {"fingerprint": fingerprint, "started_at": micros(now)})
    return found


def answer(db: sqlite3.Connection, actor: str, key: str, claimed: Claim, given: IdempotentResponse | None) -> None:
    """``given``: its body sealed."""
    request = {"actor": actor, "request_key": key, "started_at": micros(claimed.started_at)}
    if given is None:
        statement(db, "free_request", request)
        return
    answered = {"status": given.status, "content_type": given.content_type, "body": given.body}
    statement(db, "set_answer", request | answered)


# -- secrets at rest ------------------------------------------------------------------------------------------------


def seal_secrets(db: sqlite3.Connection, box: SecretBox, *, former: bool, dry_run: bool = False) -> int:
    """Those that are not sealed, and (``former``) those that a former key sealed; how many."""
    users = db.execute("SELECT name_key, totp_secret FROM access_user").fetchall()
    answers = statement(db, "stored_answers", {}).fetchall()
    stale_users = [row for row in users if box.stale(row[1], former=former)]
    stale_answers = [row for row in answers if box.stale(row[2], former=former)]
    if not dry_run:
        with overwriting(db):
            for key, secret in stale_users:
                update = "UPDATE access_user SET totp_secret = ? WHERE name_key = ?"
                db.execute(update, (box.seal(box.open(secret)), key))
            for actor, key, body in stale_answers:
                statement(db, "set_body", {"actor": actor, "request_key": key, "body": box.seal(box.open(body))})
    return len(stale_users) + len(stale_answers)


def rekey(db: sqlite3.Connection, box: SecretBox) -> int:
    """`seal_secrets`, and those of endpoints."""
    return endpoints.seal_secrets(db, box, former=True) + seal_secrets(db, box, former=True)
