"""The source that a configuration names, by each way to capture, and the repairs of its installation."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from cdc.capture.bus import BusProbe, BusSettings, BusSource, StreamPosition, missing
from cdc.capture.probe import Probe
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.config.section import OutboxConfig
from cdc.config.source import RestResource
from cdc.extras import install_hint
from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE, Catalogue
from cdc.mapping.rule import LINES
from cdc.model.broker import EventStream, StreamState
from cdc.model.change import Position, ReaderStore, RefusalStore, Row, SnapshotStore
from cdc.model.clock import SystemClock
from cdc.model.column import Capture, ColumnKind
from cdc.model.connection import Engine
from cdc.model.errors import ConfigError, InstallError, JournalMissing, SourceError
from cdc.model.finding import Finding, Repaired, Severity
from cdc.outbox.store import OutboxStore
from cdc.runtime.capture import (
    capture_plan,
    captures,
    installer,
    journal_of,
    mysql_installer,
    of_mysql,
    of_postgres,
    slot_installer,
)
from cdc.runtime.outboxes import outbox_of
from cdc.runtime.sharing import Share, SourcePace, alone

if TYPE_CHECKING:
    from cdc.capture.base import Source
    from cdc.capture.binlog.connection import LogConnection
    from cdc.capture.moving import Bridge
    from cdc.capture.probe import Probe
    from cdc.capture.rest.client import ApiClient, BanGuard, Budget
    from cdc.capture.rest.reader import Resource
    from cdc.capture.rest.source import RestSource
    from cdc.capture.source import Check, Patterns


T = TypeVar("T")

log = structlog.get_logger()


def source_of(source: SourceConfig, store: OutboxStore, share: Share | None = None) -> Source:
    """Return the source that a configuration names, which moves there from its former capture mode; not opened yet.
    ``store``: stores its rows.

    Where its database is, is read whenever it is opened: what is wrong with it then is a `SourceError`."""
    if source.capture == "rest":
        from cdc.runtime.sources import RestParts, rest_source

        parts = RestParts.from_config(source, store)
        return rest_source(source, store, lambda: _as_source_error(parts.client))
    if source.capture == "nats":
        from cdc.runtime.sources import bus_source

        return bus_source(source, store)
    from cdc.capture.moving import CaptureMode, MovingSource

    shared = share or alone()
    mode = CaptureMode.JOURNAL if source.capture == "triggers" else CaptureMode.LOG
    make = {
        CaptureMode.JOURNAL: lambda: _as_source_error(lambda: _journal_source(source, store, shared)),
        CaptureMode.LOG: lambda: _as_source_error(
            lambda: (_logical_source if _is_postgres(source) else _binlog_source)(source, store, shared)
        ),
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


def _bridge(source: SourceConfig, share: Share) -> Bridge:
    if _is_postgres(source):
        from cdc.capture.logical.source import LogicalBridge

        return LogicalBridge(source.connection(), _all_triggers(source, share))
    from cdc.capture.binlog.source import BinlogBridge

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
    from cdc.capture.source import Patterns

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


def probe_of(source: SourceConfig, pace: SourcePace | None = None, trying: asyncio.Lock | None = None) -> Probe:
    """Return the probe of a source, which has a connection of its own.  ``trying``: held while it tries another one;
    None: it tries none, as with sources that have no database."""
    from cdc.capture.probe import LateProbe

    pace = pace or SourcePace()
    return LateProbe(
        lambda: _as_source_error(lambda: _probe(source)),
        keep=pace.keep,
        trying=trying if source.has_database else None,
        try_every=pace.sign_in,
    )


def _probe(source: SourceConfig) -> Probe:
    if source.capture == "rest":
        from cdc.capture.probe import RestProbe

        return RestProbe(source.rest.url or "")
    if source.capture == "nats":
        from cdc.runtime.sources import bus_probe

        return bus_probe(source)
    if source.capture == "logical":
        from cdc.capture.logical.source import LogicalProbe

        return LogicalProbe(source.connection())
    if source.capture == "binlog":
        from cdc.capture.binlog.source import BinlogProbe

        return BinlogProbe(source.connection(), replica=source.replica == "accept")
    if source.connection().engine is Engine.POSTGRESQL:
        from cdc.capture.journal.postgres import PostgresJournalProbe

        return PostgresJournalProbe(source.connection())
    from cdc.capture.journal.mysql import MySQLJournalProbe

    return MySQLJournalProbe(source.connection(), replica=source.replica == "accept")


#: Seconds that a command waits before a request at most.
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class RestParts:
    """The parts that outlive a connection to the API: requests and refusals.  ``patience``: as of `ApiClient`."""

    source: SourceConfig
    budget: Budget
    guard: BanGuard
    patience: float = math.inf

    @classmethod
    def from_config(cls, source: SourceConfig, store: RefusalStore, patience: float = math.inf) -> RestParts:
        from cdc.capture.rest.client import BanGuard, Budget, place_of

        clock = SystemClock()
        guard = BanGuard(place_of(source.rest.url or ""), store, clock)
        return cls(source, Budget(source.rest.requests_per_minute, clock), guard, patience)

    def client(self) -> ApiClient:
        """Reads the token now; raises `ConfigError`."""
        from cdc.capture.rest.client import ApiClient

        rest = self.source.rest
        assert rest.url is not None, "guaranteed by SourceConfig"
        token = rest.read_token(self.source.name)
        return ApiClient(rest.url, token, self.budget, self.guard, patience=self.patience)


def rest_source(source: SourceConfig, store: SnapshotStore, connect: Callable[[], ApiClient]) -> RestSource:
    from cdc.capture.rest.source import Polled, RestSource

    rules = catalogue(source)
    resources = [_found(source, table, resource_of(source, rules, table)) for table in polled_tables(source, rules)]
    if not resources:
        raise ConfigError(f"Source {source.name!r} has no events.", "Its rules disable every one.")
    lookups = {table: each for table in rules.lookups() if (each := resource_of(source, rules, table)) is not None}
    polled = Polled(resources, lookups, source.rest.page_size, existing=source.rest.existing == "read")
    return RestSource(source.name, connect, polled, store, SystemClock())


async def api_greeting(source: SourceConfig, outbox: OutboxConfig) -> str:
    """Return the API's first answer, in a sentence.  Raises `SourceError` when it lets nobody in, `ConfigError`."""
    async with _refusals(outbox) as store:
        client = RestParts.from_config(source, store, _PATIENCE).client()
        try:
            await client.get()
        finally:
            await client.close()
    return f"FacturaScripts' API at {client.place} is enabled, and accepts the token."


