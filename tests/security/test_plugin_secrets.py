"""A plugin's column whose name means a secret reaches neither journal nor event, by any way to capture, and triggers
that were installed before the column was secret are found and repaired."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from cdc.config import Config, SourceConfig
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.model.column import Capture
from cdc.model.event import event_payload
from cdc.model.finding import Severity
from cdc.runtime import capture
from cdc.runtime.capture import described_tables
from support.consumer import database_url
from support.database import Database
from support.logical import logical_pipeline
from support.pipeline import Pipeline, binlog_pipeline, install, pipeline

SECRET = "S3cr3tTokenOfAPlugin"
TABLE = "mi_tienda"
CREATE = f"CREATE TABLE {TABLE} (id integer PRIMARY KEY, nombre varchar(50), access_token varchar(50))"
CHANGES = (
    f"INSERT INTO {TABLE} VALUES (1, 'a', '{SECRET}')",
    f"UPDATE {TABLE} SET nombre = 'b', access_token = '{SECRET}2' WHERE id = 1",
    f"DELETE FROM {TABLE} WHERE id = 1",
)
Open = Callable[[Database, Catalogue], AbstractAsyncContextManager[Pipeline]]


def rules(text: str = "") -> Catalogue:
    return load_catalogue(f'tables = ["{TABLE}"]\n{text}')


def source(database: Database, capture: str = "triggers") -> SourceConfig:
    """The source of a configuration, with the packaged rules."""
    main = {"url": database_url(database.info), "capture": capture, "tables": [TABLE]}
    return Config.model_validate({"source": {"main": main}}).select_source("main")


def as_before(catalogue: Catalogue, database: Database) -> list[Capture]:
    """The captures of a version that knew no patterns."""
    existing = capture.installer_of(database.info).existing_tables()
    return [Capture(each.table, each.secrets) for each in catalogue.captures(existing)]


def journal(database: Database) -> str:
    """Every value of every table of ours."""
    if database.flavour == "postgresql":
        names = [f"cdc.{name}" for name in ("cdc_journal",)]
    else:
        names = [name for (name,) in database.execute("SHOW TABLES LIKE 'cdc%%'", ())]
    return "\n".join(repr(row) for name in names for row in database.execute(f"SELECT * FROM {name}"))


async def events(reading: Pipeline) -> list[dict[str, Any]]:
    found = [event for transaction in await reading.drain() for event in transaction]
    assert SECRET.encode() not in b"".join(map(event_payload, found))
    return [{"name": event.name, "data": event.data, "previous": event.previous} for event in found]


def check(found: list[dict[str, Any]]) -> None:
    assert [each["name"] for each in found] == [f"{TABLE}.created", f"{TABLE}.updated", f"{TABLE}.deleted"]
    assert [sorted(each["data"]) for each in found] == [["id", "nombre"]] * 3
    assert found[1]["previous"] == {"nombre": "a"}


async def test_a_secret_of_a_plugin_never_enters_the_journal(database: Database) -> None:
    database.execute(CREATE)
    catalogue = rules()
    install(database, catalogue)
    async with pipeline(database, catalogue) as reading:
        for statement in CHANGES:
            database.execute(statement)
        written = journal(database)
        assert "nombre" in written, "the journal was read"
        assert SECRET not in written
        check(await events(reading))


async def test_triggers_from_before_are_found_and_repaired(database: Database) -> None:
    """Rows that they journaled until then give events without the secret."""
    database.execute(CREATE)
    catalogue = rules()
    older = capture.installer_of(database.info)
    older.apply(older.plan_install(as_before(catalogue, database)), lambda _: None)
    installer = capture.installer(source(database))
    captures = catalogue.captures(installer.existing_tables())
    wrong = [each for each in installer.findings(captures) if each.severity is Severity.WRONG]
    assert any(TABLE in each.check or TABLE in each.detail for each in wrong)

    async with pipeline(database, catalogue) as reading:
        for statement in CHANGES:
            database.execute(statement)
        assert SECRET in journal(database), "the attack works on triggers from before"
        check(await events(reading))

        assert not installer.repair().failed
        assert not [each for each in installer.findings(captures) if TABLE in each.check or TABLE in each.detail]
        assert not installer.repair().done, "once is enough"
        for statement in CHANGES:
            database.execute(statement)
        assert SECRET not in journal(database)
        check(await events(reading))


async def test_a_secret_column_that_is_added_later_is_hidden_by_the_repair(database: Database) -> None:
    database.execute(f"CREATE TABLE {TABLE} (id integer PRIMARY KEY, nombre varchar(50))")
    catalogue = rules()
    install(database, catalogue)
    installer = capture.installer(source(database))
    async with pipeline(database, catalogue) as reading:
        database.execute(f"ALTER TABLE {TABLE} ADD COLUMN access_token varchar(50)")
        installer.repair()
        for statement in CHANGES:
            database.execute(statement)
        assert SECRET not in journal(database)
        found = [each for each in await events(reading) if not each["name"].endswith(".read")]
        check(found)


def test_table_list_shows_what_is_hidden(database: Database) -> None:
    database.execute(CREATE)
    shown = {each.name: each.hidden for each in described_tables(source(database))}
    assert shown[TABLE] == ("access_token",)


@pytest.mark.parametrize(("fixture", "capture"), [("postgres_log_db", "logical"), ("mariadb_binlog_db", "binlog")])
def test_table_list_shows_what_is_hidden_in_a_log(request: pytest.FixtureRequest, fixture: str, capture: str) -> None:
    database: Database = request.getfixturevalue(fixture)
    database.execute(CREATE)
    shown = {each.name: each.hidden for each in described_tables(source(database, capture))}
    assert shown[TABLE] == ("access_token",)


async def test_a_revealed_column_is_captured(database: Database) -> None:
    database.execute(CREATE)
    catalogue = rules(f'reveal = ["{TABLE}.access_token"]')
    install(database, catalogue)
    async with pipeline(database, catalogue) as reading:
        database.execute(CHANGES[0])
        ((created,),) = await reading.drain()
        assert created.data["access_token"] == SECRET


@pytest.mark.parametrize(
    ("fixture", "open_pipeline"),
    [
        ("postgres_log_db", logical_pipeline),
        ("mariadb_binlog_db", binlog_pipeline),
        ("mysql_binlog_db", binlog_pipeline),
    ],
)
async def test_a_secret_of_a_plugin_never_leaves_a_log(
    request: pytest.FixtureRequest, fixture: str, open_pipeline: Open
) -> None:
    database: Database = request.getfixturevalue(fixture)
    database.execute(CREATE)
    async with open_pipeline(database, rules()) as reading:
        for statement in CHANGES:
            database.execute(statement)
        check(await events(reading))
