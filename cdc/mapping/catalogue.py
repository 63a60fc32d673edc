"""The catalogue: which events there are, when they fire, and what must be captured for them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import time
from functools import cache
from importlib.resources import files
from itertools import chain

from cdc.mapping.resolve import ANY_TABLE, Resolver
from cdc.mapping.rule import (
    INVOICE,
    LINES,
    ORIGIN,
    ROW_EVENTS,
    STATE_TABLE,
    Entity,
    Path,
    Reference,
    Rule,
    TablePatterns,
    impossible,
)
from cdc.model.backfill import DailyRule
from cdc.model.column import Capture, SecretPatterns, Table
from cdc.model.errors import ConfigError
from cdc.model.event import matches
from cdc.model.toml_lines import FilePlace

#: The table of users, and those that `user.permissions_changed` needs beside it.
USERS_TABLE = "users"
MEMBERS_TABLE = "roles_users"
ACCESS_TABLE = "roles_access"
#: Events of former versions → why they ended, and the event that takes their place.
RETIRED = {
    "user.logout": "A row does not show whether a new session key is a sign-out or another sign-in: use "
    "user.session_changed."
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rules and entities, in catalogue order, without rules of disabled events and entities without any event.

    ``due_at``, ``due_zone``: when the days of rules by time begin; an empty zone is FacturaScripts'."""

    entities: tuple[Entity, ...]
    rules: tuple[Rule, ...]
    noise: Mapping[str, frozenset[str]]
    secrets: Mapping[str, frozenset[str]]
    secret_patterns: Mapping[str, tuple[str, ...]]
    revealed: frozenset[tuple[str, str]]
    disabled: tuple[str, ...]
    decode_html: bool
    references: tuple[Reference, ...]
    patterns: TablePatterns
    due_at: time
    due_zone: str

    def enabled(self, event: str) -> bool:
        return not matches(event, self.disabled)

    def capture_of(self, table: str) -> Capture:
        """Return the part of a table that may be captured."""
        return Capture(table, self.secrets_of(table), self.secret_patterns_of(table))

    def secret_patterns_of(self, table: str) -> SecretPatterns:
        """Return the patterns that make more columns of a table secret than those that are named."""
        shown = frozenset(column for where, column in self.revealed if where in (ANY_TABLE, table))
        own = self.secret_patterns.get(table, ())
        return SecretPatterns((*own, *self.secret_patterns.get(ANY_TABLE, ())), shown)

    def secrets_of(self, table: str) -> frozenset[str]:
        """The names of columns whose values must never leave the database, whether or not the table has them."""
        hidden = {
            column
            for column in self.secrets.get(ANY_TABLE, ())
            if (ANY_TABLE, column) not in self.revealed and (table, column) not in self.revealed
        }
        return self.secrets.get(table, frozenset()) | hidden

    def noise_of(self, table: str) -> frozenset[str]:
        """Columns that alone make no ``updated`` event, secret ones included."""
        return self.noise.get(table, frozenset()) | self.secrets_of(table)

    def captures(self, existing: Collection[str] | None = None) -> list[Capture]:
        """Return the tables that a source must capture; with ``existing`` tables given, only of those, and what matches
        a pattern."""
        tables = dict.fromkeys((self if existing is None else self.expanded(existing)).captured_tables())
        return [self.capture_of(table) for table in tables if existing is None or table in existing]

    def matched(self, table: str) -> Entity | None:
        """The entity of a table that a pattern means, if any of its events is enabled."""
        entity = self.patterns.entity(table)
        named = entity is not None and any(self.enabled(f"{entity.name}.{event}") for event in ROW_EVENTS)
        return entity if named else None

    def expanded(self, existing: Iterable[str]) -> Catalogue:
        """Return the catalogue with an entity for each of these tables that a pattern matches."""
        found = tuple(entity for table in sorted(existing) if (entity := self.matched(table)) is not None)
        return replace(self, entities=(*self.entities, *found)) if found else self

    def may_name(self, event: str) -> bool:
        """Return whether a pattern of event names may mean an event that there is, or that a table may have which
        matches."""
        return any(matches(name, [event]) for name in self.event_names()) or self.patterns.may_name(event)

    def captured_tables(self) -> Iterator[str]:
        """Return the tables that are captured by name."""
        for entity in self.entities:
            yield entity.table
            yield from self._included_tables(entity)
        if self.infers_permissions:
            yield from (MEMBERS_TABLE, ACCESS_TABLE)

    def paths(self, entity: Entity) -> Mapping[str, Path]:
        """Return the ways to the records that the entity's events show: those that are included, and the invoice where
        the tables on the way are captured by themselves."""
        captured = {each.table for each in self.entities}
        return {
            kind: path
            for kind, path in entity.paths.items()
            if kind in entity.include or (kind == INVOICE and captured.issuperset(table for _, table in path))
        }

    def documents(self) -> Mapping[str, str]:
        """Return the model in `TRANSFORMATIONS` → the table of each document."""
        return {entity.document: entity.table for entity in self.entities if entity.document}

    def _included_tables(self, entity: Entity) -> Iterator[str]:
        yield from (child.table for child in (*entity.included.values(), *entity.origin))
        yield from (table for path in self.paths(entity).values() for _, table in path)

    @property
    def infers_permissions(self) -> bool:
        return any(rule.infer == "permissions" for rule in self.rules)

    def due_rules(self) -> list[DailyRule]:
        """Return the rules by time that are on."""
        return [DailyRule(rule.event, rule.table, rule.date, rule.days) for rule in self.rules if rule.days]

    def rules_of(self, entity: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.entity == entity]

    def event_names(self) -> list[str]:
        """Return the row events of each entity, then its transitions."""
        row_events = {entity.name: [f"{entity.name}.{event}" for event in ROW_EVENTS] for entity in self.entities}
        return [
            name
            for entity, names in row_events.items()
            for name in (*filter(self.enabled, names), *(rule.event for rule in self.rules_of(entity)))
        ]

    def lookups(self) -> list[str]:
        """Tables whose rows mapping reads live."""
        tables = [STATE_TABLE] if any(rule.state for rule in self.rules) else []
        tables += [MEMBERS_TABLE] if self.infers_permissions else []
        tables += [table for entity in self.entities for table in self._included_tables(entity)]
        tables += [entity.table for entity in self.entities if LINES in entity.include]
        if any(ORIGIN in entity.include for entity in self.entities):
            tables += self.documents().values()
        return list(dict.fromkeys(tables))

    def check(self, existing: Mapping[str, Collection[str]]) -> tuple[list[str], list[ConfigError]]:
        """Compare with a database (table → columns).  Return notes on what the packaged rules miss, since a database
        may lack a table, and an error for each unknown table or column in the user's file.

        Tables of lines and receipts that no entity includes are not read: an account may not see them."""
        notes: dict[str, None] = {}
        errors: dict[tuple[str, str], None] = {}
        children = {child.table for entity in self.entities for child in entity.children.values()}
        unread = children - {*self.captured_tables(), *self.lookups()}
        for reference in self.references:
            missing = _missing(reference, existing)
            if missing is None or (reference.table in unread and not reference.place.user):
                continue
            if reference.place.user:
                errors[f"{reference.place}: {missing[0]}", missing[1]] = None
            elif not reference.what.startswith("["):
                notes[f"{missing[0].rstrip('.')}: it goes without {reference.what}."] = None
        return list(notes), [ConfigError(*error) for error in errors]

    def impossible(self, tables: Mapping[str, Table]) -> list[str]:
        """Return a sentence for each condition of the user's rules that can never hold, by the types of the columns."""
        found = []
        for rule in self.rules:
            if rule.place.user and (table := tables.get(rule.table)) is not None:
                kinds = {column.name: column.kind for column in table.columns}
                groups = (rule.becomes, rule.from_, rule.to, rule.where)
                conditions = chain.from_iterable(group.items() for group in groups)
                reasons = [impossible(column, condition, kinds) for column, condition in conditions]
                found += [f"{rule.place}: {rule.event} never fires: {reason}." for reason in reasons if reason]
        return found


