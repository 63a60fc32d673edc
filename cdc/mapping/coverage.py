"""Whether a table is captured, by what, or why not: for people.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.entity import Entity


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
        return Coverage(True, "", "for events of other tables (members of roles, lines, receipts)")
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
