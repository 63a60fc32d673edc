"""Beginning backfills: what can be read, and who gets it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from cdc.backfilling import gets
from cdc.config import SourceConfig
from cdc.mapping.catalogue import Catalogue
from cdc.mapping.entity import Entity
from cdc.model.backfill import EXISTING, Asked, Backfill, Planned
from cdc.model.change import Row
from cdc.model.clock import SystemClock
from cdc.model.connection import Engine
from cdc.model.errors import UsageError
from cdc.model.rate import check_rate
from cdc.model.sql_condition import check_condition, check_own_columns, key_condition
from cdc.outbox.base import OutboxStore
from cdc.runtime.installers import inspector
from cdc.runtime.rules import catalogue


def tables_told_of(source: SourceConfig) -> dict[str, str]:
    """Table → what its entity is called: those whose existing rows can be told of, without what a pattern means.
    Raises `ConfigError`."""
    if source.capture == "rest":
        return {}
    rules = catalogue(source)
    return {entity.table: entity.title for entity in rules.entities if _tells(rules, entity)}


async def planned_from_outside(source: SourceConfig, store: OutboxStore, asked: Asked) -> list[Planned]:
    """For somebody who has no account of the database: their condition asks about the row alone.  Raises as `planned`
    and `receivers`."""
    found = await planned(source, asked, own_columns=True)
    return [Planned(each, await receivers(store, each)) for each in found]


async def planned(source: SourceConfig, asked: Asked, *, own_columns: bool = False) -> list[Backfill]:
    """One for each table, not kept yet.  ``own_columns``: the condition asks about no more than what may be seen of a
    row.  Raises `UsageError` for what cannot be read, `SourceError`."""
    from cdc.capture.estimate import estimate

    if source.capture == "rest":
        raise UsageError(
            f"Source {source.name} is read through FacturaScripts' API, which a backfill cannot do.",
            'existing = "read" of its [source.….rest] table tells of rows at first sight: docs/sources.md.',
        )
    check_rate(asked.rate, "rows")
    if asked.where:
        check_condition(asked.where)
    rules, now = catalogue(source), SystemClock().now()
    tables = _checked(rules, asked.tables) if asked.tables else await _all(source, rules)
    found: list[Backfill] = []
    for table in dict.fromkeys(tables):
        if asked.where and own_columns:
            check_own_columns(asked.where, rules.capture_of(table).hidden)
        rows = await estimate(source.connection(), table, asked.where)
        if rows is None and asked.tables:
            raise UsageError(f"The database of source {source.name} has no table {table} that its account may read.")
        if rows is not None:
            named = f"bf_{secrets.token_hex(8)}"
            found.append(
                Backfill(named, source.name, table, asked.actor, now, asked.where, asked.endpoint, asked.rate, rows)
            )
    return found


async def planned_for_row(source: SourceConfig, table: str, key: Row, actor: str, endpoint: str = "") -> list[Backfill]:
    """`planned`, of a single row.  ``key``: its primary key."""
    if source.capture == "rest":
        return await planned(source, Asked((table,), actor))
    where = key_condition(key, "`" if source.connection().engine is Engine.MYSQL else '"')
    return await planned(source, Asked((table,), actor, where, endpoint))


async def _all(source: SourceConfig, rules: Catalogue) -> list[str]:
    """Those whose rows can be told of; of patterns, the tables that the database has."""
    if rules.patterns.patterns:
        rules = rules.expanded(await asyncio.to_thread(lambda: inspector(source).existing_tables()))
    return [entity.table for entity in rules.entities if _tells(rules, entity)]


def _tells(rules: Catalogue, entity: Entity | None) -> bool:
    return entity is not None and rules.enabled(f"{entity.name}.{EXISTING}")


def _checked(rules: Catalogue, tables: Sequence[str]) -> list[str]:
    """Also by the names that events have: ``invoice`` for ``facturascli``."""
    named = {entity.name: entity.table for entity in rules.entities}
    entities = {entity.table: entity for entity in rules.entities}
    known = [named.get(table, table) for table in tables]
    unknown = [table for table in known if not _tells(rules, entities.get(table) or rules.matched(table))]
    if unknown:
        raise UsageError(
            f"No event tells of existing rows of {', '.join(unknown)}.",
            "cdc event list shows the events (….existing); a table of yours is named in the rules: docs/events.md.",
        )
    return known


async def receivers(store: OutboxStore, backfill: Backfill) -> list[str]:
    """Ids of the endpoints that get its events.  Raises `UsageError` when the one that is named is not there."""
    endpoints = await store.endpoints()
    if backfill.endpoint and all(each.id != backfill.endpoint for each in endpoints):
        raise UsageError(f"There is no endpoint {backfill.endpoint}.", "cdc endpoint list shows those that there are.")
    return [each.id for each in endpoints if gets(each, backfill)]
