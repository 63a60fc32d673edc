"""Beginning backfills: what can be read, and who gets it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence

from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.mapping.catalogue import Catalogue
from cdc.mapping.entity import Entity
from cdc.model.backfill import EXISTING, Asked, Backfill
from cdc.model.change import Operation, Quarantined
from cdc.model.clock import SystemClock
from cdc.model.connection import Engine
from cdc.model.endpoint import check_rate
from cdc.model.errors import UsageError
from cdc.model.sql_condition import check_condition, check_own_columns, key_condition
from cdc.outbox.base import EndpointReader
from cdc.outbox.shared import subscriber_of

#: Asks the database of a source, and may block.
ExistingTables = Callable[[SourceConfig], Collection[str]]


def named_tables(source: SourceConfig) -> dict[str, str]:
    """Return table → the name of its entity, of tables whose existing rows can be sent, without those that a pattern
    means.  Raises `ConfigError`."""
    if source.capture == "rest":
        return {}
    rules = catalogue(source)
    return {entity.table: entity.title for entity in rules.entities if _tells(rules, entity)}


async def planned(
    source: SourceConfig, asked: Asked, actor: str, existing_tables: ExistingTables, *, own_columns: bool
) -> list[Backfill]:
    """Return one for each table, not stored yet.  ``existing_tables``: asks the source's database.  ``own_columns``:
    the condition asks about no more than may be seen of a row.  Raises `UsageError` for what cannot be read,
    `SourceError`."""
    from cdc.capture.estimate import estimate

    if source.capture == "rest":
        raise UsageError(
            f"Source {source.name} is read through FacturaScripts' API, which a backfill cannot do.",
            'existing = "read" of its [source.….rest] table tells of rows at first sight: docs/sources.md.',
        )
    check_rate(asked.rate)
    if asked.where:
        check_condition(asked.where)
    rules, now = catalogue(source), SystemClock().now()
    tables = _checked(rules, asked.tables) if asked.tables else await _all(source, rules, existing_tables)
    found: list[Backfill] = []
    for table in dict.fromkeys(tables):
        if asked.where and own_columns:
            check_own_columns(asked.where, rules.capture_of(table).hidden)
        rows = await estimate(source.connection(), table, asked.where)
        if rows is None and asked.tables:
            raise UsageError(f"The database of source {source.name} has no table {table} that its account may read.")
        if rows is not None:
            named = f"bf_{secrets.token_hex(8)}"
            found.append(Backfill(named, source.name, table, actor, now, asked.where, asked.endpoint, asked.rate, rows))
    return found


async def planned_reread(
    source: SourceConfig, change: Quarantined, endpoint: str, actor: str, existing_tables: ExistingTables
) -> Backfill:
    """`planned`, of the row of a skipped change.  Raises `UsageError` for one that leaves no row."""
    if change.key is None or change.operation in (Operation.DELETE, Operation.TRUNCATE):
        raise UsageError(
            f"The change {change.id} ({change.operation} of {change.table}) leaves no row to read.",
            "cdc quarantine show prints what is known of it.",
        )
    asked = Asked((change.table,))
    if source.capture != "rest":  # whose refusal is the same for every row
        where = key_condition(change.key, "`" if source.connection().engine is Engine.MYSQL else '"')
        asked = Asked((change.table,), where, endpoint)
    (found,) = await planned(source, asked, actor, existing_tables, own_columns=False)
    return found


async def _all(source: SourceConfig, rules: Catalogue, existing_tables: ExistingTables) -> list[str]:
    """Return the tables whose rows can be sent; a pattern means the tables that the database has."""
    if rules.patterns.patterns:
        rules = rules.expanded(await asyncio.to_thread(existing_tables, source))
    return [entity.table for entity in rules.entities if _tells(rules, entity)]


def _tells(rules: Catalogue, entity: Entity | None) -> bool:
    return entity is not None and rules.enabled(f"{entity.name}.{EXISTING}")


def _checked(rules: Catalogue, tables: Sequence[str]) -> list[str]:
    """Return the table, also by the names that events have: ``invoice`` for ``facturascli``."""
    named = {entity.name: entity.table for entity in rules.entities}
    entities = {entity.table: entity for entity in rules.entities}
    known = [named.get(table, table) for table in tables]
    unknown = [table for table in known if not _tells(rules, entities.get(table) or rules.matched(table))]
    if unknown:
        raise UsageError(
            f"No event reports existing rows of {', '.join(unknown)}.",
            "cdc event list shows the events (*.existing); a table of yours is named in the rules: docs/events.md.",
        )
    return known


async def receivers(store: EndpointReader, source: SourceConfig, backfill: Backfill) -> list[str]:
    """Return the ids of the endpoints that name its events, or of the one that it is for.  Raises `UsageError` when
    that one is not there."""
    endpoints = await store.endpoints()
    if backfill.endpoint and all(each.id != backfill.endpoint for each in endpoints):
        raise UsageError(f"There is no endpoint {backfill.endpoint}.", "cdc endpoint list shows the endpoints.")
    if backfill.endpoint:
        return [backfill.endpoint]
    rules = catalogue(source)
    entity = next((each for each in rules.entities if each.table == backfill.table), None)
    entity = entity or rules.matched(backfill.table)
    if entity is None:
        return []
    event = f"{entity.name}.{EXISTING}"
    return [each.id for each in endpoints if subscriber_of(each).names(event, source.name)]
