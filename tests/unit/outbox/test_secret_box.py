"""Secrets at rest: what is in the file, what a missing or wrong key does, and how the key is changed."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.errors import ConfigError, OutboxError
from cdc.outbox.secret_box import PLAIN, SEALED, SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.outboxes import at, endpoint, event, lease, store

ONE, TWO = new_key(), new_key()


def in_the_file(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def stored(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT secret, former_secret FROM endpoint ORDER BY number").fetchall()
    return [secret for row in rows for secret in row if secret is not None]


async def opened(path: Path, *keys: str) -> SqliteOutbox:
    outbox = SqliteOutbox(path, box=SecretBox(keys))
    await outbox.open()
    return outbox


async def contents(path: Path, *keys: str) -> list[Endpoint]:
    outbox = await opened(path, *keys)
    try:
        return await outbox.endpoints()
    finally:
        await outbox.close()


@given(st.text(min_size=24))
def test_what_is_sealed_opens_to_itself_and_only_with_its_key(secret: str) -> None:
    sealed = SecretBox([ONE]).seal(secret)
    assert sealed.startswith(SEALED)
    assert secret not in sealed
    assert SecretBox([ONE]).open(sealed) == SecretBox([TWO, ONE]).open(sealed) == secret
    for box in (SecretBox([TWO]), PLAIN):
        with pytest.raises(OutboxError, match="encrypted") as caught:
            box.open(sealed)
        assert secret not in str(caught.value)


def test_keys_in_either_alphabet_and_what_is_no_key() -> None:
    raw = bytes([251, 255] * 16)
    url_safe, openssl = base64.urlsafe_b64encode(raw).decode(), base64.b64encode(raw).decode()
    assert url_safe != openssl
    assert SecretBox([url_safe]).open(SecretBox([openssl]).seal("s")) == "s"
    for wrong in ("", "hunter2", base64.b64encode(b"x" * 31).decode(), "é" * 44):
        with pytest.raises(ConfigError, match=r"CDC_SECRET_KEY.*number 2") as caught:
            SecretBox([ONE, wrong], "CDC_SECRET_KEY")
        assert not wrong or wrong not in str(caught.value)


async def test_nothing_of_a_secret_is_in_the_file(tmp_path: Path) -> None:
    path, first, second = tmp_path / "cdc.db", new_secret(), new_secret()
    outbox = await opened(path, ONE)
    await outbox.add_endpoint(endpoint("ep_a", secret=first))
    changed = await outbox.change_endpoint("ep_a", EndpointChange(secret=second, former_secret_until=at(60)))
    assert (changed.secret, changed.former_secret) == (second, first)
    assert await outbox.endpoint("ep_a") == changed
    assert await outbox.endpoints() == [changed]
    await outbox.close()
    assert not any(secret.removeprefix("whsec_").encode() in in_the_file(path) for secret in (first, second))
    assert [each.startswith(SEALED) for each in stored(path)] == [True, True]


async def test_plain_secrets_are_sealed_when_a_key_comes(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    outbox = await opened(path)
    before = [endpoint(name, secret=new_secret(), former_secret=new_secret()) for name in ("ep_a", "ep_b")]
    for each in before:
        await outbox.add_endpoint(each)
    await outbox.add_endpoint(endpoint("ep_gone"))
    await outbox.remove_endpoint("ep_gone", at(1))
    await outbox.store("main", Position("1"), [event(n) for n in range(200)], {}, at(1))  # the file has other pages too
    plain = [
        text.removeprefix("whsec_").encode() for each in before for text in (each.secret, each.former_secret or "")
    ]
    assert all(text in in_the_file(path) for text in plain), "without a key they are as they are"
    keyed = await opened(path, ONE)
    assert [text for text in plain if text in in_the_file(path)] == [], "nor where they were"
    await keyed.close()
    await outbox.close()
    assert await contents(path, ONE) == before
    assert [each.startswith(SEALED) for each in stored(path)] == [True] * 4 + [False]
    sealed = stored(path)
    assert await contents(path, ONE) == before
    assert stored(path) == sealed, "once"


@pytest.mark.parametrize("keys", [(), (TWO,)])
async def test_a_missing_or_wrong_key_is_a_sentence_and_loses_nothing(tmp_path: Path, keys: tuple[str, ...]) -> None:
    path = tmp_path / "cdc.db"
    outbox = await opened(path, ONE)
    kept = endpoint(secret=new_secret())
    await outbox.add_endpoint(kept)
    await outbox.close()
    before = stored(path)
    with pytest.raises(OutboxError, match="CDC_SECRET_KEY"):
        await opened(path, *keys)
    assert stored(path) == before
    assert await contents(path, ONE) == [kept]


async def test_a_process_with_a_former_key_stops_at_the_secret_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    ours, theirs = await opened(path), await opened(path)
    await ours.add_endpoint(endpoint(secret=new_secret()))
    keyed = await opened(path, ONE)
    assert (await store(theirs, event(1))).deliveries == 1
    with pytest.raises(OutboxError, match="no key"):
        await theirs.endpoints()
    assert len(await lease(theirs)) == 1
    for each in (ours, theirs, keyed):
        await each.close()


async def test_the_key_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    outbox = await opened(path, ONE)
    kept = endpoint(secret=new_secret(), former_secret=new_secret())
    await outbox.add_endpoint(kept)
    assert await outbox.seal_secrets() == 0
    await outbox.close()

    outbox = await opened(path, TWO, ONE)
    before = stored(path)
    assert await outbox.endpoints() == [kept], "both keys open meanwhile"
    assert await outbox.seal_secrets(dry_run=True) == 3, "secret, former secret and URL"
    assert stored(path) == before
    assert await outbox.seal_secrets() == 3
    assert await outbox.seal_secrets() == 0
    await outbox.close()
    assert await contents(path, TWO) == [kept]
    with pytest.raises(OutboxError):
        await opened(path, ONE)
