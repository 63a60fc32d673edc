"""``cdc run`` with ``capture = "binlog"`` as a process of its own: the events beside the statements, in order, and the
same payloads as through triggers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cdc.model.event import Event
from support.actions import load_actions
from support.database import Database
from support.notation import assert_same
from support.played import CATALOGUE, Play, Script, as_events, played
from support.recording import SHARED, expectation, load, recording, run

ERP = Path(__file__).parents[1] / "golden" / "erp.sql"
FLAVOURS = ("mariadb", "mysql")


def _in_order(play: Play) -> list[list[Event]]:
    """Transactions by the last number of their GTIDs."""
    tokens = sorted(play.events, key=lambda token: int(token.replace(":", "-").rpartition("-")[2]))
    return [as_events(play.events[token]) for token in tokens]


async def _by_both(script: Script, flavour: str, own_server: Any, folder: Path, *, erp: bool) -> None:
    by_log = await played(script, own_server(flavour, binlog=True, erp=erp), folder / "log", "binlog")
    transactions = _in_order(by_log)
    lines = script.seen(cascades=flavour == "mysql")
    assert len(transactions) == len(lines)
    for line, events in zip(lines, transactions, strict=True):
        assert_same(line, events, CATALOGUE)
    by_triggers = await played(script, own_server(flavour, binlog=True, erp=erp), folder / "triggers", "triggers")
    if flavour == "mysql":
        assert by_triggers.payloads() - by_log.payloads() == Counter()
    # what only cascades change is in no payload of MariaDB's log
    assert by_log.payloads() - by_triggers.payloads() == Counter()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_process_gives_the_events_beside_the_statements(
    flavour: str, own_server: Any, tmp_path: Path
) -> None:
    actions = load_actions(ERP)
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in action.expected),
    )
    await _by_both(script, flavour, own_server, tmp_path, erp=True)


def _begin_recording(database: Database) -> None:
    load(database)
    connection = database.connect()
    run(connection, recording()[0].statements)
    connection.commit()


@pytest.mark.timeout(600)
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recording is not at hand (CDC_SHARED)")
@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_process_gives_the_events_of_the_recording(flavour: str, own_server: Any, tmp_path: Path) -> None:
    actions, lines = recording()[1:], expectation()
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in lines.get(action.number, [])),
        _begin_recording,
    )
    await _by_both(script, flavour, own_server, tmp_path, erp=False)
