"""Looking on while backfills run: a bar for each, with its rate and the time that remains."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.clock import Clock
from cdc.model.printable import printable_line
from cdc.outbox.base import OutboxStore
from cdc.outbox.shared import no_backfill

#: Seconds between two looks: an outbox tells nobody how far it is.
LOOK_EVERY = 0.25


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


async def watch(
    store: OutboxStore, ids: Sequence[str], clock: Clock, stop: asyncio.Event, *, quiet: bool
) -> list[Backfill]:
    """Until all have ended, or rest, or ``stop`` is set; as they are then."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()),
        *(TimeRemainingColumn(), TextColumn("{task.fields[state]}")),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as bars:
        bar_of = {each: bars.add_task("", total=None, state="") for each in ids}
        while True:
            found = [await _find(store, each) for each in ids]
            for each in found:
                _show(bars, bar_of[each.id], each)
            if stop.is_set() or all(each.state is not BackfillState.RUNNING for each in found):
                return found
            await clock.wait(stop, LOOK_EVERY)


async def _find(store: OutboxStore, backfill_id: str) -> Backfill:
    found = await store.find_backfill(backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    return found


def _show(bars: Progress, bar: TaskID, backfill: Backfill) -> None:
    rows, estimate = backfill.rows, backfill.estimate
    running = backfill.state is BackfillState.RUNNING
    total = None if estimate is None else max(rows, estimate)
    bars.update(
        bar,
        description=printable_line(backfill.table),
        completed=rows,
        total=rows if backfill.state is BackfillState.DONE else total,
        state="" if running else backfill.state.value,
    )
