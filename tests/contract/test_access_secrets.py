"""What every store of access that keeps anything holds: TOTP secrets and answers are sealed in it; others share it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from cdc.access.base import AccessStore
from cdc.access.model import IdempotentResponse, UserChange
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.model.errors import OutboxError
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SEALED, SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.accesses import entry, token, user
from support.database import Database
from support.outboxes import NOW, at

ONE, TWO = new_key(), new_key()
SECRET, BODY = "JBSWY3DPEHPK3PXP", '{"secret":"whsec_planted"}'


class Kept:
    """A place where access is kept, to be opened with different keys, and looked into."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._path = folder / "outbox.db"
        self._database: Database | None = None
        if request.param == "postgresql":
            self._database = request.getfixturevalue("postgres_outbox_db")

    def store(self, *keys: str) -> AccessStore:
        box = SecretBox(keys)
        return PostgresAccess(self._database.info, box=box) if self._database else SqliteAccess(self._path, box=box)

    def outbox(self) -> OutboxStore:
        return PostgresOutbox(self._database.info) if self._database else SqliteOutbox(self._path)

    @asynccontextmanager
    async def opened(self, *keys: str) -> AsyncIterator[AccessStore]:
        store = self.store(*keys)
        try:
            await store.open()
            yield store
        finally:
            await store.close()

    def stored(self) -> list[str]:
        """The only TOTP secret and the only answer, as they are kept."""
        query = "SELECT totp_secret, body FROM {0}access_user, {0}idempotency"
        if self._database:
            return list(self._database.execute(query.format("cdc_outbox."))[0])
        with closing(sqlite3.connect(self._path)) as db:
            return list(db.execute(query.format("")).fetchone())


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(request, tmp_path)


async def fill(store: AccessStore) -> None:
    await store.add_user(user(totp_secret=SECRET), entry())
    claim = await store.claim("a", "k", "f", NOW)
    await store.answer("a", "k", claim, IdempotentResponse(201, "application/json", BODY))


async def content(store: AccessStore) -> list[str]:
    found = await store.user("ann")
    answer = (await store.claim("a", "k", "f", at(1))).answer
    assert found is not None
    assert answer is not None
    return [found.totp_secret, answer.body]


async def test_secrets_are_sealed_and_opened(kept: Kept) -> None:
    async with kept.opened(ONE) as store:
        await fill(store)
        assert await content(store) == [SECRET, BODY]
        assert (await store.users())[0].totp_secret == SECRET
        changed = await store.change_user("ann", UserChange(totp_secret="OTHER", stamp="s2"), entry())
        assert changed.totp_secret == "OTHER"
    assert all(text.startswith(SEALED) for text in kept.stored())


async def test_the_first_user_is_sealed_too(kept: Kept) -> None:
    async with kept.opened(ONE) as store:
        await fill(store)
        await store.remove_user("ann", entry())
        await store.offer_setup("link", at(60))
        assert await store.take_setup("link", user(totp_secret=SECRET), entry(), NOW)
    assert kept.stored()[0].startswith(SEALED)


async def test_a_new_key_seals_what_is_there(kept: Kept) -> None:
    async with kept.opened() as store:
        await fill(store)
        assert await store.seal_secrets() == 0
    assert kept.stored() == [SECRET, BODY]
    async with kept.opened(ONE) as store:
        assert await content(store) == [SECRET, BODY]
        assert all(text.startswith(SEALED) for text in kept.stored())
    async with kept.opened(TWO, ONE) as store:
        assert await store.seal_secrets(dry_run=True) == 3, "with the key of the audit log's chain"
        assert await store.seal_secrets() == 3
        assert await store.seal_secrets() == 0
    async with kept.opened(TWO) as store:
        assert await content(store) == [SECRET, BODY]


async def test_a_wrong_key_is_an_error_and_changes_nothing(kept: Kept) -> None:
    async with kept.opened(ONE) as store:
        await fill(store)
    before = kept.stored()
    for keys in ((), (TWO,)):
        with pytest.raises(OutboxError, match="encrypted"):
            async with kept.opened(*keys):
                pass
    assert kept.stored() == before


async def test_it_lives_beside_an_outbox_that_is_in_use(kept: Kept) -> None:
    outbox = kept.outbox()
    await outbox.open()
    await outbox.changed()
    async with kept.opened() as store:
        await fill(store)
        assert await content(store) == [SECRET, BODY]
    assert await outbox.endpoints() == []
    await outbox.close()


@pytest.mark.parametrize("what", ["user", "token", "setup", "step", "claim"])
async def test_several_processes_do_not_both_do_what_can_be_done_once(kept: Kept, what: str) -> None:
    """Each store has connections of its own, as another process would."""
    stores = [kept.store() for _ in range(4)]
    works: dict[str, Callable[[AccessStore, int], object]] = {
        "user": lambda store, _: store.add_user(user(), entry()),
        "token": lambda store, number: store.add_token(token(number, name="shop"), f"d{number}", entry()),
        "setup": lambda store, number: store.take_setup("link", user(f"user-{number}"), entry(), NOW),
        "step": lambda store, _: store.take_totp_step("password:ann", 7),
        "claim": lambda store, number: store.claim("a", "k", "f", at(number / 1000)),
    }
    try:
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].offer_setup("link", at(60))
        done = await asyncio.gather(
            *(works[what](store, number) for number, store in enumerate(stores)),  # type: ignore[call-overload]  # each work has its own result
            return_exceptions=True,
        )
    finally:
        await asyncio.gather(*(store.close() for store in stores))
    if what in {"user", "token"}:
        assert sum(result is None for result in done) == 1
    elif what == "claim":
        assert sum(claim.state == "new" for claim in done) == 1
    else:
        assert sorted(done) == [False, False, False, True]
