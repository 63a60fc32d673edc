"""``cdc run`` with failures inside: a process of the harness.

    python -m support.chaos.launcher PLAN FLAG LOG OUTCOMES KEEP ARGUMENT…

``OUTCOMES``: ids, comma-separated, of the endpoints whose outcomes cannot be recorded at times.  ``KEEP``: 1 when the
process keeps the priority that it was given.  ``ARGUMENT…``: of the program ``cdc``.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import cdc.capture.base
import cdc.capture.spool
import cdc.cli.run
import cdc.dispatch.outcome_writer
import cdc.dispatch.sender
import cdc.relay
import cdc.runtime.components
import cdc.runtime.consumer
from cdc.cli import main
from cdc.dispatch.outcome_writer import disablings
from cdc.runtime.sources import probe_of
from support.chaos.inject import (
    DISPATCH_WORKS,
    DUTY_WORKS,
    SOURCE_WORKS,
    Chaos,
    SickBackfills,
    SickProbe,
    SickSource,
    current,
    sick_outcomes,
    sick_send,
    works,
)
from support.chaos.plan import Plan

#: A transaction with more rows is read in parts, over temporary files; the product's own limit is 2,000.
HUGE, BATCH = 100, 60
#: Duties that hold up no delivery when they fail.
DUTIES = frozenset({"retention", "watch", "monitor", "alarm", "watchdog", "web", "endurance"})


def patch_components(chaos: Chaos) -> None:
    """Duties and dispatch fail as a whole, sick sources as a whole and inside."""
    sick = {source.name for source in chaos.plan.sources() if source.sick}
    seconds = {f"source {name}": (3 * SOURCE_WORKS[1], 6 * SOURCE_WORKS[1]) for name in sick}
    seconds |= dict.fromkeys(DUTIES, DUTY_WORKS) | {"dispatch": DISPATCH_WORKS}
    keep = cdc.runtime.components.Components.keep

    async def kept(self: Any, name: str, work: Any, stop: Any, *ending: Any) -> None:
        if name.startswith("source ") and name in seconds:
            current.set(name)
        await keep(self, name, works(chaos, name, work, seconds[name]) if name in seconds else work, stop, *ending)

    _replace(cdc.runtime.components.Components, "keep", kept)
    parts = cdc.runtime.consumer
    relay_of = parts.relay_of

    def sick_relay(source: Any, *arguments: Any, **named: Any) -> Any:
        relay = relay_of(source, *arguments, **named)
        if source.name in sick:
            relay.source = SickSource(relay.source, chaos)
            relay.backfills = SickBackfills(relay.backfills, source.name, chaos)
        return relay

    def sick_probe(source: Any, *arguments: Any) -> Any:
        probe = probe_of(source, *arguments)
        return SickProbe(probe, source.name, chaos) if source.name in sick else probe

    _replace(parts, "relay_of", sick_relay)
    _replace(parts, "probe_of", sick_probe)


def patch_dispatch(chaos: Chaos, outcomes: list[str]) -> None:
    sender, recorder = cdc.dispatch.sender.BySchemeSender, cdc.dispatch.outcome_writer
    _replace(sender, "send", sick_send(chaos, sender.send))
    _replace(recorder, "disablings", sick_outcomes(chaos, lambda: outcomes, disablings))


def patch_disk(chaos: Chaos) -> None:
    """Smaller transactions than usual go through temporary files, whose disk is full at times."""
    for name in ("JournalLimits", "LogLimits", "SlotLimits"):
        _replace(cdc.capture.base, name, partial(getattr(cdc.capture.base, name), huge=HUGE, batch=BATCH))
    for kept in (cdc.capture.spool.RecordIndex, cdc.capture.spool.Spool):
        _replace(kept, "add", _checked(chaos, kept.add))


def _checked(chaos: Chaos, add: Any) -> Any:
    def checked(self: Any, *arguments: Any, **options: Any) -> None:
        chaos.disk()
        add(self, *arguments, **options)

    return checked


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, value)


def launch(plan: str, flag: str, log: str, outcomes: str, keep: str, *arguments: str) -> None:
    chaos = Chaos(Plan.load(Path(plan)), Path(flag), Path(log))
    patch_components(chaos)
    patch_dispatch(chaos, outcomes.split(","))
    patch_disk(chaos)
    if keep == "1":
        _replace(cdc.cli.run, "stand_back", lambda _nice: None)
    sys.argv = ["cdc", *arguments]
    main()


if __name__ == "__main__":
    launch(*sys.argv[1:])