async def rest_findings(source: SourceConfig, outbox: OutboxConfig) -> list[Finding]:
    """The doctor's checks."""
    from cdc.capture.rest.source import ApiInspector

    rules = catalogue(source)
    polled = [_found(source, table, resource_of(source, rules, table)) for table in polled_tables(source, rules)]
    lookups = [_found(source, table, resource_of(source, rules, table)) for table in rules.lookups()]
    async with _refusals(outbox) as store:
        client = RestParts.from_config(source, store, _PATIENCE).client()
        rest = source.rest
        inspect = ApiInspector(client, rest.url or "", rest.requests_per_minute, rest.page_size)
        return await inspect.findings(polled, lookups)


@asynccontextmanager
async def _refusals(outbox: OutboxConfig) -> AsyncIterator[RefusalStore]:
    """The memory of refusals, where all commands with this outbox find it, also before there is one."""
    store = outbox_of(outbox)
    try:
        if outbox.path is None:
            await store.open()
        yield store
    finally:
        await store.close()


def polled_tables(source: SourceConfig, rules: Catalogue) -> list[str]:
    """Tables whose changes make events, lines that events include among them; receipts are looked up instead.  Patterns
    match tables of FacturaScripts and of the configuration: the API lists no others."""
    from cdc.facturascripts.schema import tables as known

    entities = rules.expanded({*known(), *source.rest.resources}).entities
    tables = [entity.table for entity in entities]
    tables += [entity.children[LINES].table for entity in entities if LINES in entity.include]
    return list(dict.fromkeys([*tables, *([MEMBERS_TABLE, ACCESS_TABLE] if rules.infers_permissions else ())]))


