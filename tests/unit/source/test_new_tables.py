"""Tables that appear: met once, captured where that is allowed, told of where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from cdc.column import Capture
from cdc.errors import InstallError
from cdc.source.new_tables import NewTables, Patterns
from support.manual_clock import ManualClock


def _matching(names: Iterable[str]) -> Sequence[Capture]:
    return [Capture(name) for name in sorted(names) if name.startswith("mi_")]


@dataclass
class Installing:
    """``refused``: tables that cannot be captured (any more)."""

    refused: set[str] = field(default_factory=set)
    done: list[tuple[str, bool]] = field(default_factory=list)

    async def __call__(self, capture: Capture, *, read: bool) -> Sequence[str]:
        if capture.table in self.refused:
            raise InstallError(f"No primary key: {capture.table}.")
        self.done.append((capture.table, read))
        return (f"Capture {capture.table}",)


@dataclass
class Watched:
    """Whoever looks at the tables of a database."""

    installing: Installing | None
    clock: ManualClock = field(default_factory=ManualClock)
    logs: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = NewTables("main", Patterns(_matching, self.installing), self.clock)

    async def look(self, *names: str, after: float = 5) -> list[str]:
        """The tables that are met, when these are there; what follows from that is done."""
        self.clock.advance(after)
        with structlog.testing.capture_logs() as logs:
            met = self.tables.meet(names) if self.tables.due() else []
            for _ in range(5):
                await asyncio.sleep(0)
        self.logs += [dict(line) for line in logs]
        return [capture.table for capture in met]

    def told(self, event: str) -> list[object]:
        return [line.get("table") for line in self.logs if line["event"] == event]


async def test_what_was_there_is_captured_and_what_appears_is_read_too() -> None:
    installing = Installing()
    watched = Watched(installing)
    assert await watched.look("mi_a", "other") == ["mi_a"]
    assert watched.tables.extended()
    assert await watched.look("mi_a", "mi_b", "other") == ["mi_b"]
    assert await watched.look("mi_a", "mi_b", "other") == []
    assert installing.done == [("mi_a", False), ("mi_b", True)]
    assert watched.tables.extended()
    assert not watched.tables.extended()


async def test_what_goes_and_comes_again_is_captured_again() -> None:
    installing = Installing()
    watched = Watched(installing)
    for names in (["mi_a"], [], ["mi_a"]):
        await watched.look(*names)
        watched.tables.extended()
    assert installing.done == [("mi_a", False), ("mi_a", True)]
    assert {"event": "tables gone", "tables": ["mi_a"]}.items() <= watched.logs[1].items()


async def test_what_cannot_be_captured_is_said_once_tried_again_and_keeps_nothing_else_up() -> None:
    installing = Installing({"mi_a"})
    watched = Watched(installing)
    await watched.look()
    await watched.look("mi_a", "mi_b")
    assert installing.done == [("mi_b", True)]
    for _ in range(20):
        await watched.look("mi_a", "mi_b")
        watched.tables.extended()
    assert watched.told("table not captured") == ["mi_a"]
    installing.refused.clear()
    for _ in range(20):
        await watched.look("mi_a", "mi_b")
        watched.tables.extended()
    assert installing.done == [("mi_b", True), ("mi_a", True)]


async def test_where_somebody_else_installs_it_is_said_what_to_run() -> None:
    watched = Watched(None)
    assert await watched.look("mi_a") == ["mi_a"]
    assert await watched.look("mi_a", "mi_b") == ["mi_b"]
    await watched.look("mi_a", "mi_b")
    assert watched.told("table not captured") == ["mi_b"], "what was there already, whoever installed knows"
    (reason,) = [line["reason"] for line in watched.logs if line["event"] == "table not captured"]
    assert "cdc install-triggers" in str(reason)


async def test_without_patterns_nothing_is_looked_at() -> None:
    assert not NewTables("main", None, ManualClock()).due()
