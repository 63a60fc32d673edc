"""The one place that chooses implementations: which installer, source, outbox and sender a configuration means.

Drivers are imported where they are chosen, so that a command loads only what it needs.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from cdc.backoff import Backoff
from cdc.clock import SystemClock
from cdc.column import Capture, Table
from cdc.config import Config, SourceConfig
from cdc.config.model import OutboxConfig, SecretKeys
from cdc.connection import ConnectionInfo, Engine
from cdc.delivery import Attempt
from cdc.errors import CdcError, ConfigError, InstallError, JournalMissing, OutboxUnavailable, UsageError
from cdc.event import Event
from cdc.finding import Finding, Inspector, Severity
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.observer import Observer, Several
from cdc.outbox.base import OutboxStore
from cdc.outbox.shared import no_endpoint
from cdc.position import Position
from cdc.source.move.position import log_part
from cdc.trigger.base import Installer, Plan

if TYPE_CHECKING:
    from cdc.dispatch.dispatcher import Dispatcher
    from cdc.mapping.schema import EventType
    from cdc.outbox.transfer import Side
    from cdc.relay import Relay
    from cdc.source.base import Source
    from cdc.source.binlog.connection import LogConnection
    from cdc.source.binlog.inspector import BinlogInspector
    from cdc.source.journal_database import JournalDatabase
    from cdc.source.move.bridge import Bridge
    from cdc.source.probe import Probe
    from cdc.trigger.mysql import MySQLInstaller
    from cdc.web.reported import Reported

log = structlog.get_logger()

#: Between two tries to become the process that dispatches from an outbox.
STANDBY_SECONDS = 1.0


# -- rules ------------------------------------------------------------------------------------------------------------


def catalogue(source: SourceConfig) -> Catalogue:
    """The packaged rules with the source's own on top.  Raises `ConfigError` naming file and line."""
    rules = source.rules_text()
    return _with_options(load_catalogue(*rules) if rules else load_catalogue(), source)


def _with_options(rules: Catalogue, source: SourceConfig) -> Catalogue:
    entities = tuple(
        replace(
            entity,
            include=tuple(
                dict.fromkeys([*entity.include, *(kind for kind in source.include if kind in entity.children)])
            ),
        )
        for entity in rules.entities
    )
    return replace(rules, entities=entities, decode_html=rules.decode_html and source.html == "decode")


def catalogues(config: Config) -> list[Catalogue]:
    """One a source; the packaged one when there is no source."""
    return [catalogue(source) for source in config.source.values()] or [load_catalogue()]


def event_types(config: Config) -> list[EventType]:
    """Every event of every source, by name, once.  Tables of FacturaScripts itself are described as it creates them."""
    from cdc.facturascripts.schema import tables
    from cdc.mapping import schema

    found = {kind.name: kind for rules in catalogues(config) for kind in schema.event_types(rules, tables())}
    return list(found.values())


async def event_types_of(source: SourceConfig) -> list[EventType]:
    """The events of one source, with the columns that its captured tables have now."""
    from cdc.mapping import schema

    rules = catalogue(source)
    if source.capture == "binlog":
        return schema.event_types(rules, await asyncio.to_thread(_binlog(source).tables, rules.captures()))
    if source.capture == "logical":
        return schema.event_types(rules, await _logical_tables(source, rules.captures()))
    journal = journal_of(source.connection(), rules)
    await journal.connect()
    try:
        return schema.event_types(rules, await journal.tables())
    finally:
        await journal.disconnect()


def captures(source: SourceConfig) -> list[Capture]:
    """What to capture of this database: what the rules need and the database has.

    Raises `ConfigError` when a rule of the user's names a table or column that is not there."""
    return _checked(source, inspector(source))[0]


def readable(source: SourceConfig) -> list[Capture]:
    """What the consumer's account must be able to read: the captures, and the tables that mapping looks up."""
    wanted = captures(source)
    rules = catalogue(source)
    known = {capture.table for capture in wanted}
    return [*wanted, *(Capture(table, rules.secrets_of(table)) for table in rules.lookups() if table not in known)]


def _checked(source: SourceConfig, inspect: Inspector) -> tuple[list[Capture], list[str]]:
    """The captures, and notes on packaged rules that the database has no table for."""
    rules = catalogue(source)
    existing = inspect.existing_tables()
    notes = rules.check(existing)
    return rules.captures(existing), notes


