"""The outbox that a configuration names, and moving from one to another; the outbox that each journal expects: read
before an outbox is created, by the doctor, and when one is adopted.

Only sources that are captured by triggers know their outbox; a log is read again from an older outbox's position."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cdc.config import Config, SourceConfig
from cdc.config.section import OutboxConfig, SecretKeys
from cdc.model.audit import Note
from cdc.model.change import Gap, Operation, Position, check_present
from cdc.model.clock import SystemClock
from cdc.model.errors import CdcError, OutboxError, OutboxLost, OutboxMissing, UsageError
from cdc.model.finding import Finding, Severity, named
from cdc.model.operation import source_gap
from cdc.model.worker import ProcessRole
from cdc.outbox.base import Fence
from cdc.outbox.store import OutboxStore

if TYPE_CHECKING:
    from cdc.capture.journal.database import JournalDatabase, JournalPosition, Marker
    from cdc.outbox.departures import Moved
    from cdc.outbox.postgres.outbox import PostgresOutbox
    from cdc.outbox.postgres.schema import OutboxAccount
    from cdc.outbox.sqlite.outbox import SqliteOutbox
    from cdc.outbox.transfer import Side


def free_space(config: Config) -> int | None:
    """Return the free bytes on the disk of the outbox's file; None without such a file or its folder."""
    if config.outbox.path is None:
        return None
    try:
        return shutil.disk_usage(config.outbox.path.resolve().parent).free
    except FileNotFoundError:
        return None


def open_outbox(config: Config) -> OutboxStore:
    """The configured outbox; not opened yet."""
    return outbox_of(config.outbox)


def outbox_of(outbox: OutboxConfig) -> OutboxStore:
    return _outbox(outbox, outbox.secret_keys())


async def require(config: Config, store: OutboxStore) -> None:
    """Raise `OutboxMissing` unless the configured outbox exists: nothing but an explicit step creates one, for an empty
    outbox would take changes without any endpoint."""
    if not await store.exists():
        raise OutboxMissing(
            f"There is no outbox {config.outbox.describe()}.",
            "If there was one, restore it from a backup: docs/operations.md.  Before the first cdc run create it: "
            "cdc outbox create, or cdc endpoint add.",
        )


async def create(config: Config, store: OutboxStore, *, anyway: bool = False) -> bool:
    """Create the configured outbox unless it exists, and return whether it was created.  Raises `OutboxMissing` when a
    source was read by an outbox that is not there, unless ``anyway``."""
    if await store.exists():
        return False
    if not anyway and (source := await expecting(config)) is not None:
        raise OutboxMissing(
            f"There is no outbox {config.outbox.describe()}, but one has read source {source!r}.",
            "Restore it from a backup: docs/operations.md.  To begin with an empty one: cdc outbox create --anyway, "
            f"cdc endpoint add for each endpoint, cdc source adopt {source}.  In a new cell, to which the source is to "
            "move: cdc outbox create --anyway, cdc source move-outbox.",
        )
    try:
        await store.open()
    finally:
        await store.close()
    return True


async def save_lost(store: OutboxStore, lost: OutboxLost) -> OutboxLost:
    """Save what a lost outbox holds, and return the error with the place of it."""
    try:
        saved = await store.save(SystemClock().now())
    except OutboxError as error:
        return OutboxLost(f"{lost.message} Its content could not be saved: {error.message}", lost.hint)
    if saved is None:
        return lost
    return OutboxLost(
        f"{lost.message} Its content was saved as {saved}.",
        f"Move that file to its place (without any -wal and -shm file beside it) and start again.  {lost.hint}",
    )


def _outbox(outbox: OutboxConfig, keys: SecretKeys) -> PostgresOutbox | SqliteOutbox:
    from cdc.outbox.secret_box import SecretBox

    box = SecretBox(keys.keys, keys.where, seal_payloads=keys.seal_payloads)
    if outbox.path is None:
        from cdc.outbox.postgres.outbox import PostgresOutbox

        return PostgresOutbox(outbox.connection(), box=box)
    from cdc.outbox.sqlite.outbox import SqliteOutbox

    return SqliteOutbox(outbox.path, box=box)


