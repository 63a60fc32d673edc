"""Idempotency keys store little, whoever sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdc.access.model import Scope
from cdc.api import token_auth
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import event, store

NEW = {"url": "https://shop.example.com/hook", "events": ["*"]}
PREVIEW = {"events": ["*"], "transform": "data", "last": 100}


@pytest.fixture
async def api() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        yield managed


async def _stored(api: Managed) -> list[Any]:
    assert isinstance(api.store, MemoryOutbox)
    return await api.store.thread.rescue(lambda db: db.execute("SELECT * FROM idempotency").fetchall())


async def _ask(api: Managed, path: str, key: str, scope: Scope = Scope.MANAGE, **body: Any) -> int:
    answer = await api.ask("POST", path, scope, json=body, headers={"Idempotency-Key": key})
    assert "Idempotency-Replayed" not in answer.headers
    return answer.status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/endpoint-preview", {"events": ["*"]}),
        ("/endpoint-preview", {"events": ["*"], "filter": "true"}),
        ("/endpoint-preview", {"events": ["*"], "transform": "{'rows': data}"}),
        ("/endpoint-preview", {"events": ["*"], "filter": "no filter"}),
        ("/replay-count", {"state": "delivered"}),
    ],
)
async def test_read_token_stores_nothing(api: Managed, path: str, body: dict[str, Any]) -> None:
    await store(api.store, *(event(number, data={"text": "x" * 10_000}) for number in range(1, 20)))
    for number in range(10):
        assert await _ask(api, path, f"k{number}", Scope.READ, **body) in (200, 422)
        assert await _ask(api, path, "same", Scope.READ, **body) in (200, 422)
    assert await _stored(api) == []


async def test_long_answer_is_not_stored(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_auth, "_LONGEST_ANSWER", 10)
    assert await _ask(api, "/endpoints", "k", **NEW) == 201
    assert await _stored(api) == []


async def test_token_with_too_many_keys_is_refused_until_the_first_is_a_day_old() -> None:
    async with managing(MemoryOutbox(), limits={"idempotency_keys_per_principal": 3}) as api:
        for number in range(3):
            assert await _ask(api, "/endpoints", f"k{number}", **NEW) == 201
        api.clock.advance(3600)
        refused = await api.ask("POST", "/endpoints", json=NEW, headers={"Idempotency-Key": "k3"})
        assert (refused.status, refused.headers["Retry-After"]) == (429, str(23 * 3600))
        assert "too many Idempotency-Keys" in refused.json["detail"]
        assert "idempotency_keys_per_principal" in refused.json["hint"]
        assert (await api.ask("POST", "/endpoints", json=NEW)).status == 201  # without a key
        again = await api.ask("POST", "/endpoints", json=NEW, headers={"Idempotency-Key": "k0"})
        assert again.headers["Idempotency-Replayed"] == "true"
        api.clock.advance(23 * 3600)
        assert await _ask(api, "/endpoints", "k3", **NEW) == 201
