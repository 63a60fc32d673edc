"""The source that a configuration names, and the repairs of its installation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog

from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.model.change import ReaderStore
from cdc.model.column import Capture
from cdc.model.connection import Engine
from cdc.model.errors import ConfigError, InstallError, JournalMissing, SourceError
from cdc.model.finding import Repaired
from cdc.outbox.base import OutboxStore
from cdc.runtime.capture import capture_plan, captures
from cdc.runtime.installers import installer, journal_of, mysql_installer, of_mysql, of_postgres, slot_installer
from cdc.runtime.sharing import Share, SourcePace, alone

if TYPE_CHECKING:
    from cdc.capture.base import Source
    from cdc.capture.binlog.connection import LogConnection
    from cdc.capture.moving import Bridge
    from cdc.capture.new_tables import Check, Patterns
    from cdc.capture.probe import Probe

T = TypeVar("T")

log = structlog.get_logger()


def source_of(source: SourceConfig, kept: OutboxStore, share: Share | None = None) -> Source:
    """The source that a configuration names, which moves there from where it was; not opened yet.  ``kept``: where rows
    are kept for it.

    Where its database is, is read whenever it is opened: what is wrong with it then is a `SourceError`."""
    if source.capture == "rest":
        from cdc.runtime.rest import RestParts, rest_source

        parts = RestParts.of(source, kept)
        return rest_source(source, kept, lambda: _as_source_error(parts.client))
    if source.capture == "nats":
        from cdc.runtime.bus import bus_source

        return bus_source(source, kept)
    from cdc.capture.moving import CaptureMode, MovingSource

    shared = share or alone()
    mode = CaptureMode.JOURNAL if source.capture == "triggers" else CaptureMode.LOG
    make = {
        CaptureMode.JOURNAL: lambda: _as_source_error(lambda: _journal_source(source, kept, shared)),
        CaptureMode.LOG: lambda: _as_source_error(lambda: _log_source(source, kept, shared)),
    }
    return MovingSource(source.name, mode, make, lambda: _as_source_error(lambda: _bridge(source, shared)))


def _as_source_error(make: Callable[[], T]) -> T:
    try:
        return make()
    except ConfigError as error:
        raise SourceError(error.message, error.hint) from error


def check_connections(sources: Collection[SourceConfig]) -> None:
    """Raise `ConfigError` when no source can be opened as configured.  A faulty one does not affect the others, and is
    reported in the log until it is fixed."""
    wrong: list[ConfigError] = []
    for source in sources:
        try:
            _check_connection(source)
        except ConfigError as error:
            wrong.append(error)
    if wrong and len(wrong) == len(sources):
        raise wrong[0]


def _check_connection(source: SourceConfig) -> None:
    if source.capture == "rest":
        source.rest.read_token(source.name)
    elif source.capture == "nats":
        source.nats.stream()
    elif source.capture == "triggers":
        source.connection()
    else:
        _ = of_postgres(source) if source.capture == "logical" else of_mysql(source)  # else it has no such log


def _is_postgres(source: SourceConfig) -> bool:
    return source.connection().engine is Engine.POSTGRESQL


def _journal_source(source: SourceConfig, readers: ReaderStore, share: Share) -> Source:
    from cdc.capture.base import JournalLimits
    from cdc.capture.journal.source import JournalSource

    replica = source.replica == "accept"
    journal = journal_of(source.connection(), catalogue(source), share.pace, share.watches, replica=replica)
    check = _check(source, share) if source.repair else None
    limits = JournalLimits(idle=share.pace.idle, silent=share.pace.silent, check_pause=share.pace.check)
    repair, patterns = _repair(source, share), _patterns(source, share)
    restore = _restore(source, share) if source.repair else None
    return JournalSource(
        source.name,
        journal,
        repair,
        limits,
        check=check,
        restore=restore,
        patterns=patterns,
        reread_lost=source.on_purged == "reread",
        readers=readers,
    )


def _log_source(source: SourceConfig, readers: ReaderStore, share: Share) -> Source:
    return _logical_source(source, readers, share) if _is_postgres(source) else _binlog_source(source, readers, share)


def _bridge(source: SourceConfig, share: Share) -> Bridge:
    if _is_postgres(source):
        from cdc.capture.logical.bridge import LogicalBridge

        return LogicalBridge(source.connection(), _all_triggers(source, share))
    from cdc.capture.binlog.bridge import BinlogBridge

    return BinlogBridge(source.connection(), catalogue(source).captures(), _all_triggers(source, share))


def _all_triggers(source: SourceConfig, share: Share) -> Callable[[], Awaitable[None]]:
    """Raises `SourceError` when a trigger is missing: what it does not see would be lost.

    An account that may not install may not look at triggers either: then there must be a journal at least."""

    def missing() -> bool:
        install = installer(source)
        return bool(install.plan_install(capture_plan(source, install).captures).steps)

    async def check() -> None:
        try:
            incomplete = await share.in_thread(missing)
        except InstallError as error:
            log.warning("triggers not checked", source=source.name, error=str(error))
            journal = journal_of(source.connection(), catalogue(source))
            await journal.connect()
            await journal.disconnect()
            return
        if incomplete:
            raise JournalMissing(
                f"Source {source.name!r} continues by triggers once they are all in place.", "Run cdc install-triggers."
            )

    return check


def _binlog_source(source: SourceConfig, readers: ReaderStore, share: Share) -> Source:
    from cdc.capture.base import LogLimits
    from cdc.capture.binlog.source import BinlogSource

    rules = catalogue(source)
    lookups = [rules.capture_of(table) for table in rules.lookups()]
    return BinlogSource(
        source.name,
        of_mysql(source),
        rules.captures(),
        lookups,
        reread_purged=source.on_purged == "reread",
        replica=source.replica == "accept",
        connection=_log_connection(source),
        check=_check(source, share) if source.repair else None,
        patterns=_patterns(source, share),
        limits=LogLimits(idle=share.pace.idle, silent=share.pace.silent, check_pause=share.pace.check),
        readers=readers,
    )


def _log_connection(source: SourceConfig) -> type[LogConnection]:
    if source.reader == "native":
        from cdc.capture.binlog.connection import LogConnection

        return LogConnection
    from cdc.capture.binlog.library import LibraryConnection

    return LibraryConnection


def _logical_source(source: SourceConfig, readers: ReaderStore, share: Share) -> Source:
    from cdc.capture.base import SlotLimits
    from cdc.capture.logical.source import LogicalSource

    rules = catalogue(source)
    return LogicalSource(
        source.name,
        of_postgres(source),
        rules.captures(),
        [rules.capture_of(table) for table in rules.lookups()],
        repair=_repair(source, share),
        renew=_renew(source, share),
        reread_lost=source.on_purged == "reread",
        patterns=_patterns(source, share),
        limits=SlotLimits(
            idle=share.pace.idle,
            silent=share.pace.silent,
            check_pause=share.pace.check,
            retained=source.slot_limit_mb << 20,
        ),
        readers=readers,
    )


def _renew(source: SourceConfig, share: Share) -> Callable[[], Awaitable[None]]:
    """Make publication and slot again."""

    def install() -> None:
        slots = slot_installer(source)
        slots.apply(slots.plan_install(captures(source)), lambda _title: None)

    async def renew() -> None:
        _refuse_repair(source, "cdc install-slot")
        await share.in_thread(install)

    return renew


def _refuse_repair(source: SourceConfig, command: str) -> None:
    if not source.repair:
        raise InstallError(f"Repairing is switched off for source {source.name!r}.", f"Run {command}.")


def _repair(source: SourceConfig, share: Share) -> Callable[[Sequence[str]], Awaitable[Repaired]]:
    logical = source.capture == "logical"

    async def repair(tables: Sequence[str]) -> Repaired:
        _refuse_repair(source, "cdc install-slot" if logical else "cdc install-triggers")
        install = slot_installer(source) if logical else installer(source)
        return await share.in_thread(lambda: install.repair(tables))

    return repair


def _restore(source: SourceConfig, share: Share) -> Check:
    async def restore() -> Repaired:
        def work() -> Repaired:
            install = installer(source)
            return install.restore(capture_plan(source, install).captures, source.connection().user)

        return await share.in_thread(work)

    return restore


def _patterns(source: SourceConfig, share: Share) -> Patterns:
    """Return how to capture tables that the rules need and that appear later: core tables that the ERP's wizard
    creates, a plugin's tables."""
    from cdc.capture.new_tables import Patterns

    rules = catalogue(source)
    by_binlog = source.capture == "binlog"  # which holds every table: only cascades may need triggers

    async def extend(new: Sequence[Capture]) -> Sequence[str]:
        if by_binlog:
            return await share.in_thread(lambda: mysql_installer(source).extend_cascades(new))
        install = slot_installer(source) if source.capture == "logical" else installer(source)
        return await share.in_thread(lambda: install.extend(new))

    async def nothing(_new: Sequence[Capture]) -> Sequence[str]:
        return ()

    return Patterns(
        matching=rules.captures,
        required=frozenset(rules.captured_tables()),
        extend=extend if source.repair else nothing if by_binlog else None,
        command="cdc install-slot" if source.capture == "logical" else "cdc install-triggers",
        pause=timedelta(seconds=source.new_tables_seconds * share.pace.names),
    )


