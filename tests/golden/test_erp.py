"""What users of the ERP do (``erp.sql``), replayed on each engine: the events beside the statements, byte for byte the
same on all engines and by all ways to capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from cdc.capture.binlog.library import LibraryConnection, LogConnection
from cdc.facturascripts.schema import tables
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.schema import event_types
from cdc.model.event import Event, event_payload
from support.actions import Action, load_actions
from support.database import Database
from support.logical import logical_pipeline
from support.notation import assert_same, without_cascades
from support.pipeline import Pipeline, binlog_pipeline, comparable, install, install_cascades, pipeline

_TYPES = event_types(load_catalogue(), tables())
_SCHEMAS = {kind.name: Draft202012Validator(kind.schema) for kind in _TYPES}
#: Title of each action → its transactions' comparable payloads.
Played = dict[str, list[list[bytes]]]
ACTIONS = load_actions(Path(__file__).with_name("erp.sql"))


async def test_actions_give_the_events_beside_them(erp: Database) -> None:
    await _by_triggers(erp)


async def test_the_events_are_the_same_bytes_by_all_routes(
    *,
    postgres_erp: Database,
    mariadb_erp: Database,
    mysql_erp: Database,
    mariadb_binlog_erp: Database,
    postgres_log_erp: Database,
    own_server: Any,
) -> None:
    expected = await _by_triggers(postgres_erp)
    _assert_same(expected, await _by_slot(postgres_log_erp), "PostgreSQL, logical")
    _assert_same(expected, await _by_triggers(mariadb_erp), "MariaDB, triggers")
    _assert_same(expected, await _by_triggers(mysql_erp), "MySQL, triggers")
    _assert_same(expected, await _by_binlog(own_server("mysql", erp=True)), "MySQL, binlog")
    seen = await _by_binlog(mariadb_binlog_erp, cascades=False)
    hidden = {action.title for action in ACTIONS if without_cascades(action.expected) != list(action.expected)}
    _assert_same({title: each for title, each in expected.items() if title not in hidden}, seen, "MariaDB, binlog")


async def test_cascades_that_triggers_journal_are_in_the_binlog(
    postgres_erp: Database, mariadb_binlog_erp: Database
) -> None:
    expected = await _by_triggers(postgres_erp)
    install_cascades(mariadb_binlog_erp)
    _assert_same(expected, await _by_binlog(mariadb_binlog_erp), "MariaDB, binlog with cascades")


async def test_mysql_replication_gives_them_too(mariadb_binlog_erp: Database, mysql_erp: Database) -> None:
    await _by_binlog(mariadb_binlog_erp, cascades=False, connection=LibraryConnection)
    await _by_binlog(mysql_erp, connection=LibraryConnection)


def _assert_same(expected: Played, played: Played, who: str) -> None:
    for title, events in expected.items():
        assert played[title] == events, f"{who}: {title}"


async def _by_triggers(database: Database) -> Played:
    install(database)
    async with pipeline(database) as running:
        return await _play(database, running)


async def _by_slot(database: Database) -> Played:
    async with logical_pipeline(database) as running:
        return await _play(database, running, at_once=True)


async def _by_binlog(
    database: Database, *, cascades: bool = True, connection: type[LogConnection] = LogConnection
) -> Played:
    async with binlog_pipeline(database, connection=connection) as running:
        return await _play(database, running, cascades=cascades, at_once=True)


async def _play(database: Database, running: Pipeline, *, cascades: bool = True, at_once: bool = False) -> Played:
    """``cascades``: whether what foreign keys change by themselves can be seen."""
    connection = database.connect(autocommit=True)
    played = {}
    different = []
    for action in ACTIONS:
        events = await _replay(connection, action, running, at_once=at_once)
        different += _differences(action, events, cascades=cascades)
        different += [problem for each in events for event in each for problem in _invalid(event)]
        played[action.title] = [[orjson.dumps(payload) for payload in comparable(each)] for each in events]
    assert not different, "\n".join(different)
    return played


def _invalid(event: Event) -> list[str]:
    """What its JSON Schema says against a real event."""
    problems = _SCHEMAS[event.name].iter_errors(orjson.loads(event_payload(event)))
    return [f"{event.name} {problem.json_path}: {problem.message}" for problem in problems]


async def _replay(connection: Any, action: Action, running: Pipeline, *, at_once: bool) -> list[list[Event]]:
    """``at_once``: transactions are mapped as they are committed, as they are when a log is read, and not together."""
    events = []
    for statement in action.statements:
        _execute(connection, statement, refused="refuses" in action.title)
        if at_once and statement in ("COMMIT", "ROLLBACK"):
            events += await running.drain()
    return events + await running.drain()


def _execute(connection: Any, statement: str, *, refused: bool) -> None:
    """``refused``: the action is about a statement that a foreign key refuses."""
    cursor = connection.cursor()
    if refused and statement.startswith("DELETE"):
        with pytest.raises(Exception, match="foreign key"):
            cursor.execute(statement)
    else:
        cursor.execute(statement)


def _differences(action: Action, events: list[list[Event]], *, cascades: bool) -> list[str]:
    expected = list(action.expected) if cascades else without_cascades(action.expected)
    if len(events) != len(expected):
        return [f"{action.title}: {[[event.name for event in each] for each in events]}"]
    different = []
    for line, transaction in zip(expected, events, strict=True):
        try:
            assert_same(line, transaction)
        except AssertionError as error:
            different.append(f"{action.title}: {error}")
    return different
