"""User and password in the URL of a message broker are stored as a sealed header and never shown."""

from __future__ import annotations

import importlib.util
from base64 import b64encode
from typing import Any

import pytest

from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox

URL = "redis://cdc:planted%2F1@127.0.0.1:6399/0/facturascripts.{source}"
SHOWN = "redis://127.0.0.1:6399/0/facturascripts.{source}"
HEADER = ("Authorization", "Basic " + b64encode(b"cdc:planted/1").decode())


async def add(managed: Managed, **fields: Any) -> Any:
    return await managed.ask("POST", "/endpoints", json={"url": URL, "events": ["invoice.*"], **fields})


async def test_password_of_a_new_endpoint_is_moved_and_not_shown() -> None:
    async with managing(MemoryOutbox()) as managed:
        added = await add(managed, headers={"X-Tenant": "1"})
        assert added.status == 201, added.text
        assert (added.json["url"], added.json["headers"]) == (SHOWN, ["X-Tenant", "Authorization"])
        assert "planted" not in added.text
        (stored,) = await managed.store.endpoints()
    assert (stored.url, stored.headers) == (SHOWN, (("X-Tenant", "1"), HEADER))


async def test_changed_password_keeps_other_headers_of_the_origin_only() -> None:
    async with managing(MemoryOutbox()) as managed:
        path = f"/endpoints/{(await add(managed, headers={'X-Tenant': '1'})).json['id']}"
        changed = await managed.ask("PATCH", path, json={"url": URL.replace("planted", "changed")})
        moved = await managed.ask("PATCH", path, json={"url": URL.replace("6399", "6400")})
        alone = await managed.ask("PATCH", path, json={"url": URL.replace("6399", "6400"), "headers": {}})
        (stored,) = await managed.store.endpoints()
    assert changed.status == 200, changed.text
    assert moved.status == 422
    assert "the header X-Tenant" in moved.json["detail"]
    assert "planted" not in moved.text
    assert alone.status == 200, alone.text
    assert stored.headers == (HEADER,)


async def test_missing_client_and_options_without_meaning_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with managing(MemoryOutbox()) as managed:
        batch = await add(managed, batch=10)
        monkeypatch.setattr("cdc.extras.find_spec", lambda name: None if name == "redis" else importlib.util)
        missing = await add(managed)
    assert batch.json["detail"].startswith("A message broker gets each event by itself, so there are no batches.")
    assert missing.status == 422
    assert missing.json["detail"].startswith("Endpoints of Redis need the package redis, which is not installed.")