def _check(source: SourceConfig, share: Share) -> Check:
    async def check() -> Repaired:
        return await share.in_thread(lambda: installer(source).repair())

    return check


def probe_of(source: SourceConfig, pace: SourcePace | None = None) -> Probe:
    """Return the probe of a source, which has a connection of its own."""
    from cdc.capture.probe import LateProbe

    return LateProbe(lambda: _as_source_error(lambda: _probe(source)), keep=(pace or SourcePace()).keep)


def _probe(source: SourceConfig) -> Probe:
    if source.capture == "rest":
        from cdc.capture.probe import RestProbe

        return RestProbe(source.rest.url or "")
    if source.capture == "nats":
        from cdc.runtime.bus import bus_probe

        return bus_probe(source)
    if source.capture == "logical":
        from cdc.capture.postgres_probe import LogicalProbe

        return LogicalProbe(source.connection())
    if source.capture == "binlog":
        from cdc.capture.mysql_probe import BinlogProbe

        return BinlogProbe(source.connection(), replica=source.replica == "accept")
    if source.connection().engine is Engine.POSTGRESQL:
        from cdc.capture.postgres_probe import PostgresJournalProbe

        return PostgresJournalProbe(source.connection())
    from cdc.capture.mysql_probe import MySQLJournalProbe

    return MySQLJournalProbe(source.connection(), replica=source.replica == "accept")
