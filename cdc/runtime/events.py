"""The events of a source, with the columns that its tables have now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.model.column import Capture, Table
from cdc.runtime.installers import binlog_inspector, journal_of, of_postgres

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


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
