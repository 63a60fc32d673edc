"""Implementations under one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdc.access.base import AccessStore
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore


@pytest.fixture(params=["sqlite", "postgresql"])
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OutboxStore]:
    """An open outbox without endpoints."""
    store: OutboxStore
    if request.param == "postgresql":
        store = PostgresOutbox(request.getfixturevalue("postgres_outbox_db").info)
    else:
        store = SqliteOutbox(tmp_path / "outbox.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def access(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AccessStore]:
    """An open store of access, with nobody in it."""
    store: AccessStore
    if request.param == "postgresql":
        store = PostgresAccess(request.getfixturevalue("postgres_outbox_db").info)
    else:
        store = SqliteAccess(tmp_path / "outbox.db")
    await store.open()
    yield store
    await store.close()
