"""The rules of a source.  Sources with the same rules share them: parsed and compiled once, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from cdc.config import Config, SourceConfig
from cdc.config.source import RulesText
from cdc.facturascripts.schema import model_names
from cdc.model.backfill import NOT_BY_API, Schedule, progress
from cdc.model.event import Label

if TYPE_CHECKING:
    from cdc.mapping.catalogue import Catalogue
    from cdc.mapping.mapper import Mapper
    from cdc.mapping.schema import EventType


#: Different rules that are cached: as many as sources that each have their own, in a large configuration.
_CACHED: Final = 1024
#: The arguments of the rules of a source that has none of its own.
_PACKAGED: Final = (None, (), (), "decode")


def catalogue(source: SourceConfig) -> Catalogue:
    """The packaged rules with the source's own on top.  Raises `ConfigError` naming file and line."""
    return _catalogue(source.rules_text(), source.tables, source.include, source.html)


def mapper_of(source: SourceConfig) -> Mapper:
    """Raises `ConfigError` naming file and line."""
    return _mapper(source.rules_text(), source.tables, source.include, source.html)


def schedule_of(source: SourceConfig) -> Schedule | None:
    """Return the rules by time; None where none is on.  Raises `ConfigError`."""
    if source.capture == "nats":  # the cell that captures has them
        return None
    rules = catalogue(source)
    due = tuple(rules.due_rules())
    return Schedule(due, rules.due_at, ZoneInfo(rules.due_zone or source.timezone() or "UTC")) if due else None


class DueStatus(NamedTuple):
    """``complete``: the last day that is complete; empty: none yet.  ``next``: when the next day begins, UTC.
    ``problem``: why the rule is off all the same."""

    source: str
    event: str
    column: str
    days: tuple[int, ...]
    complete: str
    next: datetime
    problem: str


def due_status(source: SourceConfig, states: Mapping[str, str], now: datetime) -> list[DueStatus]:
    """Return how far each rule by time is.  ``states``: the source's.  Raises `ConfigError`."""
    schedule = schedule_of(source)
    if schedule is None:
        return []
    found = []
    for rule in schedule.rules:
        complete = progress(states, rule.event, schedule.today(now)).done
        problem = NOT_BY_API if source.capture == "rest" else ""
        shown = "" if complete is None else complete.isoformat()
        column = f"{rule.table}.{rule.column}"
        found.append(DueStatus(source.name, rule.event, column, rule.days, shown, schedule.next(now), problem))
    return found


def label(config: Config, source: str, event: str) -> Label:
    """The columns by which people know the record of an event; none for an event of no entity that is known."""
    rules = catalogue(config.source[source]) if source in config.source else _catalogue(*_PACKAGED)
    name = event.rpartition(".")[0]
    return next((entity.label for entity in rules.entities if entity.name == name), Label())


def catalogues(config: Config) -> list[Catalogue]:
    """Return the sources' catalogues, each once; the packaged one when there is no source."""
    from cdc.mapping.catalogue import load_catalogue

    found = {id(rules): rules for rules in map(catalogue, config.source.values())}
    return list(found.values()) or [load_catalogue()]


@lru_cache(_CACHED)
def _catalogue(own: RulesText | None, tables: tuple[str, ...], include: tuple[str, ...], html: str) -> Catalogue:
    from cdc.mapping.catalogue import load_catalogue

    rules = load_catalogue(*(own or ()), tables=tables, models=model_names())
    entities = tuple(
        replace(
            entity,
            include=tuple(dict.fromkeys([*entity.include, *(kind for kind in include if entity.offers(kind))])),
        )
        for entity in rules.entities
    )
    return replace(rules, entities=entities, decode_html=rules.decode_html and html == "decode")


@lru_cache(_CACHED)
def _mapper(own: RulesText | None, tables: tuple[str, ...], include: tuple[str, ...], html: str) -> Mapper:
    from cdc.mapping.mapper import Mapper

    return Mapper(_catalogue(own, tables, include, html))


def event_types(config: Config, sources: Sequence[str] | None = None) -> list[EventType]:
    """Every event of every source, by name, once, and the operational ones; with ``sources``, those of these sources
    only.  Tables of FacturaScripts itself are described as it creates them."""
    from cdc.mapping.schema import operation_event_types

    meant = (
        config.source.values()
        if sources is None
        else [config.source[each] for each in sources if each in config.source]
    )
    rules = dict.fromkeys((each.rules_text(), each.tables, each.include, each.html) for each in meant)
    if sources is None and not rules:
        rules = {_PACKAGED: None}
    found = {kind.name: kind for each in rules for kind in _event_types(*each)}
    if sources is not None:
        return list(found.values())
    return [*found.values(), *(kind for kind in operation_event_types() if kind.name not in found)]


@lru_cache(8)  # each takes 0.1 s
def _event_types(
    own: RulesText | None, tables: tuple[str, ...], include: tuple[str, ...], html: str
) -> Sequence[EventType]:
    from cdc.facturascripts.schema import tables as packaged_tables
    from cdc.mapping import schema

    known = packaged_tables()
    return schema.event_types(_catalogue(own, tables, include, html).expanded(known), known)
