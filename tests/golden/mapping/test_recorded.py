"""The recorded actions of a real FacturaScripts give exactly the events that were derived for them independently.

Runs only where the recording is at hand (``$CDC_SHARED``, or ``shared`` beside the repository).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import pytest

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Row, Value
from cdc.model.column import Table
from cdc.model.event import Event
from support.notation import assert_same
from support.recorded_scenario import Recording
from support.recording import SHARED, as_named_now
from support.row_changes import applied


class _LiveRows:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return [row for row in self._recording.rows(table) if row[column] in values]

    async def all_rows(self, table: str) -> list[Row]:
        return self._recording.rows(table)

    async def tables(self) -> dict[str, Table]:
        return {}


def _expected() -> dict[int, list[str]]:
    lines: dict[int, list[str]] = defaultdict(list)
    action = 0
    for line in (SHARED / "scenario-events.txt").read_text(encoding="utf-8").splitlines():
        if number := re.match(r"(\d+) ", line):
            action = int(number[1])
        elif line.startswith("    ") and line.strip() != "(none)":
            lines[action].append(as_named_now(line.strip()))
    return lines


async def _play() -> dict[int, list[list[Event]]]:
    catalogue = load_catalogue()
    recording, mapper = Recording(SHARED, catalogue), Mapper(catalogue)
    states: dict[str, str] = {}
    events: dict[int, list[list[Event]]] = defaultdict(list)
    for action, transaction in recording.transactions():
        mapped = (await mapper.batch("main", [transaction], states).read_facts(_LiveRows(recording), {})).map()
        states = applied(states, mapped)
        if action and mapped.events:
            events[action].append(mapped.events)
    assert not mapper.holds(states)
    return events


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recording of a real FacturaScripts is not here")
async def test_every_recorded_action_gives_its_events() -> None:
    expected, events = _expected(), await _play()
    assert set(events) == set(expected)
    for action, lines in expected.items():
        assert len(events[action]) == len(lines), f"action {action}"
        for line, transaction in zip(lines, events[action], strict=True):
            assert_same(line, transaction)