def resource_of(source: SourceConfig, rules: Catalogue, table: str) -> Resource | None:
    """Return a table's resource in the API and how to read it; None where neither FacturaScripts nor the configuration
    knows it."""
    from cdc.capture.rest.reader import Resource
    from cdc.facturascripts.schema import resources, tables

    configured = source.rest.resources.get(table, RestResource())
    known = tables().get(table)
    path = configured.path or resources().get(table)
    key = configured.key or (known.key[0] if known else None)
    if path is None or key is None:
        return None
    column = known.column(key) if known else None
    numbered = column is not None and column.kind is ColumnKind.INTEGER
    return Resource(
        table,
        path,
        key,
        numbered if configured.numbered is None else configured.numbered,
        rules.capture_of(table).hidden,
        configured.interval_seconds or source.rest.interval_seconds,
        configured.compare_seconds or source.rest.compare_seconds,
    )


def _found(source: SourceConfig, table: str, resource: Resource | None) -> Resource:
    if resource is None:
        raise ConfigError(
            f"What the API calls the table {table} of source {source.name!r} is not known.",
            f"Write it below [source.{source.name}.rest.resources.{table}]: path and key.",
        )
    return resource


_HOUR: Final = 3600.0


def bus_source(source: SourceConfig, store: OutboxStore) -> BusSource:
    async def owners(ids: Sequence[str]) -> dict[str, str]:
        return {each.id: each.source for each in await store.events_of(ids)}

    labels = {entity.name: entity.label for entity in catalogue(source).entities}

    def searched(event: str, data: Row) -> tuple[str, str]:
        label = labels.get(event.rpartition(".")[0])
        return ("", "") if label is None else label.searched(data)

    nats = source.nats
    settings = BusSettings(
        stream=nats.stream().stream,
        searched=searched,
        subject=nats.subject,
        source_subject=nats.source_subject,
        sources=nats.sources,
        existing=nats.existing == "read",
        reread=source.on_purged == "reread",
    )
    return BusSource(source.name, lambda: _connect(source), settings, store, SystemClock(), owners=owners)


def bus_probe(source: SourceConfig) -> Probe:
    return BusProbe(source.nats.stream().where, lambda: _connect(source))


async def bus_findings(source: SourceConfig, stored: Callable[[], Awaitable[Position | None]]) -> list[Finding]:
    """The doctor's checks.  Raises `SourceError`.

    ``stored``: reads the position.  It is compared with the first message of before, and the last one of after it was
    read: while a consumer works, a later position may be beyond an earlier end."""
    stream = await _connect(source)
    try:
        before = await stream.state()
        position = await stored()
        state = await stream.state()
    finally:
        await stream.close()
    where = source.nats.stream().where
    count = state.last - state.first + 1
    findings = [Finding("stream", Severity.OK, f"{where}: {count} messages, {state.first} to {state.last}")]
    findings += _retention(state)
    lost = "" if position is None else missing(StreamPosition.load(position), state._replace(first=before.first))
    if lost:
        findings.append(Finding("position", Severity.WRONG, lost, 'on_purged = "reread" in the configuration'))
    return findings


def _retention(state: StreamState) -> list[Finding]:
    """Check that the stream keeps what is not read yet."""
    findings = []
    if state.retention != "limits":
        detail = f"The stream removes messages by {state.retention}, also those that this source has not read."
        findings.append(Finding("retention", Severity.WRONG, detail, "A new stream with retention limits"))
    elif state.age:
        detail = f"The stream keeps messages for {state.age / _HOUR:g} hours: no longer may this cell be down."
        findings.append(Finding("retention", Severity.OK, detail))
    if state.replicas == 1:
        detail = "The stream is on one server alone: its disk can lose events that were accepted."
        findings.append(Finding("replicas", Severity.WARNING, detail, "nats stream edit --replicas 3"))
    return findings


async def _connect(source: SourceConfig) -> EventStream:
    """Raises `SourceError`."""
    try:
        from cdc.dispatch.broker.nats_client import read_stream
    except ModuleNotFoundError as error:
        raise SourceError("A stream of NATS needs the package nats-py.", install_hint("nats")) from error
    try:
        url = source.nats.stream()
        return await read_stream(url, _tls(source) if url.tls else None)
    except ConfigError as error:
        raise SourceError(error.message, error.hint) from error


def _tls(source: SourceConfig) -> ssl.SSLContext:
    path = source.nats.ca_file
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(
            f"The ca_file {path} of source {source.name!r} cannot be used: {error.strerror or 'it is no certificate'}.",
            "It holds, as PEM, the certificate of the authority that issued the servers'.",
        ) from error