# -- triggers ---------------------------------------------------------------------------------------------------------


def inspector(source: SourceConfig) -> Inspector:
    """What tells of the source's database, by the way in which it is captured."""
    if source.capture == "binlog":
        return _binlog(source)
    return slot_installer(source) if source.capture == "logical" else installer(source)


def _binlog(source: SourceConfig) -> BinlogInspector:
    from cdc.source.binlog.inspector import BinlogInspector

    return BinlogInspector(_of_mysql(source))


def _of_mysql(source: SourceConfig) -> ConnectionInfo:
    info = source.connection()
    if info.engine is Engine.POSTGRESQL:
        raise ConfigError(
            f"Source {source.name!r} is a PostgreSQL database, which has no binlog.", 'Write capture = "triggers".'
        )
    return info


def installer(source: SourceConfig) -> Installer:
    """The installer with the account that may install."""
    return installer_of(source.admin_connection())


def installer_of(info: ConnectionInfo) -> Installer:
    if info.engine is Engine.POSTGRESQL:
        from cdc.trigger.postgres import PostgresInstaller

        return PostgresInstaller(info)
    from cdc.trigger.mysql import MySQLInstaller

    return MySQLInstaller(info)


def plan_cascades(source: SourceConfig) -> Plan:
    """The triggers that journal what foreign keys change, for a source whose log does not tell."""
    if source.admin_connection().engine is Engine.POSTGRESQL:
        return Plan((), ("PostgreSQL's log holds what foreign keys change: no trigger is needed for that.",))
    return _mysql_installer(source).plan_cascades(captures(source))


def _mysql_installer(source: SourceConfig) -> MySQLInstaller:
    from cdc.trigger.mysql import MySQLInstaller

    return MySQLInstaller(source.admin_connection())


def slot_installer(source: SourceConfig) -> Installer:
    """The installer of publication and slot, with the account that may install."""
    from cdc.slot.postgres import SlotInstaller

    consumer = _of_postgres(source)
    return SlotInstaller(source.admin_connection(), consumer, limit=source.slot_limit_mb << 20)


def _of_postgres(source: SourceConfig) -> ConnectionInfo:
    info = source.connection()
    if info.engine is not Engine.POSTGRESQL:
        raise ConfigError(
            f"Source {source.name!r} is not a PostgreSQL database: it has no logical decoding.",
            'Write capture = "binlog" or "triggers".',
        )
    return info


# -- the consumer -----------------------------------------------------------------------------------------------------


def open_outbox(config: Config) -> OutboxStore:
    """The configured outbox; not opened yet."""
    return _outbox(config.outbox, config.outbox.secret_keys())


def _outbox(outbox: OutboxConfig, keys: SecretKeys) -> OutboxStore:
    from cdc.outbox.secret_box import SecretBox

    box = SecretBox(*keys)
    if outbox.path is None:
        from cdc.outbox.postgres import PostgresOutbox

        return PostgresOutbox(outbox.connection(), box=box)
    from cdc.outbox.sqlite import SqliteOutbox

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


def _transfer_side(outbox: OutboxConfig) -> AbstractContextManager[Side]:
    if outbox.path is None:
        from cdc.outbox.postgres_transfer import postgres_side

        return postgres_side(outbox.connection())
    from cdc.outbox.sqlite_transfer import sqlite_side

    return sqlite_side(outbox.path)


def outbox_script() -> str:
    """What a DBA runs to make the outbox's tables in PostgreSQL."""
    from cdc.outbox.postgres_migrate import migration_script

    return migration_script()


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
        _ = _of_postgres(source) if source.capture == "logical" else _of_mysql(source)  # else it has no such log
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
        return bool(install.plan_install(_checked(source, install)[0]).steps)

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
        _of_mysql(source),
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
        _of_postgres(source),
        rules.captures(),
        [Capture(table, rules.secrets_of(table)) for table in rules.lookups()],
        repair=_repair(source),
        renew=_renew(source),
        reread_lost=source.on_purged == "reread",
        limits=Limits(retained=source.slot_limit_mb << 20),
    )


async def _logical_tables(source: SourceConfig, captured: Sequence[Capture]) -> Mapping[str, Table]:
    from cdc.source.logical.slot import captured_tables

    return await captured_tables(_of_postgres(source), captured)


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


