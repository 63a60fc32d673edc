"""What users of the ERP do (``erp.sql``), replayed on each engine: the events beside the statements, byte for byte the
same on all engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from cdc.event import Event
from cdc.facturascripts.schema import tables
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.schema import event_types
from cdc.payload import event_payload
from support.actions import Action, load_actions
from support.database import Database
from support.notation import assert_same
from support.pipeline import Pipeline, comparable, install, pipeline

_TYPES = event_types(load_catalogue(), tables())
_SCHEMAS = {kind.name: Draft202012Validator(kind.schema) for kind in _TYPES}
ACTIONS = load_actions(Path(__file__).with_name("erp.sql"))


async def test_actions_give_the_events_beside_them(erp: Database) -> None:
    await _play(erp)


async def test_the_events_are_the_same_bytes_on_all_engines(
    postgres_erp: Database, mariadb_erp: Database, mysql_erp: Database
) -> None:
    expected = await _play(postgres_erp)
    for other in (mariadb_erp, mysql_erp):
        for title, events in (await _play(other)).items():
            assert events == expected[title], f"{other.flavour}: {title}"


async def _play(database: Database) -> dict[str, list[list[bytes]]]:
    """Title of each action → its transactions' comparable payloads."""
    install(database)
    connection = database.connect(autocommit=True)
    played = {}
    different = []
    async with pipeline(database) as running:
        for action in ACTIONS:
            events = await _replay(connection, action, running)
            different += _differences(action, events)
            different += [problem for each in events for event in each for problem in _invalid(event)]
            played[action.title] = [[orjson.dumps(payload) for payload in comparable(each)] for each in events]
    assert not different, "\n".join(different)
    return played


def _invalid(event: Event) -> list[str]:
    """What its JSON Schema says against a real event."""
    problems = _SCHEMAS[event.name].iter_errors(orjson.loads(event_payload(event)))
    return [f"{event.name} {problem.json_path}: {problem.message}" for problem in problems]


async def _replay(connection: Any, action: Action, running: Pipeline) -> list[list[Event]]:
    for statement in action.statements:
        _execute(connection, statement, refused="refuses" in action.title)
    return await running.drain()


def _execute(connection: Any, statement: str, *, refused: bool) -> None:
    """``refused``: the action is about a statement that a foreign key refuses."""
    cursor = connection.cursor()
    if refused and statement.startswith("DELETE"):
        with pytest.raises(Exception, match="foreign key"):
            cursor.execute(statement)
    else:
        cursor.execute(statement)


def _differences(action: Action, events: list[list[Event]]) -> list[str]:
    if len(events) != len(action.expected):
        return [f"{action.title}: {[[event.name for event in each] for each in events]}"]
    different = []
    for line, transaction in zip(action.expected, events, strict=True):
        try:
            assert_same(line, transaction)
        except AssertionError as error:
            different.append(f"{action.title}: {error}")
    return different
