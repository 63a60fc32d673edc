"""The audit log, requests with an idempotency key, and sealing, as they are stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from cdc.access.model import (
    IDEMPOTENCY_KEPT,
    AuditFilter,
    Claim,
    ClaimState,
    IdempotentResponse,
    claim_of,
    has_room,
)
from cdc.model.audit import AuditChain, AuditEntry, RecordedEntry
from cdc.model.quota import Quota
from cdc.outbox import endpoints, resealing
from cdc.outbox.audit import begin, chain_of, seal_key
from cdc.outbox.database import Database, Row
from cdc.outbox.quotas import check


async def audit(db: Database, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    return _recorded(await db.rows("audit", limit=limit, before=before, **asdict(which)))


async def audit_after(db: Database, which: AuditFilter, limit: int, after: int) -> list[RecordedEntry]:
    return _recorded(await db.rows("audit_after", limit=limit, after=after, **asdict(which)))


def _recorded(rows: list[Row]) -> list[RecordedEntry]:
    return [
        RecordedEntry(number, AuditEntry(at, actor, action, subject, json.loads(detail)), hash_, former)
        for number, at, actor, action, subject, detail, hash_, former in rows
    ]


async def audit_chain(db: Database) -> AuditChain:
    return (await chain_of(db))[0]


async def begin_chain(db: Database, now: datetime) -> None:
    await begin(db, now)


async def claim(
    db: Database,
    actor: str,
    key: str,
    *,
    fingerprint: str,
    now: datetime,
    most: int | None = None,
    within: Sequence[Quota] = (),
) -> Claim:
    await db.write("forget_requests", before=now - IDEMPOTENCY_KEPT)
    request = {"actor": actor, "request_key": key}
    row = await db.row("request", **request)
    former = None
    if row is not None:
        former_fingerprint, started_at, status, content_type, body, location = row
        answered = None if status is None else IdempotentResponse(status, content_type, db.box.open(body), location)
        former = (former_fingerprint, started_at, answered)
    found = claim_of(former, fingerprint, now)
    if found.state is ClaimState.NEW:
        requests, answered_, first = await db.row("requests_of", actor=actor) or (0, 0, now)
        if row is None and not has_room(requests, answered_, most):
            return Claim(ClaimState.FULL, first)
        if row is None:
            await check(db, [quota._replace(following=1) for quota in within], now)
        await db.write("insert_request", **request, fingerprint=fingerprint, started_at=now)
    return found


async def answer(db: Database, actor: str, key: str, claimed: Claim, given: IdempotentResponse | None) -> None:
    """``given``: its body sealed."""
    request = {"actor": actor, "request_key": key, "started_at": claimed.started_at}
    if given is None:
        await db.write("free_request", **request)
        return
    answered = {
        "status": given.status,
        "content_type": given.content_type,
        "body": given.body,
        "location": given.location,
    }
    await db.write("set_answer", **request, **answered)


async def seal_secrets(db: Database, *, former: bool, dry_run: bool = False) -> int:
    """Encrypt plain values, and with ``former`` those under a former key; return how many."""
    box = db.box
    users = [row for row in await db.rows("totp_secrets") if box.stale(row[1], former=former)]
    answers = [row for row in await db.rows("stored_answers") if box.stale(row[2], former=former)]
    if not dry_run:
        with db.overwriting():
            for key, secret in users:
                await db.write("set_totp_secret", secret=box.seal(box.open(secret)), name_key=key)
            for actor, key, body in answers:
                await db.write("set_body", actor=actor, request_key=key, body=box.seal(box.open(body)))
    return len(users) + len(answers) + (await seal_key(db, dry_run=dry_run) if former else 0)


async def rekey(db: Database) -> int:
    """`seal_secrets`, and those of endpoints: under the outbox's lock, and then that of access."""
    await db.alone()
    await resealing.restart(db)
    return await endpoints.seal_secrets(db, former=True) + await seal_secrets(db, former=True)
