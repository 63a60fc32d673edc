"""`cdc outbox migrate` moves users, tokens, sessions, the audit log and all else of access, sealed as it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cdc.access.base import AccessStore
from cdc.access.model import IdempotentResponse
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.admin.audit_log import verify
from cdc.outbox.secret_box import SecretBox, new_key
from support.accesses import IDLE, entry, recorded, session, token, user
from support.consumer import Consumer, database_url
from support.database import Database
from support.outboxes import NOW, at

BOX = SecretBox([new_key()])


async def fill(store: AccessStore) -> None:
    await store.open()
    await store.offer_setup("link", at(60))
    await store.add_user(user(totp_secret="JBSWY3DPEHPK3PXP", password_hash="$argon2id$x"), entry())
    await store.take_totp_step("password:ann", 7)
    await store.add_session(session())
    await store.add_token(token(expires_at=at(1000)), "d1", entry("token.add", "token:shop-1", name="shop-1"))
    await store.use_token("d1", at(5))
    claim = await store.claim("a", "k", "f", NOW)
    await store.answer("a", "k", claim, IdempotentResponse(201, "application/json", "{}"))
    await store.claim("a", "running", "f", NOW)
    await store.close()


async def content(store: AccessStore) -> dict[str, Any]:
    await store.open()
    found = {
        "users": await store.users(),
        "tokens": await store.tokens(),
        "session": await store.use_session("d1", at(1), IDLE),
        "audit": [asdict(each) for each in await recorded(store)],
        "answered": await store.claim("a", "k", "f", at(1)),
        "running": await store.claim("a", "running", "f", at(1)),
        "a step again": await store.take_totp_step("password:ann", 7),
    }
    await store.close()
    return found


async def test_access_moves_there_and_back(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    url, first = database_url(postgres_db.info), f"sqlite:///{tmp_path / 'cdc.db'}"
    store = SqliteAccess(tmp_path / "cdc.db", box=BOX)
    await fill(store)
    before = await content(store)
    moved = json.loads(await consumer.call("outbox", "migrate", first, url, "--json"))
    assert {part: number for part, number in moved.items() if number} == {
        "access_user": 1, "access_totp_step": 1, "access_setup": 1, "access_session": 1, "access_token": 1, "audit": 2,
        "audit_chain": 3, "idempotency": 2,
    }  # fmt: skip
    assert await content(PostgresAccess(postgres_db.info, box=BOX)) == before
    await consumer.call("outbox", "migrate", url, f"sqlite:///{tmp_path / 'back.db'}")
    assert await content(SqliteAccess(tmp_path / "back.db", box=BOX)) == before
    assert before["a step again"] is False
    assert None not in before.values()
    back = SqliteAccess(tmp_path / "back.db", box=BOX)
    await back.open()
    assert (await verify(back)).broken == ""
    await back.close()
