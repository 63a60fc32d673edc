"""Now and then the journal source has all triggers looked at, while it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import structlog

from cdc.capture.base import JournalLimits
from cdc.capture.journal.source import JournalSource
from cdc.capture.source import TriggerCheck
from cdc.model.change import Operation
from cdc.model.errors import CdcError, InstallError
from cdc.model.finding import Repaired
from support.manual_clock import ManualClock
from support.memory_journal import MemoryJournal
from support.waiting import HANG_SECONDS


@dataclass
class Checks:
    """``answers``: what each check does in turn, then nothing."""

    answers: list[Repaired | CdcError] = field(default_factory=list)
    made: int = 0

    async def __call__(self) -> Repaired:
        self.made += 1
        answer = self.answers.pop(0) if self.answers else Repaired()
        if isinstance(answer, CdcError):
            raise answer
        return answer


async def _unused(tables: Sequence[str]) -> Repaired:
    raise AssertionError(tables)


async def _read(checks: Checks, seconds: Sequence[float], step: float = 0) -> list[str]:
    """Read a batch after each of these pauses; the events logged.  ``step``: by which the clock is set each time."""
    journal, clock = MemoryJournal(), ManualClock()
    source = JournalSource("main", journal, _unused, JournalLimits(), clock, check=checks)
    await source.open(None)
    batches = source.batches()
    with structlog.testing.capture_logs() as logs:
        for number, pause in enumerate(seconds):
            clock.advance(pause)
            clock.set_wall(step)
            journal.commit([journal.write(f"t{number}", Operation.CREATE, None, {"id": number, "value": 0})])
            async with asyncio.timeout(HANG_SECONDS):
                batch = await anext(batches)
            await source.acknowledge(batch.position)
            await asyncio.sleep(0)  # a check goes on beside reading: it has its turn
    await source.close()
    return [line["event"] for line in logs if "check" in line["event"] or "repair" in line["event"]]


async def test_once_at_the_start_then_every_minute() -> None:
    checks = Checks()
    assert await _read(checks, [0, 10, 10]) == []
    assert checks.made == 1
    checks = Checks()
    await _read(checks, [0, 61, 10, 61, 0])
    assert checks.made == 3


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_setting_the_clock_changes_no_pause_between_checks(step: float) -> None:
    checks = Checks()
    await _read(checks, [0, 10, 10, 61, 10, 61, 0], step)
    assert checks.made == 3


async def test_altered_tables_are_checked_once_they_have_not_changed_for_a_moment() -> None:
    """FacturaScripts does not see the columns of a table of which MariaDB just creates a trigger."""
    checks, clock = Checks(), ManualClock()
    check = TriggerCheck("main", checks, timedelta(minutes=1), clock)
    made = []
    for definitions in (1, 1, 2, 3, 3, 3):
        check.saw(definitions)
        check.repaired()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        made.append(checks.made)
        clock.advance(2)
    assert made == [1, 1, 1, 1, 2, 2]
    await check.close()


async def test_what_was_mended_is_told() -> None:
    assert await _read(Checks([Repaired(("create triggers of item",))]), [0, 61]) == ["triggers repaired"]


async def test_a_check_that_failed_is_repeated_soon_then_ever_later() -> None:
    for seconds, made in (([0, 2], 2), ([0, 2, 2], 2), ([0, 2, 4], 3), ([0, 2, 4, 8, 16, 32], 6), ([0, 2, 4, 8, 8], 4)):
        checks = Checks([InstallError("Locked.")] * 8)
        await _read(checks, seconds)
        assert checks.made == made, seconds
    checks = Checks([InstallError("Locked.")])
    assert await _read(checks, [0, 2, 2, 2]) == ["triggers not checked"]
    assert checks.made == 2, "one that succeeds is the last for a minute"


async def test_trouble_is_told_once_and_reading_goes_on() -> None:
    trouble = InstallError("No privilege.")
    told = await _read(Checks([trouble, trouble, InstallError("Locked."), Repaired(), trouble]), [0, 61, 61, 61, 61])
    assert told == ["triggers not checked"] * 3
