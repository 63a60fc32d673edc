"""Sources that are read through FacturaScripts' API."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.config.section import OutboxConfig
from cdc.config.source import RestResource
from cdc.mapping.catalogue import ACCESS_TABLE, MEMBERS_TABLE, Catalogue
from cdc.mapping.rule import LINES
from cdc.model.change import RefusalStore, SnapshotStore
from cdc.model.clock import SystemClock
from cdc.model.column import ColumnKind
from cdc.model.errors import ConfigError
from cdc.model.finding import Finding
from cdc.runtime.outboxes import outbox_of

if TYPE_CHECKING:
    from cdc.capture.rest.client import ApiClient, BanGuard, Budget
    from cdc.capture.rest.reader import Resource
    from cdc.capture.rest.source import RestSource

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
    def of(cls, source: SourceConfig, store: RefusalStore, patience: float = math.inf) -> RestParts:
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


def rest_source(source: SourceConfig, kept: SnapshotStore, connect: Callable[[], ApiClient]) -> RestSource:
    from cdc.capture.rest.source import Polled, RestSource

    rules = catalogue(source)
    resources = [_found(source, table, resource_of(source, rules, table)) for table in polled_tables(source, rules)]
    if not resources:
        raise ConfigError(f"Source {source.name!r} has no events.", "Its rules disable every one.")
    lookups = {table: each for table in rules.lookups() if (each := resource_of(source, rules, table)) is not None}
    polled = Polled(resources, lookups, source.rest.page_size, existing=source.rest.existing == "read")
    return RestSource(source.name, connect, polled, kept, SystemClock())


async def api_greeting(source: SourceConfig, outbox: OutboxConfig) -> str:
    """Return the API's first answer, in a sentence.  Raises `SourceError` when it lets nobody in, `ConfigError`."""
    async with _refusals(outbox) as store:
        client = RestParts.of(source, store, _PATIENCE).client()
        try:
            await client.get()
        finally:
            await client.close()
    return f"FacturaScripts' API at {client.place} is enabled, and accepts the token."


async def rest_findings(source: SourceConfig, outbox: OutboxConfig) -> list[Finding]:
    """The doctor's checks."""
    from cdc.capture.rest.inspector import ApiInspector

    rules = catalogue(source)
    polled = [_found(source, table, resource_of(source, rules, table)) for table in polled_tables(source, rules)]
    lookups = [_found(source, table, resource_of(source, rules, table)) for table in rules.lookups()]
    async with _refusals(outbox) as store:
        client = RestParts.of(source, store, _PATIENCE).client()
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

    given = source.rest.resources.get(table, RestResource())
    known = tables().get(table)
    path = given.path or resources().get(table)
    key = given.key or (known.key[0] if known else None)
    if path is None or key is None:
        return None
    column = known.column(key) if known else None
    numbered = column is not None and column.kind is ColumnKind.INTEGER
    return Resource(
        table,
        path,
        key,
        numbered if given.numbered is None else given.numbered,
        rules.capture_of(table).hidden,
        given.interval_seconds or source.rest.interval_seconds,
        given.compare_seconds or source.rest.compare_seconds,
    )


def _found(source: SourceConfig, table: str, resource: Resource | None) -> Resource:
    if resource is None:
        raise ConfigError(
            f"What the API calls the table {table} of source {source.name!r} is not known.",
            f"Write it below [source.{source.name}.rest.resources.{table}]: path and key.",
        )
    return resource
