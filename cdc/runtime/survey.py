"""What there is to capture, and what is captured: for people who look at sources and tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cdc.config import Config, SourceConfig
from cdc.config.rules import catalogue
from cdc.facturascripts.schema import models
from cdc.mapping.catalogue import Catalogue
from cdc.mapping.coverage import coverage
from cdc.model.errors import ConfigError
from cdc.model.finding import SurveyedTable
from cdc.runtime.installers import inspector


class DescribedSource(NamedTuple):
    """``reads``: its database, or address.  ``problem``: what keeps it from being read; empty when nothing does."""

    name: str
    capture: str
    reads: str
    tables: tuple[str, ...]
    problem: str


class DescribedTable(NamedTuple):
    """``rows``: about; None while nobody has counted.  ``captured``: a rule means it and it can be.  ``events``: what
    their names begin with.  ``why``: why it is captured, or why not.  ``mend``: a command that is still to be run.
    ``model``: FacturaScripts' class, where it is one of its own.  ``hidden``: its secret columns."""

    name: str
    rows: int | None
    captured: bool
    events: str
    why: str
    mend: str
    model: str
    hidden: tuple[str, ...]


def described(config: Config) -> list[DescribedSource]:
    """The sources of the configuration, in its order."""
    return [_source(source) for source in config.source.values()]


def _source(source: SourceConfig) -> DescribedSource:
    reads, problem = "", ""
    try:
        reads = source.rest.url or "" if source.capture == "rest" else source.connection().describe()
        catalogue(source)
    except ConfigError as error:
        problem = error.message
    return DescribedSource(source.name, source.capture, reads, source.tables, problem)


def described_tables(source: SourceConfig) -> list[DescribedTable]:
    """Every table of the source's database, by name.  Raises `CdcError`."""
    if source.capture == "rest":
        raise ConfigError(
            f"Source {source.name!r} is read through FacturaScripts' API, which lists no tables.",
            "Those that are captured are named by its rules: cdc event list.",
        )
    rules, inspect = catalogue(source), inspector(source)
    tables, columns = inspect.survey(), inspect.existing_tables()
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
    mend = install if missing else ""
    return DescribedTable(table.name, table.rows, captured, found.events, why, mend, model, tuple(sorted(hidden)))
