"""The outbox of each release, opened by the program of today: nothing undelivered is lost, nothing is doubled."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdc.access.base import AccessStore
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.admin.audit_log import verify
from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.outbox.database import migrations
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, NOW, event, store
from support.releases import KEY, after_rotation, dumped, later, releases

VERSIONS = releases()
BOX = SecretBox([KEY])


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _made(version: str, engine: str, request: pytest.FixtureRequest, folder: Path) -> tuple[OutboxStore, AccessStore]:
    """The outbox as that release left it, not opened yet."""
    dump = dumped(version, f"outbox.{engine}.sql")
    if engine == "postgresql":
        database = request.getfixturevalue("postgres_db")
        database.script(dump)
        return PostgresOutbox(database.info, box=BOX), PostgresAccess(database.info, box=BOX)
    path = folder / "cdc.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(dump)
    return SqliteOutbox(path, box=BOX), SqliteAccess(path, box=BOX)


@pytest.mark.parametrize("version", VERSIONS)
async def test_everything_is_there_and_goes_on(
    version: str, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    outbox, access = _made(version, engine, request, tmp_path)
    told: dict[str, Any] = json.loads(dumped(version, "expected.json"))
    await outbox.open()
    await access.open()
    try:
        assert await outbox.endpoints() == after_rotation()
        assert await outbox.position("main") == Position(told["position"])
        assert await outbox.states("main") == told["states"]
        assert [each.name for each in await access.users()] == ["ann"]
        (token,) = await access.tokens()
        assert (token.id, token.expires_at, token.networks) == ("tok_1", None, ()), "it works as before"
        check = await verify(access)
        assert (check.broken, check.without_hash, check.entries > 2) == ("", [], True)
        assert (await store(outbox, event(2, "facturascli:1"))).events == 0, "its id is known"
        (dead,) = [each for each in await outbox.deliveries(EVERYTHING, 100) if each.state is DeliveryState.DEAD]
        assert [attempt.error for attempt in await outbox.attempts(dead.id)] == ["The endpoint answered 500."]
        sent = await later(outbox)
        assert {endpoint: sorted(ids) for endpoint, ids in sent.items()} == told["undelivered"]
        for ids in sent.values():
            assert [each for each in ids if each in ("evt_1", "evt_2", "evt_6")] == ["evt_1", "evt_2", "evt_6"]
        await store(outbox, event(7, "facturascli:1"), now=NOW)
        assert set((await states_of_all(outbox, 7)).split()) == {"pending"}
    finally:
        await outbox.close()
        await access.close()


async def states_of_all(outbox: OutboxStore, number: int) -> str:
    views = await outbox.deliveries(EVERYTHING, 100)
    return " ".join(view.state.value for view in views if view.event_id == f"evt_{number}")


def test_the_first_release_is_among_them() -> None:
    assert VERSIONS[0] == "0.1.0"


def test_no_release_is_newer_than_the_migrations() -> None:
    """What a release wrote is never ahead of what the program of today makes of it."""
    for version in VERSIONS:
        found = [line for line in dumped(version, "outbox.sqlite.sql").splitlines() if "user_version" in line]
        assert 0 < int(found[0].rstrip(";").split()[-1]) <= len(migrations("sqlite"))
