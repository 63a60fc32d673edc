"""Access in the file of the SQLite outbox, over connections of its own: one writes, one reads.

What they do is in the ``sqlite_….py`` files beside this one, and ``sql/sqlite/access``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from cdc.access import sqlite_credentials, sqlite_log, sqlite_users
from cdc.access.model import ApiToken, AuditFilter, Claim, IdempotentResponse, PageSession, User, UserChange
from cdc.access.shared import alive, worth_noting
from cdc.audit import AuditEntry, Note, RecordedEntry
from cdc.outbox.migrate import migrate_sqlite
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.sqlite.audit import append, noting
from cdc.outbox.sqlite.endpoints import forget_log
from cdc.outbox.sqlite.file import keep_private
from cdc.outbox.sqlite.thread import SqliteThread


class SqliteAccess:
    """`AccessStore` in the file ``path``.  ``busy_timeout``: seconds to wait for another process's write.  ``box``:
    seals TOTP secrets and answers in it."""

    def __init__(self, path: Path | str, *, busy_timeout: float = 5.0, box: SecretBox = PLAIN) -> None:
        self._path = Path(path)
        self._box = box
        self._writer = SqliteThread(self._path, busy_timeout)
        self._reader = SqliteThread(self._path, busy_timeout)

    async def open(self) -> None:
        keep_private(self._path)
        await self._writer.open()
        try:
            await self._writer.read(migrate_sqlite, self._path)
            await self._reader.open()
            if await self._reader.read(sqlite_log.seal_secrets, self._box, former=False, dry_run=True):
                await self._writer.write(sqlite_log.seal_secrets, self._box, former=False)
                await self._writer.read(forget_log)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    # -- users ------------------------------------------------------------------------------------------------------

    async def add_user(self, user: User, entry: AuditEntry) -> None:
        await self._writer.write(sqlite_users.add, self._sealed(user), entry)

    async def user(self, name: str) -> User | None:
        found = await self._reader.read(sqlite_users.users, name)
        return self._opened(found[0]) if found else None

    async def users(self) -> list[User]:
        return [self._opened(each) for each in await self._reader.read(sqlite_users.users, None)]

    async def change_user(self, name: str, change: UserChange, entry: AuditEntry) -> User:
        secret = change.totp_secret
        sealed = replace(change, totp_secret=None if secret is None else self._box.seal(secret))
        return self._opened(await self._writer.write(sqlite_users.change, name, sealed, entry))

    async def replace_hash(self, name: str, old: str, new: str) -> bool:
        return await self._writer.write(sqlite_users.replace_hash, name, old, new)

    async def remove_user(self, name: str, entry: AuditEntry) -> None:
        await self._writer.write(sqlite_users.remove, name, entry)

    async def take_totp_step(self, owner: str, step: int) -> bool:
        return await self._writer.write(sqlite_users.take_totp_step, owner, step)

    def _sealed(self, user: User) -> User:
        return replace(user, totp_secret=self._box.seal(user.totp_secret))

    def _opened(self, user: User) -> User:
        return replace(user, totp_secret=self._box.open(user.totp_secret))

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self, digest: str, until: datetime) -> bool:
        return await self._writer.write(sqlite_users.offer_setup, digest, until)

    async def take_setup(self, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
        return await self._writer.write(sqlite_users.take_setup, digest, self._sealed(user), entry, now)

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: PageSession, note: Note = ()) -> None:
        await self._writer.write(noting(note, sqlite_credentials.add_session), session)

    async def use_session(self, digest: str, now: datetime, idle: timedelta) -> PageSession | None:
        found = await self._reader.read(sqlite_credentials.session, digest)
        session = None if found is None else alive(*found, now, idle)
        if session is not None and worth_noting(session.last_used_at, now):
            await self._writer.write_relaxed(sqlite_credentials.note_session, digest, now)
            session = replace(session, last_used_at=now)
        return session

    async def end_session(self, digest: str) -> None:
        await self._writer.write(sqlite_credentials.end_session, digest)

    async def end_sessions(self, name: str) -> int:
        return await self._writer.write(sqlite_users.end_sessions, name)

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str, entry: AuditEntry) -> None:
        await self._writer.write(sqlite_credentials.add_token, token, digest, entry)

    async def tokens(self) -> list[ApiToken]:
        return await self._reader.read(sqlite_credentials.tokens)

    async def use_token(self, digest: str, now: datetime) -> ApiToken | None:
        token = await self._reader.read(sqlite_credentials.token, digest)
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        if worth_noting(token.last_used_at, now):
            await self._writer.write_relaxed(sqlite_credentials.note_token, digest, now)
            token = replace(token, last_used_at=now)
        return token

    async def remove_token(self, token: str, entry: AuditEntry) -> ApiToken:
        return await self._writer.write(sqlite_credentials.remove_token, token, entry)

    # -- the audit log ----------------------------------------------------------------------------------------------

    async def append(self, entry: AuditEntry) -> int:
        return await self._writer.write(append, entry)

    async def audit(self, which: AuditFilter, limit: int, before: int | None = None) -> list[RecordedEntry]:
        return await self._reader.read(sqlite_log.audit, which, limit, before)

    async def forget_audit(self, until: datetime, limit: int) -> int:
        return await self._writer.write(sqlite_log.forget_audit, until, limit)

    # -- idempotency ------------------------------------------------------------------------------------------------

    async def claim(self, actor: str, key: str, fingerprint: str, now: datetime) -> Claim:
        return await self._writer.write(sqlite_log.claim, self._box, actor, key, fingerprint=fingerprint, now=now)

    async def answer(self, actor: str, key: str, claim: Claim, answer: IdempotentResponse | None) -> None:
        sealed = None if answer is None else replace(answer, body=self._box.seal(answer.body))
        await self._writer.write(sqlite_log.answer, actor, key, claim, sealed)

    # -- secrets at rest --------------------------------------------------------------------------------------------

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return await self._writer.write(sqlite_log.seal_secrets, self._box, former=True, dry_run=dry_run)

    async def rekey(self, note: Note) -> int:
        return await self._writer.write(noting(note, sqlite_log.rekey), self._box)
