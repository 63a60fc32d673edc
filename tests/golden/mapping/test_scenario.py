"""Every kind of user action, written down as row changes with the events beside them (``scenario.txt``)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.column import Table
from support.notation import assert_same
from support.row_changes import applied

_TEXT = (Path(__file__).parent / "scenario.txt").read_text(encoding="utf-8")
_START = datetime(2026, 11, 24, 8, tzinfo=UTC)


@dataclass(slots=True)
class Rows:
    """A database in memory: applies the lines of the scenario and gives what they changed."""

    stored: dict[str, dict[Value, dict[str, Value]]] = field(default_factory=dict)
    ordinal: int = 0

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return [row for row in self.stored.get(table, {}).values() if row[column] in values]

    async def all_rows(self, table: str) -> list[Row]:
        return list(self.stored.get(table, {}).values())

    async def tables(self) -> dict[str, Table]:
        return {}

    def apply(self, line: str) -> RowChange:
        letter, table, *words = shlex.split(line)
        pairs = [word.partition("=")[::2] for word in words if word[0] not in "!@"]
        (column, key), *values = [(name, _value(text)) for name, text in pairs]
        renamed = [_value(word.partition("=")[2]) for word in words if word[0] == "@"]
        rows = self.stored.setdefault(table, {})
        before = rows.pop(key, None)
        if letter == "U" and before is None:
            before = {column: key}
        after: dict[str, Value] | None = None
        if letter != "D":
            after = {**(before or {column: key}), **dict(values)}
            if renamed:
                after[column] = renamed[0]
            rows[after[column]] = after
        self.ordinal += 1
        return RowChange(
            {"I": Operation.CREATE, "U": Operation.UPDATE, "D": Operation.DELETE}[letter],
            table,
            {column: after[column] if after else key},
            before,
            after,
            _START + timedelta(seconds=self.ordinal),
            self.ordinal,
            frozenset(word[1:] for word in words if word[0] == "!"),
        )


def _value(text: str) -> Value:
    try:
        value: Value = json.loads(text)
    except ValueError:
        return text
    return value


def _steps() -> Iterator[tuple[str, list[str], str]]:
    """Title of the action, lines of one transaction, expected events."""
    title, lines = "", list[str]()
    for number, line in enumerate(_TEXT.splitlines(), start=1):
        if line.startswith("== "):
            title = line[3:]
        elif line.startswith("= "):
            yield f"{title} (line {number})", lines, line[2:]
            lines = []
        elif line and not line.startswith("#"):
            lines.append(line)


async def test_actions_give_their_events() -> None:
    rows, mapper = Rows(), Mapper(load_catalogue())
    states: dict[str, str] = {}
    for title, lines, expected in _steps():
        transaction = Transaction(title, tuple(rows.apply(line) for line in lines))
        mapped = (await mapper.batch("main", [transaction], states).read_facts(rows, {})).map()
        states = applied(states, mapped)
        released = mapper.release("main", states)
        states = applied(states, released)
        try:
            assert_same(expected, [*mapped.events, *released.events])
        except AssertionError as error:
            raise AssertionError(f"{title}: {error}") from None
    assert states == {"members": "{}"}, "the only user was deleted"
