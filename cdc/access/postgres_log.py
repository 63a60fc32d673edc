"""The audit log, requests with an idempotency key, and sealing, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cdc.access.model import IDEMPOTENCY_KEPT, AuditFilter, Claim, ClaimState, IdempotentResponse
from cdc.access.postgres_users import rows, write
from cdc.access.rows import audit_from, audit_query, request_from, same
from cdc.access.shared import claim_of
from cdc.audit import RecordedEntry
from cdc.outbox.postgres import endpoints
from cdc.outbox.postgres.audit import LOCK
from cdc.outbox.postgres.session import Db
from cdc.outbox.secret_box import SecretBox

_FORGET: Final = "DELETE FROM cdc_outbox.idempotency WHERE started_at <= %(before)s"
_SECRETS: Final = "SELECT name_key, totp_secret FROM cdc_outbox.access_user"
_SEAL: Final = "UPDATE cdc_outbox.access_user SET totp_secret = %(secret)s WHERE name_key = %(key)s"


async def audit(db: Db, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    return [audit_from(row, same) for row in await rows(db, "audit", **audit_query(which, limit, before))]


async def forget_audit(db: Db, until: datetime, limit: int) -> int:
    return await write(db, "forget_audit", until=until, limit=limit)


async def claim(db: Db, box: SecretBox, actor: str, key: str, *, fingerprint: str, now: datetime) -> Claim:
    await db.query(_FORGET, {"before": now - IDEMPOTENCY_KEPT})
    request = {"actor": actor, "request_key": key}
    former = await rows(db, "request", **request)
    found = claim_of(request_from(former[0], same, box.open) if former else None, fingerprint, now)
    if found.state is ClaimState.NEW:
        await write(db, "insert_request", **request, fingerprint=fingerprint, started_at=now)
    return found


async def answer(db: Db, actor: str, key: str, claimed: Claim, given: IdempotentResponse | None) -> None:
    """``given``: its body sealed."""
    request = {"actor": actor, "request_key": key, "started_at": claimed.started_at}
    if given is None:
        await write(db, "free_request", **request)
        return
    answered = {"status": given.status, "content_type": given.content_type, "body": given.body}
    await write(db, "set_answer", **request, **answered)


async def seal_secrets(db: Db, box: SecretBox, *, former: bool, dry_run: bool = False) -> int:
    """Those that are not sealed, and (``former``) those that a former key sealed; how many."""
    users = [row for row in await db.query(_SECRETS, {}) if box.stale(row[1], former=former)]
    answers = [row for row in await rows(db, "stored_answers") if box.stale(row[2], former=former)]
    if not dry_run:
        for key, secret in users:
            await db.query(_SEAL, {"secret": box.seal(box.open(secret)), "key": key})
        for actor, key, body in answers:
            await write(db, "set_body", actor=actor, request_key=key, body=box.seal(box.open(body)))
    return len(users) + len(answers)


async def rekey(db: Db, box: SecretBox) -> int:
    """`seal_secrets`, and those of endpoints: under the outbox's lock, and then that of access."""
    await db.query(LOCK, {})
    return await endpoints.seal_secrets(db, box, former=True) + await seal_secrets(db, box, former=True)
