"""Which source a configuration means, and what keeps it in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from cdc.column import Capture
from cdc.config import SourceConfig
from cdc.connection import ConnectionInfo, Engine
from cdc.errors import InstallError, JournalMissing
from cdc.mapping.catalogue import Catalogue
from cdc.service.capture import captures, checked
from cdc.service.installers import installer, of_mysql, of_postgres, slot_installer
from cdc.service.rules import catalogue

if TYPE_CHECKING:
    from cdc.source.base import Source
    from cdc.source.binlog.connection import LogConnection
    from cdc.source.journal_database import JournalDatabase
    from cdc.source.move.bridge import Bridge
    from cdc.source.probe import Probe

log = structlog.get_logger()


def journal_of(info: ConnectionInfo, rules: Catalogue) -> JournalDatabase:
    """The journal of a database that is read by these rules."""
    captured = rules.captures()
    names = {capture.table for capture in captured}
    lookups = [Capture(table, rules.secrets_of(table)) for table in rules.lookups() if table not in names]
    if info.engine is Engine.POSTGRESQL:
        from cdc.source.journal_postgres import PostgresJournal

        return PostgresJournal(info, captured, lookups)
    from cdc.source.journal_mysql import MySQLJournal

    return MySQLJournal(info, [*captured, *lookups])


def source_of(source: SourceConfig) -> Source:
    """The source that a configuration names, which moves there from where it was; not opened yet."""
    from cdc.source.move.position import Way
    from cdc.source.move.source import MovingSource

    if source.capture != "triggers":
        _ = of_postgres(source) if source.capture == "logical" else of_mysql(source)  # else it has no such log
    way = Way.JOURNAL if source.capture == "triggers" else Way.LOG
    postgres = source.connection().engine is Engine.POSTGRESQL
    log_source = _logical_source if postgres else _binlog_source
    bridge = _logical_bridge if postgres else _binlog_bridge
    make = {Way.JOURNAL: lambda: _journal_source(source), Way.LOG: lambda: log_source(source)}
    return MovingSource(source.name, way, make, lambda: bridge(source))


def _journal_source(source: SourceConfig) -> Source:
    from cdc.source.journal import JournalSource

    journal = journal_of(source.connection(), catalogue(source))
    check = _check(source) if source.repair else None
    return JournalSource(source.name, journal, _repair(source), check=check)


def _logical_bridge(source: SourceConfig) -> Bridge:
    from cdc.source.logical.bridge import LogicalBridge

    return LogicalBridge(source.connection(), _all_triggers(source))


def _binlog_bridge(source: SourceConfig) -> Bridge:
    from cdc.source.binlog.bridge import BinlogBridge

    return BinlogBridge(source.connection(), catalogue(source).captures(), _all_triggers(source))


def _all_triggers(source: SourceConfig) -> Callable[[], Awaitable[None]]:
    """Raises `SourceError` when a trigger is missing: what it does not see would be lost.

    An account that may not install may not look at triggers either: then there must be a journal at least."""

    def missing() -> bool:
        install = installer(source)
        return bool(install.plan_install(checked(source, install)[0]).steps)

    async def check() -> None:
        try:
            incomplete = await asyncio.to_thread(missing)
        except InstallError as error:
            log.warning("triggers not checked", source=source.name, error=str(error))
            journal = journal_of(source.connection(), catalogue(source))
            await journal.connect()
            await journal.disconnect()
            return
        if incomplete:
            raise JournalMissing(
                f"Source {source.name!r} goes on by triggers once they are all in place.", "Run cdc install-triggers."
            )

    return check


def _binlog_source(source: SourceConfig) -> Source:
    from cdc.source.binlog.source import BinlogSource

    rules = catalogue(source)
    lookups = [Capture(table, rules.secrets_of(table)) for table in rules.lookups()]
    return BinlogSource(
        source.name,
        of_mysql(source),
        rules.captures(),
        lookups,
        reread_purged=source.on_purged == "reread",
        connection=_log_connection(source),
        check=_check(source) if source.repair else None,
    )


def _log_connection(source: SourceConfig) -> type[LogConnection]:
    if source.reader == "native":
        from cdc.source.binlog.connection import LogConnection

        return LogConnection
    from cdc.source.binlog.library import LibraryConnection

    return LibraryConnection


def _logical_source(source: SourceConfig) -> Source:
    from cdc.source.logical.source import Limits, LogicalSource

    rules = catalogue(source)
    return LogicalSource(
        source.name,
        of_postgres(source),
        rules.captures(),
        [Capture(table, rules.secrets_of(table)) for table in rules.lookups()],
        repair=_repair(source),
        renew=_renew(source),
        reread_lost=source.on_purged == "reread",
        limits=Limits(retained=source.slot_limit_mb << 20),
    )


def _renew(source: SourceConfig) -> Callable[[], Awaitable[None]]:
    """Make publication and slot again."""

    def install() -> None:
        slots = slot_installer(source)
        slots.apply(slots.plan_install(captures(source)), lambda _title: None)

    async def renew() -> None:
        _refuse_repair(source, "cdc install-slot")
        await asyncio.to_thread(install)

    return renew


def _refuse_repair(source: SourceConfig, command: str) -> None:
    if not source.repair:
        raise InstallError(f"Repairing is switched off for source {source.name!r}.", f"Run {command}.")


def _repair(source: SourceConfig) -> Callable[[Sequence[str]], Awaitable[None]]:
    logical = source.capture == "logical"

    async def repair(tables: Sequence[str]) -> None:
        _refuse_repair(source, "cdc install-slot" if logical else "cdc install-triggers")
        install = slot_installer(source) if logical else installer(source)
        await asyncio.to_thread(install.repair, tables)

    return repair


def _check(source: SourceConfig) -> Callable[[], Awaitable[Sequence[str]]]:
    async def check() -> Sequence[str]:
        return await asyncio.to_thread(lambda: installer(source).repair())

    return check


def probe_of(source: SourceConfig) -> Probe:
    """What looks at the source from outside, over a connection of its own."""
    if source.capture == "logical":
        from cdc.source.logical.probe import LogicalProbe

        return LogicalProbe(source.connection())
    if source.capture == "binlog":
        from cdc.source.binlog.probe import BinlogProbe

        return BinlogProbe(source.connection())
    if source.connection().engine is Engine.POSTGRESQL:
        from cdc.source.probe_postgres import PostgresJournalProbe

        return PostgresJournalProbe(source.connection())
    from cdc.source.probe_mysql import MySQLJournalProbe

    return MySQLJournalProbe(source.connection())
