"""Which events there are, of a configuration and of a database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cdc.config import Config, SourceConfig
from cdc.model.column import Capture, Table
from cdc.runtime.installers import binlog_inspector, of_postgres
from cdc.runtime.rules import catalogue, catalogues
from cdc.runtime.sources import journal_of

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


def event_types(config: Config, sources: Sequence[str] | None = None) -> list[EventType]:
    """Every event of every source, by name, once, and the operational ones; with ``sources``, those of these sources
    only.  Tables of FacturaScripts itself are described as it creates them."""
    from cdc.facturascripts.schema import tables
    from cdc.mapping import schema
    from cdc.mapping.operations import operation_event_types

    meant = catalogues(config)
    if sources is not None:
        meant = [catalogue(config.source[name]) for name in sources if name in config.source]
    known = [rules.expanded(tables()) for rules in meant]
    found = {kind.name: kind for rules in known for kind in schema.event_types(rules, tables())}
    if sources is not None:
        return list(found.values())
    return [*found.values(), *(kind for kind in operation_event_types() if kind.name not in found)]


async def event_types_of(source: SourceConfig) -> list[EventType]:
    """The events of one source, with the columns that its captured tables have now."""
    from cdc.mapping import schema

    rules = catalogue(source)
    if source.capture == "rest":
        from cdc.facturascripts.schema import tables

        return schema.event_types(rules, tables())
    if source.capture == "binlog":
        return schema.event_types(rules, await asyncio.to_thread(binlog_inspector(source).tables, rules.captures()))
    if source.capture == "logical":
        return schema.event_types(rules, await _logical_tables(source, rules.captures()))
    journal = journal_of(source.connection(), rules)
    await journal.connect()
    try:
        return schema.event_types(rules, await journal.tables())
    finally:
        await journal.disconnect()


async def _logical_tables(source: SourceConfig, captured: Sequence[Capture]) -> Mapping[str, Table]:
    from cdc.capture.logical.slot import captured_tables

    return await captured_tables(of_postgres(source), captured)
