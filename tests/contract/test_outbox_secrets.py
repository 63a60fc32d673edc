"""What every outbox that keeps anything holds: secrets and headers are sealed in it, and sealed anew with a new key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.model.endpoint import EndpointChange
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SEALED, SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.database import Database
from support.outboxes import NOW, at, endpoint

ONE, TWO = new_key(), new_key()
HEADERS = (("Authorization", "Bearer planted-1"), ("X-Empty", ""), ("X-Key", "planted-2"))
FULL = endpoint(
    secret="whsec_planted-3",
    former_secret="whsec_planted-4",
    former_secret_until=at(9),
    headers=HEADERS,
    url="https://hooks.example.com/planted-7",
    authentication='{"parameters": {"resource": "planted-8"}, "token_url": "https://login.example.com/planted-9"}',
    credential="planted-6",
    proxy="planted-10",
)
#: sealed are the two secrets, the headers that have a value, the URL, the authentication and its secret, the proxy
SECRETS = 8
#: Planted words: the authentication has two.
WORDS = 9


class Kept:
    """An outbox that can be opened with different keys, one after the other, and looked into."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._path = folder / "outbox.db"
        self._database: Database | None = None
        if request.param == "postgresql":
            self._database = request.getfixturevalue("postgres_outbox_db")

    def _outbox(self, keys: tuple[str, ...]) -> OutboxStore:
        box = SecretBox(keys)
        return PostgresOutbox(self._database.info, box=box) if self._database else SqliteOutbox(self._path, box=box)

    async def using(self, *keys: str, work: Callable[[OutboxStore], Awaitable[object]]) -> object:
        outbox = self._outbox(keys)
        try:
            await outbox.open()
            return await work(outbox)
        finally:
            await outbox.close()

    def stored(self) -> list[str]:
        """Secret, former secret, headers, settings with URL of the only endpoint, as they are kept."""
        query = "SELECT secret, former_secret, headers, CAST(settings AS text) {} FROM {}endpoint"
        if self._database:
            return list(self._database.execute(query.format("", "cdc_outbox."))[0])
        with closing(sqlite3.connect(self._path)) as db:
            return list(db.execute(query.format("|| url", "")).fetchone())

    def write_headers(self, text: str) -> None:
        if self._database:
            self._database.execute("UPDATE cdc_outbox.endpoint SET headers = %s", [text])
        else:
            with closing(sqlite3.connect(self._path)) as db, db:
                db.execute("UPDATE endpoint SET headers = ?", (text,))


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(request, tmp_path)


async def add(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(FULL)


async def read(outbox: OutboxStore) -> object:
    return await outbox.endpoint("ep_a")


async def reseal(outbox: OutboxStore) -> int:
    return await outbox.seal_secrets()


def planted(kept: Kept) -> int:
    return sum((text or "").count("planted") for text in kept.stored())


async def test_with_a_key_neither_secrets_nor_values_of_headers_can_be_read(kept: Kept) -> None:
    await kept.using(ONE, work=add)
    assert planted(kept) == 0
    assert "".join(kept.stored()).count(SEALED) == SECRETS
    assert "Authorization" in kept.stored()[2], "names are no secrets"
    assert await kept.using(ONE, work=read) == FULL


async def test_changed_headers_are_sealed_as_well(kept: Kept) -> None:
    await kept.using(ONE, work=add)
    headers = (("X-New", "planted-5"),)

    async def change(outbox: OutboxStore) -> object:
        return await outbox.change_endpoint("ep_a", EndpointChange(headers=headers))

    assert await kept.using(ONE, work=change) == replace(FULL, headers=headers)
    assert planted(kept) == 0
    assert await kept.using(ONE, work=read) == replace(FULL, headers=headers)


async def test_what_was_stored_without_a_key_is_sealed_when_opened_with_one(kept: Kept) -> None:
    await kept.using(work=add)
    assert planted(kept) == WORDS
    await kept.using(ONE, work=read)
    assert planted(kept) == 0
    assert await kept.using(ONE, work=read) == FULL


async def test_a_header_alone_is_reason_enough_to_seal(kept: Kept) -> None:
    """Its endpoint's secrets are sealed already: headers came with a later version."""
    await kept.using(ONE, work=add)
    kept.write_headers(json.dumps(HEADERS))
    assert planted(kept) == 2
    await kept.using(ONE, work=read)
    assert planted(kept) == 0
    assert await kept.using(ONE, work=read) == FULL


async def test_a_new_key_seals_headers_anew(kept: Kept) -> None:
    await kept.using(ONE, work=add)
    before = kept.stored()

    async def look(outbox: OutboxStore) -> int:
        return await outbox.seal_secrets(dry_run=True)

    assert await kept.using(TWO, ONE, work=look) == SECRETS
    assert kept.stored() == before
    assert await kept.using(TWO, ONE, work=reseal) == SECRETS
    assert await kept.using(TWO, ONE, work=reseal) == 0
    assert await kept.using(TWO, work=read) == FULL
    with pytest.raises(OutboxError, match="another key"):
        await kept.using(ONE, work=read)


async def test_without_the_key_nothing_is_changed_and_nothing_is_told(kept: Kept) -> None:
    await kept.using(ONE, work=add)
    before = kept.stored()
    for keys in ((), (TWO,)):
        with pytest.raises(OutboxError, match="encrypted") as caught:
            await kept.using(*keys, work=read)
        assert "planted" not in str(caught.value)
    assert kept.stored() == before


async def test_nothing_secret_is_left_of_a_removed_endpoint(kept: Kept) -> None:
    await kept.using(work=add)

    async def remove(outbox: OutboxStore) -> None:
        await outbox.remove_endpoint("ep_a", NOW)

    await kept.using(work=remove)
    assert kept.stored()[:3] == ["", None, "[]"]
    assert planted(kept) == 0


async def test_a_value_that_looks_sealed_is_kept_with_a_key_and_refused_without(kept: Kept) -> None:
    """Without a key it would be stored as it is, and no key would ever open it."""
    odd = endpoint(headers=(("X-Key", f"{SEALED}planted"),))

    async def add_odd(outbox: OutboxStore) -> None:
        await outbox.add_endpoint(odd)

    with pytest.raises(UsageError, match="begins with fernet:") as caught:
        await kept.using(work=add_odd)
    assert "planted" not in str(caught.value)
    await kept.using(ONE, work=add_odd)
    assert await kept.using(ONE, work=read) == odd
    assert await kept.using(TWO, ONE, work=reseal) == 3


def test_an_endpoint_shows_no_secret_when_it_is_printed() -> None:
    assert "planted" not in repr(FULL)
    assert "planted" not in repr(EndpointChange(secret="whsec_planted", headers=HEADERS))