def _relay(source: SourceConfig, store: OutboxStore, stored: Callable[[], None], observer: Observer) -> Relay:
    from cdc.mapping.mapper import Mapper
    from cdc.relay import Relay

    return Relay(source_of(source), Mapper(catalogue(source)), store, SystemClock(), stored, observer)


class Role(StrEnum):
    """What of the consumer's work a process does."""

    ALL = "all"
    CAPTURE = "capture"
    DISPATCH = "dispatch"


async def run(config: Config, stop: asyncio.Event, role: Role = Role.ALL) -> None:
    """Relay every source and dispatch, or one of both, until ``stop`` is set, then end within ten seconds."""
    from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
    from cdc.dispatch.sender import HttpSender
    from cdc.web.reported import Reported

    if not config.source and role is not Role.DISPATCH:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    sources = {} if role is Role.DISPATCH else config.source
    store = open_outbox(config)
    reported = Reported(SystemClock(), tuple(sources))
    try:
        if not await _open_in_time(store, stop):
            return
        async with HttpSender(config.dispatch.allow_private) as sender, _observing(config, reported) as observer:
            settings = DispatchSettings(
                worker=_worker(config),
                concurrency=config.dispatch.concurrency,
                lease=config.dispatch.lease_seconds,
                grace=config.dispatch.stop_seconds,
            )
            dispatcher = Dispatcher(store, sender, SystemClock(), settings, observer=observer)
            relays = [_relay(source, store, dispatcher.notify, observer) for source in sources.values()]
            works = []
            if role is Role.CAPTURE:
                reported.dispatching(active=False)
            else:
                store.on_write(dispatcher.notify)
                works.append(_dispatch(dispatcher, store, stop, observer))
            if config.web.listen:
                works.append(_serve(config, store, relays, reported, stop))
            await _run_all(relays, dispatcher, works, stop)
    finally:
        await store.close()


@asynccontextmanager
async def _observing(config: Config, reported: Reported) -> AsyncIterator[Observer]:
    """What relays and dispatch report to: ``reported``, and traces where they are configured."""
    if not config.tracing.endpoint:
        yield reported
        return
    try:
        from cdc.web.traces import Traces
    except ImportError as error:
        raise ConfigError(
            "Traces are configured ([tracing] endpoint), and OpenTelemetry is not installed.",
            'Install it with: pip install "facturascripts-cdc[tracing]"',
        ) from error
    traces = Traces.to_collector(config.tracing.endpoint, config.tracing.sample, SystemClock())
    try:
        yield Several(reported, traces)
    finally:
        await asyncio.to_thread(traces.close)


async def _open_in_time(store: OutboxStore, stop: asyncio.Event) -> bool:
    """Whether it is open before ``stop``: a server that is not there yet is waited for."""
    backoff = Backoff(first=0.5, most=10.0)
    while not stop.is_set():
        try:
            await store.open()
        except OutboxUnavailable as error:
            delay = backoff.next()
            log.error("outbox failed", error=str(error), retry_in=round(delay, 1))
            await SystemClock().wait(stop, delay)
        else:
            return True
    return False


def _worker(config: Config) -> str:
    """This process's name in leases: the same after a restart, where that cannot be the name of another one."""
    host = socket.gethostname()
    return config.dispatch.worker or (f"{host}-{os.getpid()}" if config.outbox.path is None else host)


async def _dispatch(dispatcher: Dispatcher, store: OutboxStore, stop: asyncio.Event, observer: Observer) -> None:
    """Dispatch, as soon as no other process does from this outbox: nothing tells when that one ends."""
    clock = SystemClock()
    if not await store.become_dispatcher():
        observer.dispatching(active=False)
        log.info("standby for dispatch", reason="another process dispatches from this outbox")
        while not await store.become_dispatcher():
            if await clock.wait(stop, STANDBY_SECONDS):
                return
        log.info("took over dispatch")
    observer.dispatching(active=True)
    await dispatcher.run()


async def _serve(
    config: Config, store: OutboxStore, relays: Iterable[Relay], reported: Reported, stop: asyncio.Event
) -> None:
    """Health and metrics, and the questions that they answer from."""
    from cdc.web.health import Bounds
    from cdc.web.monitor import Monitor, Watched
    from cdc.web.server import health_app, serve

    clock = SystemClock()
    watched = {
        relay.source.name: Watched(relay.source, _probe(config.select_source(relay.source.name))) for relay in relays
    }
    monitor = Monitor(store, watched, reported, clock)
    bounds = Bounds(timedelta(seconds=config.web.stalled_seconds), timedelta(seconds=config.web.overdue_seconds))
    async with asyncio.TaskGroup() as group:
        group.create_task(monitor.run(stop))
        group.create_task(serve(health_app(monitor, bounds, clock), config.web.listen, stop))