def _missing(reference: Reference, existing: Mapping[str, Collection[str]]) -> tuple[str, str] | None:
    """A sentence and a hint, or None when all is there."""
    columns = existing.get(reference.table)
    if columns is None:
        return f"The database has no table {reference.table}.", _closest(reference.table, existing)
    for column in reference.columns:
        if column not in columns:
            return f"The table {reference.table} has no column {column}.", _closest(column, columns)
    return None


def _closest(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f"Did you mean {' or '.join(close)}?" if close else "Check the spelling; names are compared exactly."


@cache
def _packaged() -> Resolver:
    """The packaged catalogue, which is the same for every source."""
    resolver = Resolver()
    text = (files("cdc.mapping") / "catalogue.toml").read_text(encoding="utf-8")
    resolver.read(text, "catalogue.toml (packaged)", user=False)
    return resolver


def load_catalogue(
    user_text: str | None = None,
    user_path: str = "rules.toml",
    section: tuple[str, ...] = (),
    *,
    tables: Sequence[str] = (),
    models: Mapping[str, str] | None = None,
) -> Catalogue:
    """The packaged catalogue with the user's file on top.  Raises `ConfigError` naming file and line.

    ``section``: where in the user's file the rules are, for instance ``("source", "main", "rules")`` of a cdc.toml;
    empty: the file is nothing else.  ``tables``: more that are captured, names or patterns.  ``models``: table → name
    of its model, as that of an entity.
    """
    resolver = _packaged().copied(models or {})
    if user_text is not None:
        resolver.read(user_text, user_path, user=True, section=section)
    for table in tables:
        resolver.add(table, FilePlace("`tables` of the source", 0, user=True))
    names = [*resolver.rules, *RETIRED, *(f"{entity}.{event}" for entity in resolver.entities for event in ROW_EVENTS)]
    patterns = resolver.table_patterns()
    for pattern, place in resolver.disabled.items():
        if not any(matches(name, [pattern]) for name in names) and not patterns.may_name(pattern):
            raise ConfigError(f"{place}: no event is called {pattern}.", _closest(pattern, names))
    return _catalogue(resolver)


def _catalogue(resolver: Resolver) -> Catalogue:
    disabled = tuple(resolver.disabled)
    rules = [
        rule
        for name, rule in resolver.rules.items()
        if resolver.entities[rule.entity].enabled and not matches(name, disabled)
    ]
    speaking = {rule.entity for rule in rules}
    entities = [
        entity
        for entity in resolver.entities.values()
        if entity.enabled
        and (entity.name in speaking or not all(matches(f"{entity.name}.{event}", disabled) for event in ROW_EVENTS))
    ]
    return Catalogue(
        entities=tuple(entities),
        rules=tuple(rules),
        noise=resolver.noise,
        secrets=resolver.secrets,
        secret_patterns=resolver.secret_patterns,
        revealed=frozenset(resolver.revealed),
        disabled=disabled,
        decode_html=resolver.decode_html,
        references=tuple(resolver.references),
        patterns=resolver.table_patterns(),
        due_at=resolver.due_at,
        due_zone=resolver.due_zone,
    )
