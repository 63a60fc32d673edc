"""``cdc run`` with ``capture = "logical"`` as a process of its own: the events beside the statements, in order, and the
same payloads as through triggers."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import recording_postgres
from support.actions import load_actions
from support.database import Database
from support.notation import assert_same
from support.played import CATALOGUE, Script, as_events, played
from support.recording import SHARED, expectation, recording

ERP = Path(__file__).parents[1] / "golden" / "erp.sql"


async def _by_both(script: Script, by_slot: Database, by_triggers: Database, folder: Path) -> None:
    logical = await played(script, by_slot, folder / "slot", "logical")
    tokens = sorted(logical.events, key=lambda token: int(token.partition(".")[2]))  # the places of the commits
    assert len(tokens) == len(script.expected)
    for line, token in zip(script.expected, tokens, strict=True):
        assert_same(line, as_events(logical.events[token]), CATALOGUE)
    triggers = await played(script, by_triggers, folder / "triggers", "triggers")
    assert logical.payloads() == triggers.payloads()


async def test_the_process_gives_the_events_beside_the_statements(
    postgres_log_erp: Database, postgres_erp: Database, tmp_path: Path
) -> None:
    actions = load_actions(ERP)
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in action.expected),
    )
    await _by_both(script, postgres_log_erp, postgres_erp, tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recording is not at hand (CDC_SHARED)")
async def test_the_process_gives_the_events_of_the_recording(
    postgres_log_db: Database, postgres_db: Database, tmp_path: Path
) -> None:
    actions, lines = recording()[1:], expectation()
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in lines.get(action.number, [])),
        lambda database: recording_postgres.begun(database).close(),
    )
    await _by_both(script, postgres_log_db, postgres_db, tmp_path)
