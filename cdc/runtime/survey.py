"""Lists of the tables that can be captured and that are captured, and of the events of a source."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from cdc.config import Config, SourceConfig
from cdc.config.rules import catalogue
from cdc.facturascripts.schema import models
from cdc.mapping.catalogue import Catalogue
from cdc.mapping.rule import Entity
from cdc.model.column import Table
from cdc.model.errors import ConfigError
from cdc.model.finding import SurveyedTable
from cdc.runtime.installers import binlog_inspector, inspector, journal_of, of_postgres

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


class DescribedSource(NamedTuple):
    """``reads``: its database, or address.  ``problem``: what keeps it from being read; empty when nothing does."""

    name: str
    capture: str
    reads: str
    tables: tuple[str, ...]
    problem: str


class DescribedTable(NamedTuple):
    """A table as `cdc table list` shows it.

    ``rows``: an estimate; None before the server has one.  ``captured``: a rule names it and it can be captured.
    ``events``: the beginning of its events' names.  ``why``: the reason why it is captured, or is not.  ``fix``: the
    command that captures it.  ``model``: FacturaScripts' class; empty for a table of another program.  ``hidden``: its
    secret columns."""

    name: str
    rows: int | None
    captured: bool
    events: str
    why: str
    fix: str
    model: str
    hidden: tuple[str, ...]


def described(config: Config, text: str = "", limit: int | None = None, after: str = "") -> list[DescribedSource]:
    """Return the sources of the configuration, in its order.  ``text``: part of their name or database, in any case;
    ``after``: those behind this one.  Raises `UsageError` when there is no such source."""
    names = list(config.source)
    behind = names[names.index(config.select_source(after).name) + 1 :] if after else names
    found = (_source(config.source[name], text.lower()) for name in behind)
    return list(islice(filter(None, found), limit))


def _source(source: SourceConfig, text: str) -> DescribedSource | None:
    """Describe a source with this text in its name or database; None: it has not."""
    reads, problem = "", ""
    try:
        reads = _reads(source)
    except ConfigError as error:
        problem = error.message
    if text not in f"{source.name}\n{reads}".lower():
        return None
    try:
        catalogue(source)
    except ConfigError as error:
        problem = problem or error.message
    return DescribedSource(source.name, source.capture, reads, source.tables, problem)


def _reads(source: SourceConfig) -> str:
    """Raises `ConfigError`."""
    if source.capture == "nats":
        return source.nats.stream().where
    return source.rest.url or "" if source.capture == "rest" else source.connection().describe()


def described_tables(source: SourceConfig) -> list[DescribedTable]:
    """Every table of the source's database, by name.  Raises `CdcError`."""
    if source.capture == "nats":
        source.connection()  # which says that there is none
    if source.capture == "rest":
        raise ConfigError(
            f"Source {source.name!r} is read through FacturaScripts' API, which lists no tables.",
            "Those that are captured are named by its rules: cdc event list.",
        )
    rules, inspect = catalogue(source), inspector(source)
    tables, columns = inspect.survey(counted=True), inspect.existing_tables()
    captures = inspect.within([rules.capture_of(each.name) for each in tables])
    hidden = {each.table: each.secrets.intersection(columns.get(each.table, ())) for each in captures}
    return [_table(source, rules, each, hidden[each.name]) for each in tables]


def _table(source: SourceConfig, rules: Catalogue, table: SurveyedTable, hidden: Iterable[str]) -> DescribedTable:
    found = coverage(rules, table.name)
    captured = found.captured and not table.obstacle
    why = table.obstacle if found.captured and table.obstacle else found.by
    missing = captured and not table.installed
    install = "cdc install-slot" if source.capture == "logical" else "cdc install-triggers"
    model = models().get(table.name, "")
    fix = install if missing else ""
    return DescribedTable(table.name, table.rows, captured, found.events, why, fix, model, tuple(sorted(hidden)))


@dataclass(frozen=True, slots=True)
class Coverage:
    """``events``: what its events begin with; empty, there are none.  ``by``: why it is captured, or why not, as a
    phrase."""

    captured: bool
    events: str
    by: str


def coverage(rules: Catalogue, table: str) -> Coverage:
    entity = next((each for each in rules.entities if each.table == table), None)
    if entity is not None:
        return Coverage(True, entity.name, _by(entity))
    if table in set(rules.captured_tables()):
        return Coverage(True, "", "for events of other tables (members of roles, lines, receipts, related records)")
    matched = rules.matched(table)
    if matched is not None:
        return Coverage(True, matched.name, f"pattern {rules.patterns.pattern_of(table)} ({matched.place})")
    return Coverage(False, "", _why_not(rules, table))


def _by(entity: Entity) -> str:
    return f"entity {entity.name} ({entity.place})" if entity.place.user else f"entity {entity.name}"


def _why_not(rules: Catalogue, table: str) -> str:
    known = rules.patterns.entities.get(table)
    if known is not None:
        return f"entity {known.name} is switched off, or all its events are"
    refusal = rules.patterns.refusal(table)
    if rules.patterns.pattern_of(table) is not None:
        return refusal or "all its events are switched off"
    return "excluded from patterns, and not named" if refusal.startswith("excluded") else "no rule names it"


async def event_types_of(source: SourceConfig) -> list[EventType]:
    """The events of one source, with the columns that its captured tables have now."""
    from cdc.mapping import schema

    return schema.event_types(catalogue(source), await captured_tables(source))


async def captured_tables(source: SourceConfig) -> Mapping[str, Table]:
    """The captured tables of one source as they are now; of one without a database, as FacturaScripts creates them."""
    rules = catalogue(source)
    if not source.has_database:
        from cdc.facturascripts.schema import tables

        return tables()
    if source.capture == "binlog":
        return await asyncio.to_thread(binlog_inspector(source).tables, rules.captures())
    if source.capture == "logical":
        from cdc.capture.logical import slot

        return await slot.captured_tables(of_postgres(source), rules.captures())
    journal = journal_of(source.connection(), rules)
    await journal.connect()
    try:
        return await journal.tables()
    finally:
        await journal.disconnect()


def event_document(file: str, types: Sequence[EventType]) -> bytes:
    """Return a description of these events for integrators; ``file``: its name, such as asyncapi.json."""
    from cdc.api.application import DOCUMENTS

    return DOCUMENTS[file](types)