def _probe(source: SourceConfig) -> Probe:
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


async def _run_all(
    relays: Iterable[Relay],
    dispatcher: Dispatcher,
    works: Iterable[Coroutine[None, None, None]],
    stop: asyncio.Event,
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
            for relay in relays:
                group.create_task(relay.run(stop))
            await stop.wait()
            log.info("stopping")
            # beside the relays, not after them: a database that is slow to leave must not eat the grace
            dispatcher.stop()
    except ExceptionGroup as failed:
        raise _first(failed) from None
    log.info("stopped")


def _first(error: Exception) -> Exception:
    """The first error of a group, which is what there is to say."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


# -- the doctor -------------------------------------------------------------------------------------------------------


def examine(source: SourceConfig, position: Position | None = None) -> list[Finding]:
    """Every check of one source.  What stops the examination is a finding like the others.

    ``position``: where its consumer stands, if that is known."""
    try:
        inspect = inspector(source)
        wanted, notes = _checked(source, inspect)
        findings = [Finding("rules", Severity.OK, f"{len(wanted)} tables to capture")]
        findings += [Finding("rules", Severity.WARNING, note) for note in notes]
        findings += _two_ways(source, position, wanted)
        if source.capture == "binlog":
            return findings + _binlog(source).findings(readable(source), log_part(position))
        return findings + inspect.findings(wanted)
    except CdcError as error:
        return [Finding("source", Severity.WRONG, error.message, error.hint)]


def _two_ways(source: SourceConfig, position: Position | None, wanted: Sequence[Capture]) -> list[Finding]:
    """What is to be said where one way to capture follows another, or helps it."""
    by_log = source.capture != "triggers"
    if position is not None and by_log == (log_part(position) is None):
        detail = f"cdc run moves to {source.capture} when it is started next, and loses nothing."
        return [Finding("moving", Severity.WARNING, detail, "cdc run")]
    if source.capture == "binlog" and (helping := _mysql_installer(source).cascade_findings(wanted)) is not None:
        return helping
    if by_log and installer(source).plan_uninstall().steps:
        detail = f"Triggers are installed although the log is read ({source.capture}): every write pays for them."
        return [Finding("triggers", Severity.WARNING, detail, "cdc uninstall-triggers")]
    return []


# -- a test of an endpoint --------------------------------------------------------------------------------------------


async def send_test(config: Config, endpoint_id: str, event_name: str) -> Attempt:
    """Send one event to this endpoint now, whatever its patterns, and nothing else; the attempt.

    A test that fails is dead at once.  Of one that is interrupted the lease expires: `cdc run` sends it then.  Raises
    `UsageError` when there is no such endpoint, or it is disabled: nothing is sent to it then.
    """
    from cdc.dispatch.dispatcher import LEASE_MARGIN
    from cdc.dispatch.sender import HttpSender
    from cdc.dispatch.single import attempt_once

    clock = SystemClock()
    worker = f"{socket.gethostname()}-test-{os.getpid()}"
    store = open_outbox(config)
    await store.open()
    try:
        endpoint = await store.endpoint(endpoint_id)
        if endpoint is None:
            raise no_endpoint(endpoint_id)
        now = clock.now()
        until = now + timedelta(seconds=endpoint.timeout + LEASE_MARGIN)
        delivery = await store.send_test(endpoint_id, _test_event(event_name, now), worker, now, until)
        async with HttpSender(config.dispatch.allow_private) as sender:
            outcome = await attempt_once(sender, delivery, endpoint, clock)
        await store.finish(worker, [outcome], clock.now())
        return outcome.attempt
    finally:
        await store.close()


def _test_event(name: str, now: datetime) -> Event:
    token = secrets.token_hex(16)
    row = {"test": token, "message": "A test of this endpoint: no record was changed."}
    return Event(
        id=f"evt_{token}",
        name=name,
        source="test",
        table="test",
        record=f"test:{token}",
        key={"test": token},
        data=row,
        previous=None,
        time=now,
        transaction=token,
    )
