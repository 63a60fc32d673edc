"""The outbox that each journal expects: read before an outbox is created, by the doctor, and when one is adopted.

Only sources that are captured by triggers know their outbox; a log is read again from an older outbox's position.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cdc.capture.journal.database import MOVED, JournalPosition, Marker
from cdc.capture.moving import CaptureMode, captured, read_position
from cdc.config import Config, SourceConfig
from cdc.config.rules import catalogue
from cdc.model.audit import Note
from cdc.model.change import Gap, Operation, Position, check_present
from cdc.model.clock import SystemClock
from cdc.model.errors import CdcError, UsageError
from cdc.model.finding import Finding, Severity
from cdc.model.operation import source_gap
from cdc.outbox.base import Fence, IngestStore
from cdc.runtime.installers import journal_of

if TYPE_CHECKING:
    from cdc.capture.journal.database import JournalDatabase

T = TypeVar("T")


async def expecting(config: Config) -> str | None:
    """Return a source whose journal was read by an outbox.  One that does not answer is left out: it checks for itself
    when it is opened."""
    for source in config.source.values():
        if source.capture == "triggers":
            try:
                marker = await _ask(source, lambda journal: journal.marker())
            except CdcError:
                continue
            if marker is not None and marker.outbox:
                return source.name
    return None


async def finding(source: SourceConfig, store: IngestStore) -> Finding | None:
    """Return the doctor's check whether the outbox holds what its journal does not hold any more; None where there is
    nothing to check, or another check reports why."""
    if source.capture != "triggers":
        return None
    try:
        marker = await _ask(source, lambda journal: journal.marker())
        position = await _position(source, store)  # after the marker: a running consumer moves both
    except CdcError:
        return None
    if marker is None:
        detail = "The journal cannot note which outbox reads it, so a lost or older outbox is not recognised."
        return Finding("outbox", Severity.WARNING, detail, "cdc install-triggers, and what cdc grants prints")
    if position is not None and position.outdated(marker):
        detail = "Changes were deleted from the journal that this outbox does not hold."
        return Finding("outbox", Severity.WRONG, detail, f"Restore the right outbox, or cdc source adopt {source.name}")
    return Finding("outbox", Severity.OK, "the journal knows it" if marker.outbox else "none has read the journal yet")


class Adoption(NamedTuple):
    """``position``: the one to store in place of ``stored``; ``tables``: those that are read again for that."""

    position: Position
    stored: Position | None
    tables: list[str]


async def adoption(source: SourceConfig, store: IngestStore) -> Adoption:
    """Return what `adopt` would do.  Raises `UsageError` when there is nothing to accept."""
    if source.capture != "triggers":
        raise UsageError(
            f"Source {source.name!r} is captured by {source.capture}: it continues from any outbox.", "Run cdc run."
        )

    async def found(journal: JournalDatabase) -> tuple[Marker | None, list[str]]:
        return await journal.marker(), sorted(await journal.tables())

    marker, tables = await _ask(source, found)
    stored = await store.position(source.name)
    position = await _position(source, store)
    if marker is None or position is None or not position.outdated(marker):
        raise UsageError(f"Source {source.name!r} continues from this outbox without that.", "Run cdc run.")
    return Adoption(position.adopting(marker, tables).dump(), stored, tables)


async def adopt(source: SourceConfig, store: IngestStore, note: Note = ()) -> list[str]:
    """Accept this outbox for a source whose journal was read by another one, or by a newer state of this one, and
    return the tables that are read again for that.  Raises `UsageError` when there is nothing to accept."""
    found, now = await adoption(source, store), SystemClock().now()
    events = [source_gap(source.name, Gap(table, Operation.READ, now)) for table in found.tables]
    await store.store(source.name, found.position, events, {}, now, fence=Fence(found.stored), note=note)
    return found.tables


async def _position(source: SourceConfig, store: IngestStore) -> JournalPosition | None:
    """Return where the outbox is in the journal; None when the source was read in another way until now."""
    stored = await store.position(source.name)
    check_present(source.name, stored)
    position = captured(stored)
    if position is None:
        return JournalPosition() if stored is None else None
    if read_position(position) is not CaptureMode.JOURNAL:
        return None
    found = JournalPosition.load(position)
    return None if found.marker == MOVED else found


async def _ask(source: SourceConfig, question: Callable[[JournalDatabase], Awaitable[T]]) -> T:
    journal = journal_of(source.connection(), catalogue(source))
    try:
        await journal.connect()
        return await question(journal)
    finally:
        await journal.disconnect()
