"""The text that every outbox keeps of each API for all processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc.model.errors import OutboxError
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore

API, OTHER = "https://erp.example.com", "https://other.example.com/fs"


async def test_text_is_kept_for_each_api(outbox: OutboxStore) -> None:
    assert await outbox.refusals(API) == ""
    await outbox.change_refusals(API, lambda text: text + "one")
    await outbox.change_refusals(API, lambda text: text + ", two")
    assert (await outbox.refusals(API), await outbox.refusals(OTHER)) == ("one, two", "")


async def test_changes_at_once_follow_one_another(outbox: OutboxStore) -> None:
    await asyncio.gather(*(outbox.change_refusals(API, lambda text: text + "x") for _ in range(20)))
    assert await outbox.refusals(API) == "x" * 20


async def test_states_of_sources_are_others(outbox: OutboxStore) -> None:
    await outbox.change_refusals(API, lambda _: "text")
    assert await outbox.states("main") == await outbox.states(API) == {}


async def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "none" / "cdc.db")
    assert await outbox.refusals(API) == ""
    with pytest.raises(OutboxError, match="cannot be opened"):
        await outbox.change_refusals(API, lambda _: "text")