async def migrate_outbox(
    source: OutboxConfig, target: OutboxConfig, keys: SecretKeys, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Move everything to an empty outbox; the source stays as it is.  How many rows of each table were moved.

    ``progress``: table, rows done, rows in all."""
    from cdc.outbox.transfer import move

    if source.path is not None and not source.path.exists():
        raise UsageError(f"There is no outbox {source.path}.", "Name an existing one first, a new one second.")
    for each in (source, target):
        store = _outbox(each, keys)
        try:
            await store.open()  # makes the schema, or brings it up to date
        finally:
            await store.close()

    def work() -> dict[str, int]:
        with _transfer_side(source) as there, _transfer_side(target) as here:
            return {part.value: count for part, count in move(there, here, SystemClock().now(), progress).items()}

    return await asyncio.to_thread(work)


async def move_source(
    old: Config,
    new: Config,
    source: str,
    actor: str,
    *,
    named: Sequence[str] = (),
    left: Sequence[str] = (),
    log: bool = False,
    dry_run: bool = False,
    at: Callable[[str], None] = lambda _step: None,
) -> Moved:
    """Move a source from the outbox of one configuration to that of another; the other parameters: see `Wish` and
    `SourceMove`.  Raises `UsageError` when it cannot be moved as asked."""
    from cdc.outbox.departures import Cell, SourceMove, Wish

    places = (old.outbox, new.outbox)
    stores = [_outbox(each, each.secret_keys()) for each in places]
    here, there = (Cell(store, each.describe()) for store, each in zip(stores, places, strict=True))
    if here.name == there.name:
        raise UsageError(f"{here.name} is the outbox of both configurations.", "Name that of another cell.")
    async with AsyncExitStack() as stack:
        for store, each in zip(stores, places, strict=True):
            if not await store.exists():
                raise OutboxMissing(f"There is no outbox {each.describe()}.", "cdc outbox create, in its own cell")
            stack.push_async_callback(store.close)
            await store.open()
        move = SourceMove(Wish(source, named, left, log, actor), here, there, SystemClock(), at)
        return await (move.preview() if dry_run else move.run())


def _transfer_side(outbox: OutboxConfig) -> AbstractContextManager[Side]:
    if outbox.path is None:
        from cdc.outbox.postgres.transfer import postgres_side

        return postgres_side(outbox.connection())
    from cdc.outbox.sqlite.file import sqlite_side

    return sqlite_side(outbox.path)


def back_up_outbox(outbox: OutboxConfig, target: Path) -> int:
    """A copy of it in the file ``target``; its size in bytes.  Raises `UsageError` for one in PostgreSQL."""
    if outbox.path is None:
        info = outbox.connection()
        raise UsageError(
            f"The outbox in {info.describe()} is backed up by its server's own tools.",
            f"pg_dump --schema=cdc_outbox --format=custom --host={info.host} --port={info.port} "
            f"--username={info.user} --file={target} {info.database}",
        )
    from cdc.outbox.sqlite.file import back_up

    return back_up(outbox.path, target)


async def describe_schema(outbox: OutboxConfig) -> dict[str, object]:
    """Describe the tables of an opened outbox, and their version: no row of them."""
    if outbox.path is None:
        from cdc.outbox.postgres.schema import read_schema

        return await read_schema(outbox.connection())
    from cdc.outbox.sqlite.file import read_schema as read_file_schema

    return read_file_schema(outbox.path)


async def check_account(config: Config, role: ProcessRole) -> bool:
    """Return whether the account of the outbox may serve the page.  Raises `OutboxError` when it may not do the work of
    this role."""
    account = await _account(config.outbox)
    if account is None:
        return True
    if lacking := account.lacks(role):
        others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise OutboxError(
            f"The account {account.name} of the outbox lacks {lacking[0]}{others}, which cdc run --role {role} needs.",
            "As the owner of the schema run what cdc outbox grants prints (for one account for everything: the end of "
            "cdc outbox sql), again after each cdc outbox upgrade; or start the role that the account is for.",
        )
    return not account.lacks(ProcessRole.WEB)


async def account_finding(outbox: OutboxConfig) -> Finding | None:
    """Check what the account may do; None where the outbox is a file."""
    account = await _account(outbox)
    if account is None:
        return None
    fix = "cdc outbox grants, run by the owner of the schema"
    roles = ", ".join(account.roles)
    if account.mighty:
        detail = f"{account.name} is a superuser, makes roles, or creates objects, which no cdc needs."
        return Finding("account", Severity.WARNING, detail, f"Name another in [outbox] url: {fix}")
    if account.owner or ProcessRole.ALL in account.roles:
        what = "owns the tables" if account.owner else "may read and write all tables"
        return Finding("account", Severity.OK, f"one for everything: {account.name} {what}")
    if not roles:
        lacking, role = account.nearest()
        detail = f"{account.name} lacks {named([str(each) for each in lacking])}, which cdc run --role {role} needs."
        return Finding("account", Severity.WRONG, detail, fix)
    if surplus := account.surplus:
        detail = f"{account.name}, for {roles}, may do more: {named([str(each) for each in surplus])}."
        return Finding("account", Severity.WARNING, detail, fix)
    return Finding("account", Severity.OK, f"{account.name} may do what {roles} needs, and nothing else")


async def roles_of(outbox: OutboxConfig) -> set[ProcessRole]:
    """Return the roles of processes for which the account has the rights; of a file all."""
    account = await _account(outbox)
    return set(ProcessRole) if account is None else set(account.roles)


async def _account(outbox: OutboxConfig) -> OutboxAccount | None:
    if outbox.path is not None:
        return None
    from cdc.outbox.postgres.schema import read_account

    return await read_account(outbox.connection())


def grants_script(outbox: OutboxConfig, prefix: str) -> str:
    """Return the SQL of an account for each role of a process.  ``prefix``: of their names; empty: the database's
    name.  Raises `UsageError` for an outbox in a file."""
    if outbox.path is not None:
        raise UsageError("A SQLite outbox has no accounts: who may read the file may do everything.", "docs/scale.md")
    from cdc.outbox.postgres.schema import grants_script as script

    database = outbox.connection().database
    return script(database, prefix or database)


def outbox_script() -> str:
    """Return the script with which a DBA creates the outbox's tables in PostgreSQL."""
    from cdc.outbox.postgres.schema import migration_script

    return migration_script()


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


async def marker_finding(source: SourceConfig, store: OutboxStore) -> Finding | None:
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


async def adoption(source: SourceConfig, store: OutboxStore) -> Adoption:
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


async def adopt(source: SourceConfig, store: OutboxStore, note: Note = ()) -> list[str]:
    """Accept this outbox for a source whose journal was read by another one, or by a newer state of this one, and
    return the tables that are read again for that.  Raises `UsageError` when there is nothing to accept."""
    found, now = await adoption(source, store), SystemClock().now()
    events = [source_gap(source.name, Gap(table, Operation.READ, now)) for table in found.tables]
    await store.store(source.name, found.position, events, {}, now, fence=Fence(found.stored), note=note)
    return found.tables


async def _position(source: SourceConfig, store: OutboxStore) -> JournalPosition | None:
    """Return where the outbox is in the journal; None when the source was read in another way until now."""
    from cdc.capture.journal.database import MOVED, JournalPosition
    from cdc.capture.moving import CaptureMode, captured, read_position

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
    from cdc.config.rules import catalogue
    from cdc.runtime.capture import journal_of

    journal = journal_of(source.connection(), catalogue(source))
    try:
        await journal.connect()
        return await question(journal)
    finally:
        await journal.disconnect()
