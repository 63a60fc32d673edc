"""Primary keys that change within a transaction: each record has one event, from the key that it had to its new one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdc.capture.base import JournalLimits
from cdc.mapping.catalogue import load_catalogue
from support.database import Database
from support.logical import logical_pipeline
from support.pipeline import Pipeline, binlog_pipeline, install, pipeline
from support.routes import commit

CATALOGUE = load_catalogue('tables = ["turnos"]', "rules.toml")
TABLE = "CREATE TABLE turnos (pos integer NOT NULL, nombre varchar(20), vez integer NOT NULL, PRIMARY KEY (pos){})"
START = "INSERT INTO turnos VALUES (1, 'ana', 0), (2, 'blas', 0), (3, 'cira', 0)"
#: An event: what happened, the key before and after, whose row.
Outline = tuple[str, int | None, int | None, str]
UP: list[Outline] = [("updated", 1, 2, "ana"), ("updated", 2, 3, "blas"), ("updated", 3, 4, "cira")]
#: Statements of a transaction that any primary key allows, and their events.
ANYWHERE: dict[str, tuple[list[str], list[Outline]]] = {
    "exchanged by a third key": (
        [
            "UPDATE turnos SET pos = 99 WHERE pos = 1",
            "UPDATE turnos SET pos = 1 WHERE pos = 2",
            "UPDATE turnos SET pos = 2 WHERE pos = 99",
            "UPDATE turnos SET vez = 1 WHERE pos = 2",
        ],
        [("updated", 1, 2, "ana"), ("updated", 2, 1, "blas")],
    ),
    "a key used again": (
        [
            "DELETE FROM turnos WHERE pos = 3",
            "UPDATE turnos SET pos = 3 WHERE pos = 1",
            "INSERT INTO turnos VALUES (1, 'dora', 0)",
            "UPDATE turnos SET vez = 2 WHERE pos = 3",
        ],
        [("created", None, 1, "dora"), ("deleted", 3, None, "cira"), ("updated", 1, 3, "ana")],
    ),
    "deleted and inserted": (
        ["DELETE FROM turnos WHERE pos = 2", "INSERT INTO turnos VALUES (2, 'dora', 0)"],
        [("updated", 2, 2, "dora")],
    ),
}
#: And one that only a deferred one allows.
DEFERRED: dict[str, tuple[list[str], list[Outline]]] = {
    "all moved up": (["UPDATE turnos SET pos = pos + 1"], UP),
    "moved up and written": (
        ["UPDATE turnos SET pos = pos + 1", "UPDATE turnos SET vez = vez + 1", "UPDATE turnos SET vez = 7"],
        UP,
    ),
    "exchanged at once": (
        ["UPDATE turnos SET pos = 4 - pos, vez = vez + 1"],
        [("updated", 1, 3, "ana"), ("updated", 2, 2, "blas"), ("updated", 3, 1, "cira")],
    ),
    "rotated": (
        ["UPDATE turnos SET pos = CASE pos WHEN 3 THEN 1 ELSE pos + 1 END"],
        [("updated", 1, 2, "ana"), ("updated", 2, 3, "blas"), ("updated", 3, 1, "cira")],
    ),
    "a new one put between": (
        [
            "INSERT INTO turnos VALUES (2, 'dora', 0)",
            "UPDATE turnos SET pos = pos + 1 WHERE pos >= 2 AND nombre <> 'dora'",
        ],
        [("created", None, 2, "dora"), ("updated", 2, 3, "blas"), ("updated", 3, 4, "cira")],
    ),
    "two deleted at one key": (
        ["UPDATE turnos SET pos = 2 WHERE pos = 1", "DELETE FROM turnos WHERE pos = 2"],
        [("deleted", 1, None, "ana"), ("deleted", 2, None, "blas")],
    ),
}
#: MySQL and MariaDB check each row: from the last one to the first.
DESCENDING = {"all moved up": (["UPDATE turnos SET pos = pos + 1 ORDER BY pos DESC"], UP)}


def _outline(event: Any) -> Outline:
    (pos,) = event.key.values()
    happened = event.name.rpartition(".")[2]
    before = None if happened == "created" else (event.previous or {}).get("pos", pos)
    return happened, before, None if happened == "deleted" else pos, event.data["nombre"]


async def _check(database: Database, running: Pipeline, work: dict[str, tuple[list[str], list[Outline]]]) -> None:
    for what, (statements, expected) in work.items():
        await asyncio.to_thread(commit, database, ["DELETE FROM turnos", START])
        await running.drain()
        await asyncio.to_thread(commit, database, statements)
        events = [event for transaction in await running.drain() for event in transaction]
        assert sorted(map(_outline, events), key=repr) == sorted(expected, key=repr), what
        rows = {event.key["pos"]: dict(event.data) for event in events if not event.name.endswith("deleted")}
        for pos, nombre, vez in database.execute("SELECT pos, nombre, vez FROM turnos"):
            assert rows.get(pos, {"pos": pos, "nombre": nombre, "vez": 0}) == {"pos": pos, "nombre": nombre, "vez": vez}


@pytest.mark.parametrize("limits", [None, JournalLimits(batch=1, huge=1)], ids=["whole", "in parts"])
async def test_deferred_key_by_triggers(postgres_db: Database, limits: JournalLimits | None) -> None:
    postgres_db.execute(TABLE.format(" DEFERRABLE INITIALLY DEFERRED"))
    install(postgres_db, CATALOGUE)
    async with pipeline(postgres_db, CATALOGUE, limits) as running:
        await _check(postgres_db, running, ANYWHERE | DEFERRED)


async def test_deferred_key_by_logical_decoding(postgres_log_db: Database) -> None:
    postgres_log_db.execute(TABLE.format(" DEFERRABLE INITIALLY DEFERRED"))
    async with logical_pipeline(postgres_log_db, CATALOGUE) as running:
        await _check(postgres_log_db, running, ANYWHERE | DEFERRED)


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_keys_by_triggers(flavour: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(f"{flavour}_db")
    database.execute(TABLE.format(""))
    install(database, CATALOGUE)
    async with pipeline(database, CATALOGUE) as running:
        await _check(database, running, ANYWHERE | DESCENDING)


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_keys_by_binlog(flavour: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(f"{flavour}_binlog_db")
    database.execute(TABLE.format(""))
    async with binlog_pipeline(database, CATALOGUE) as running:
        await _check(database, running, ANYWHERE | DESCENDING)
