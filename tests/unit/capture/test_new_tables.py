"""Tables that appear: seen once, captured where that is allowed, reported where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest
import structlog

from cdc.capture.source import NewTables, Patterns
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from support.manual_clock import ManualClock


def _matching(names: Collection[str]) -> Sequence[Capture]:
    return [Capture(name) for name in sorted(names) if name.startswith(("mi_", "core_"))]


@dataclass
class Installing:
    """``refused``: tables that cannot be captured (any more)."""

    refused: set[str] = field(default_factory=set)
    calls: list[list[str]] = field(default_factory=list)

    async def __call__(self, captures: Sequence[Capture]) -> Sequence[str]:
        tables = [capture.table for capture in captures]
        if refused := self.refused & set(tables):
            raise InstallError(f"No primary key: {', '.join(refused)}.")
        self.calls.append(tables)
        return [f"Capture {table}" for table in tables]


@dataclass
class Watched:
    """A database's tables; ``captured``: what its installation records."""

    installing: Installing | None
    captured: list[str] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    logs: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = NewTables("main", Patterns(_matching, self.installing, {"core_a"}), self.clock)

    async def look(self, *names: str, after: float = 5) -> tuple[list[str], list[str]]:
        """The tables that are new when these are there, and those not captured before; their installation ends."""
        self.clock.advance(after)
        new: Sequence[Capture] = ()
        uncaptured: Sequence[Capture] = ()
        with structlog.testing.capture_logs() as logs:
            if self.tables.due():
                new, uncaptured, _ = self.tables.look(names, self.captured)
            for _ in range(5):
                await asyncio.sleep(0)
        self.logs += [dict(line) for line in logs]
        return [each.table for each in new], [each.table for each in uncaptured]

    def logged(self, event: str) -> list[object]:
        return [line.get("table") for line in self.logs if line["event"] == event]


async def test_tables_recorded_as_installed_are_not_installed_again_at_the_start() -> None:
    installing = Installing()
    watched = Watched(installing, captured=["mi_a"])
    assert await watched.look("mi_a", "other") == (["mi_a"], [])
    assert installing.calls == []
    assert await watched.look("mi_a", "mi_b", "other") == (["mi_b"], ["mi_b"])
    assert await watched.look("mi_a", "mi_b", "other") == ([], [])
    assert installing.calls == [["mi_b"]]
    assert watched.tables.extended()
    assert not watched.tables.extended()


async def test_tables_made_while_nobody_watched_are_captured_together_at_the_start() -> None:
    installing = Installing()
    watched = Watched(installing, captured=["mi_a"])
    assert await watched.look("mi_a", "mi_b", "core_a") == (["core_a", "mi_a", "mi_b"], ["core_a", "mi_b"])
    assert installing.calls == [["core_a", "mi_b"]]


async def test_table_that_is_dropped_and_made_again_is_captured_again() -> None:
    installing = Installing()
    watched = Watched(installing, captured=["mi_a"])
    for names in (["mi_a"], [], ["mi_a"], ["mi_a"]):
        await watched.look(*names)
        watched.tables.extended()
    assert installing.calls == [["mi_a"]]
    assert {"event": "tables gone", "tables": ["mi_a"]}.items() <= watched.logs[0].items()


async def test_table_that_is_refused_is_logged_once_and_tried_again_without_delaying_others() -> None:
    installing = Installing({"mi_a"})
    watched = Watched(installing)
    await watched.look()
    await watched.look("mi_a", "mi_b")
    await watched.look("mi_a", "mi_b")
    assert installing.calls == [["mi_b"]]
    for _ in range(20):
        await watched.look("mi_a", "mi_b")
        watched.tables.extended()
    assert watched.logged("table not captured") == ["mi_a"]
    installing.refused.clear()
    for _ in range(20):
        await watched.look("mi_a", "mi_b")
        watched.tables.extended()
    assert installing.calls == [["mi_b"], ["mi_a"]]


async def test_table_that_was_refused_is_tried_again_soon() -> None:
    """It was locked, say, and is not a moment later."""
    installing = Installing({"mi_a"})
    watched = Watched(installing)
    await watched.look()
    await watched.look("mi_a")
    installing.refused.clear()
    await watched.look("mi_a")
    assert installing.calls == [["mi_a"]]


async def test_tables_created_one_after_the_other_are_captured_together_once_no_more_come() -> None:
    """FacturaScripts does not see the columns of a table of which MariaDB just creates a trigger."""
    installing = Installing()
    watched = Watched(installing)
    names: list[str] = []
    await watched.look()
    for name in ("mi_a", "mi_b", "mi_c"):
        names.append(name)
        await watched.look(*names, after=2)
        assert installing.calls == []
    await watched.look(*names, after=2)
    assert installing.calls == [["mi_a", "mi_b", "mi_c"]]


async def test_tables_that_never_stop_coming_are_captured_all_the_same() -> None:
    installing = Installing()
    watched = Watched(installing)
    for number in range(12):
        await watched.look(*(f"mi_{n}" for n in range(number)))
    assert len(installing.calls) == 1


async def test_table_that_a_rule_names_is_a_problem_until_somebody_installs_it() -> None:
    watched = Watched(Installing({"core_a", "mi_a"}))
    await watched.look("core_a", "mi_a")
    assert watched.tables.problems == ["Table core_a is not captured. No primary key: core_a."]
    watched.captured.append("core_a")
    await watched.look("core_a", "mi_a")
    assert watched.tables.problems == []


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_setting_the_clock_delays_neither_looks_nor_further_tries(step: float) -> None:
    installing = Installing({"mi_a"})
    watched = Watched(installing)
    await watched.look()
    await watched.look("mi_a")
    await watched.look("mi_a")
    watched.clock.set_wall(step)
    assert await watched.look("mi_a", "mi_b", after=4.9) == ([], []), "it is not time yet"
    assert await watched.look("mi_a", "mi_b", after=0.1) == (["mi_b"], ["mi_b"])
    watched.clock.set_wall(step)
    installing.refused.clear()
    await watched.look("mi_a", "mi_b", after=60)
    assert ["mi_a", "mi_b"] in installing.calls


async def test_without_repair_the_command_to_run_is_reported() -> None:
    watched = Watched(None, captured=["mi_a"])
    await watched.look("mi_a")
    assert watched.logged("table not captured") == []
    await watched.look("mi_a", "core_a")
    await watched.look("mi_a", "core_a")
    assert watched.logged("table not captured") == ["core_a"]
    (problem,) = watched.tables.problems
    assert "cdc install-triggers" in problem
    watched.captured.append("core_a")
    await watched.look("mi_a", "core_a")
    assert watched.tables.problems == []


async def test_without_patterns_no_look_is_due() -> None:
    assert not NewTables("main", None, ManualClock()).due()
