"""The catalogue file: the keys and kinds of values that it may hold, and the packaged catalogue and the user's file put
together: overriding, defaults, and the checks that need context.  `cdc.mapping.catalogue` gives them their meaning."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import time
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from cdc.mapping.rule import (
    ROW_EVENTS,
    STATE_TABLE,
    TABLE_NAME,
    Child,
    Condition,
    Entity,
    Path,
    Reference,
    Rule,
    TablePatterns,
    named_columns,
    parse_condition,
)
from cdc.model.change import Operation
from cdc.model.column import SecretPatterns
from cdc.model.errors import ConfigError, UsageError
from cdc.model.event import Label, check_pattern
from cdc.model.toml_lines import FilePlace, Places, TomlPath

ChildKind = Literal["lines", "receipts"]
RelatedKind = Literal["customer", "supplier", "original", "origin"]
Conditions = dict[str, Annotated[Condition, PlainValidator(parse_condition)]]


def _not_empty(columns: list[str]) -> list[str]:
    if not columns:
        raise ValueError("name at least one column, or leave the key out")
    return columns


Columns = Annotated[list[str], AfterValidator(_not_empty)]


def _inferred(value: object) -> object:
    if value == "logout":
        raise ValueError('a row does not show a sign-out: write infer = "session" (a new session key)')
    return value


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ChildEntry(_Entry):
    """The place of an entity's lines or receipts: ``column`` of ``table`` holds the entity's key."""

    table: str
    column: str


class LabelEntry(_Entry):
    """Columns by which people know a record, and reach whom it is about."""

    code: str = ""
    name: str = ""
    total: str = ""
    email: str = ""
    phone: str = ""


class EntityEntry(_Entry):
    table: str | None = None
    title: str | None = None
    enabled: bool = True
    include: list[ChildKind | RelatedKind] = Field(default_factory=list)
    lines: ChildEntry | None = None
    receipts: ChildEntry | None = None
    invoice: dict[str, str] | None = None
    customer: dict[str, str] | None = None
    supplier: dict[str, str] | None = None
    original: dict[str, str] | None = None
    document: str | None = None
    page: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./?&={}-]*$")
    label: LabelEntry | None = None


class EventEntry(_Entry):
    name: str
    entity: str | list[str] | None = None
    table: str | None = None
    when: str = ""
    operations: list[Literal["create", "update", "delete"]] | None = None
    becomes: Conditions = Field(default_factory=dict)
    from_: Conditions = Field(default_factory=dict, alias="from")
    to: Conditions = Field(default_factory=dict)
    where: Conditions = Field(default_factory=dict)
    state: Conditions = Field(default_factory=dict)
    changed: Columns | None = None
    unless_changed: Columns | None = None
    ignore: Columns | None = None
    copies: ChildEntry | None = None
    infer: Annotated[Literal["login", "session", "permissions"] | None, BeforeValidator(_inferred)] = None
    date: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    days: list[Annotated[int, Field(ge=-3650, le=3650)]] | None = Field(default=None, max_length=50)


def _hour(value: object) -> object:
    return time.fromisoformat(value) if isinstance(value, str) and len(value) == _HOUR else value


def _zone(value: str) -> str:
    if value and value not in available_timezones():
        raise ValueError("it is not a time zone such as Europe/Madrid")
    return value


class DueEntry(_Entry):
    """The time at which the days of rules by time begin."""

    at: Annotated[time | None, BeforeValidator(_hour)] = None
    timezone: Annotated[str | None, AfterValidator(lambda value: value and _zone(value))] = None


_HOUR = len("06:00")


class CatalogueFile(_Entry):
    html: Literal["decode", "raw"] | None = None
    tables: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    names: Literal["table", "model"] | None = None
    disable: list[str] = Field(default_factory=list)
    reveal: list[str] = Field(default_factory=list)
    secret: dict[str, list[str]] = Field(default_factory=dict)
    noise: dict[str, list[str]] = Field(default_factory=dict)
    due: DueEntry = DueEntry()
    entity: dict[str, EntityEntry] = Field(default_factory=dict)
    event: list[EventEntry] = Field(default_factory=list)


def parse(text: str, places: Places) -> CatalogueFile:
    """The file's content, or `ConfigError` for the first thing that is wrong."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
        for name in places.section:
            content = content.get(name, {})
        return CatalogueFile.model_validate(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{places.path} is not valid TOML: {error}.", "Correct that line and try again.") from error
    except ValidationError as error:
        raise _config_error(error.errors(include_url=False)[0], places) from error


def _config_error(error: ErrorDetails, places: Places) -> ConfigError:
    path: TomlPath = tuple("from" if part == "from_" else part for part in error["loc"])
    if error["type"] == "extra_forbidden":
        place = places.of(path, str(path[-1]))
        known = _known_keys(path)
        return ConfigError(f"{place}: there is no key {path[-1]!r} here.", f"Known keys: {', '.join(known)}.")
    if error["type"] == "missing":
        return ConfigError(f"{places.of(path)}: the key {path[-1]!r} is missing.", "Add it.")
    name = ".".join(str(part) for part in path if isinstance(part, str) and part not in ("list[str]", "str"))
    message = error["msg"].removeprefix("Value error, ")
    return ConfigError(
        f"{places.of(path)}: {name} is wrong: {(message[0].lower() + message[1:])}.", "See docs/events.md for its form."
    )


def _known_keys(path: TomlPath) -> list[str]:
    models: dict[int, type[BaseModel]] = {1: CatalogueFile, 3: EntityEntry if path[0] == "entity" else EventEntry}
    model = models.get(len(path), LabelEntry if path[2:3] == ("label",) else ChildEntry)
    return sorted(info.alias or name for name, info in model.model_fields.items())


ANY_TABLE = "*"
#: In the name of a table: any characters.
_ANY = "*"
CHILD_KINDS: tuple[ChildKind, ...] = ("lines", "receipts")
_PATH_KINDS = ("invoice", "customer", "supplier", "original")

#: How a file says where what it includes is.
_FORMS = {
    "lines": 'lines = { table = "…", column = "…" }',
    "receipts": 'receipts = { table = "…", column = "…" }',
    "customer": 'customer = { codcliente = "clientes" }',
    "supplier": 'supplier = { codproveedor = "proveedores" }',
    "original": 'original = { idfacturarect = "facturascli" }',
    "origin": 'document = "…", its model in doctransformations,',
}
_ENTITY_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\Z")
_EVENT_NAME = re.compile(r"[a-z0-9_]+\Z")
_UPDATE_ONLY = ("from_", "to", "unless_changed", "infer")
_CONDITIONS = ("becomes", "from_", "to", "where", "state", "changed", "unless_changed", "ignore", "infer")


@dataclass(slots=True)
class Resolver:
    """The catalogue of the files read so far; later files override earlier ones.  Dictionaries keep catalogue order.

    ``models``: table → name of its model, as that of an entity."""

    models: Mapping[str, str] = field(default_factory=dict)
    decode_html: bool = True
    by_model: bool = False
    entities: dict[str, Entity] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    noise: dict[str, frozenset[str]] = field(default_factory=dict)
    secrets: dict[str, frozenset[str]] = field(default_factory=dict)
    secret_patterns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    revealed: dict[tuple[str, str], FilePlace] = field(default_factory=dict)
    disabled: dict[str, FilePlace] = field(default_factory=dict)
    patterns: dict[str, FilePlace] = field(default_factory=dict)
    excluded: dict[str, FilePlace] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    due_at: time = time(6)
    due_zone: str = ""
    #: Packaged entities that are off until a file of the user names them.
    offered: set[str] = field(default_factory=set)

    def copied(self, models: Mapping[str, str]) -> Resolver:
        """Return one that has read the same, for tables with these ``models``; each may read more by itself."""
        own = {each.name: copy(getattr(self, each.name)) for each in fields(self)}
        return replace(self, **(own | {"models": models}))

    def read(self, text: str, path: str, *, user: bool, section: tuple[str, ...] = ()) -> None:
        places = Places(path, text, user, section)
        file = parse(text, places)
        if file.html is not None:
            self.decode_html = file.html == "decode"
        if file.names is not None:
            self.by_model = file.names == "model"
        self.due_at = file.due.at or self.due_at
        self.due_zone = self.due_zone if file.due.timezone is None else file.due.timezone
        self._read_columns(file, places)
        for name, entry in file.entity.items():
            self._read_entity(name, entry, places)
        for table in file.tables:
            self.add(table, places.of(("tables",), table))
        self.excluded |= {pattern: places.of(("exclude",), pattern) for pattern in file.exclude}
        self._read_events(file, places)
        for pattern in file.disable:
            place = places.of(("disable",), pattern)
            try:
                self.disabled[check_pattern(pattern)] = place
            except UsageError as error:
                raise ConfigError(f"{place}: {error.message}", error.hint) from error

    # -- columns ----------------------------------------------------------------------------------------------------

    def _read_columns(self, file: CatalogueFile, places: Places) -> None:
        for section, tables in (("secret", file.secret), ("noise", file.noise)):
            for table, columns in tables.items():
                for column in filter(_is_name, columns) if table != ANY_TABLE else ():
                    place = places.of((section, table), column)
                    self.references.append(Reference(table, (column,), f"[{section}]", place))
        for table, columns in file.secret.items():
            self.secrets[table] = self.secrets.get(table, frozenset()) | frozenset(filter(_is_name, columns))
            patterns = [column.casefold() for column in columns if not _is_name(column)]
            self.secret_patterns[table] = (*self.secret_patterns.get(table, ()), *patterns)
        for table, columns in file.noise.items():
            self.noise[table] = frozenset(columns)
        for name in file.reveal:
            self._reveal(name, places.of(("reveal",), name))

    def _reveal(self, name: str, place: FilePlace) -> None:
        table, _, column = name.rpartition(".")
        if not table:
            raise ConfigError(f"{place}: {name!r} does not say of which table.", f"Write table.{name} or *.{name}.")
        anywhere = self.secrets.get(ANY_TABLE, frozenset())
        here = self.secrets.get(table, frozenset()) if table != ANY_TABLE else frozenset()
        patterns = self.secret_patterns.get(ANY_TABLE, ())
        if (column not in anywhere and not SecretPatterns(patterns).hides(column)) or column in here:
            raise ConfigError(
                f"{place}: {name} cannot be revealed: its values never leave the database.",
                f"Only these can: {', '.join((*sorted(anywhere), *patterns))}.",
            )
        self.revealed[table, column] = place
        if table != ANY_TABLE:
            self.references.append(Reference(table, (column,), "reveal", place))

    # -- entities ---------------------------------------------------------------------------------------------------

    def _read_entity(self, name: str, entry: EntityEntry, places: Places) -> None:
        path: TomlPath = ("entity", name)
        place = places.of(path)
        if not _ENTITY_NAME.match(name):
            raise ConfigError(
                f"{place}: {name!r} is not an entity name.", "Use a to z, 0 to 9 and _, with dots between parts."
            )
        offered = name in self.offered and places.user  # until now
        self.offered.discard(name)
        known = self.entities.get(name)
        base = known or Entity(name, name, f"row of {entry.table or name}", place)
        table = entry.table or base.table
        entity = replace(
            base,
            table=table,
            title=entry.title or base.title,
            enabled=entry.enabled,
            children={**base.children, **self._children(entry, path, places)},
            label=base.label if entry.label is None else self._label(entry.label, table, places.of((*path, "label"))),
            include=tuple(dict.fromkeys(entry.include)) if "include" in entry.model_fields_set else base.include,
            place=place if known is None or entry.table else known.place,
            paths={**base.paths, **self._paths(entry, table, path, places)},
            document=base.document if entry.document is None else entry.document,
            page=base.page if entry.page is None else entry.page,
        )
        self._check_entity(entity, places.of((*path, "table")), places.of((*path, "include")))
        self.entities[name] = entity
        if not places.user and not entry.enabled:
            self.offered.add(name)
        elif offered or known is None or entry.table:
            self.references.append(Reference(table, (), f"the events {name}.*", places.of((*path, "table"))))
        if known is not None and known.table != table:
            self.rules = {
                event: replace(rule, table=table) if rule.entity == name else rule for event, rule in self.rules.items()
            }

    def _check_entity(self, entity: Entity, table_place: FilePlace, include_place: FilePlace) -> None:
        for other in self.entities.values():
            if other.table == entity.table and other.name != entity.name and other.enabled and entity.enabled:
                raise ConfigError(
                    f"{table_place}: the table {entity.table} is already the entity {other.name} ({other.place}).",
                    f"Use {other.name}, or switch it off first: [entity.{other.name}] with enabled = false.",
                )
        for kind in entity.include:
            if not entity.offers(kind):
                raise ConfigError(
                    f"{include_place}: nothing says where the {kind} of {entity.name} are.",
                    f"Add {_FORMS.get(kind, kind)} beside it.",
                )

    def _children(self, entry: EntityEntry, path: TomlPath, places: Places) -> Mapping[str, Child]:
        children: dict[str, Child] = {}
        for kind in CHILD_KINDS:
            child = entry.lines if kind == "lines" else entry.receipts
            if child is not None:
                children[kind] = Child(child.table, child.column)
                what = f"the {kind} of {path[1]}"
                if entry.enabled:
                    self.references.append(Reference(child.table, (child.column,), what, places.of((*path, kind))))
        return children

    def _paths(self, entry: EntityEntry, table: str, path: TomlPath, places: Places) -> Mapping[str, Path]:
        paths: dict[str, Path] = {}
        for kind in _PATH_KINDS:
            steps = getattr(entry, kind)
            if steps:
                paths[kind] = tuple(steps.items())
                place = places.of((*path, kind))
                rows = (table, *steps.values())
                for row, column in zip(rows, steps, strict=False) if place.user else ():
                    self.references.append(Reference(row, (column,), f"the {kind} of {path[1]}", place))
        return paths

    def _label(self, entry: LabelEntry, table: str, place: FilePlace) -> Label:
        label = Label(entry.code, entry.name, entry.total, entry.email, entry.phone)
        if place.user:  # a database that lacks a column of the packaged ones shows the key
            self.references.append(Reference(table, label.columns, f"the label of {table}", place))
        return label

    def add(self, table: str, place: FilePlace) -> None:
        """A table to be captured, or a pattern of such."""
        if _ANY in table:
            self.patterns.setdefault(table, place)
        else:
            self._add_table(table, place)

    def names(self) -> Mapping[str, str]:
        """Table → what its entity is called, where that is not the table's name."""
        return self.models if self.by_model else {}

    def table_patterns(self) -> TablePatterns:
        entities = {each.table: each for each in self.entities.values() if each.name not in self.offered}
        return TablePatterns(self.patterns, tuple(self.excluded), entities, self.names())

    def _add_table(self, table: str, place: FilePlace) -> Entity:
        """The entity of a table that has no name of its own."""
        if not TABLE_NAME.match(table):
            raise ConfigError(
                f"{place}: the table name {table!r} cannot be an event name.",
                f'Give it one: [entity.your_name] with table = "{table}".',
            )
        name = self.names().get(table, table)
        owner = self.entities.get(name) or self._entity_of(table)
        if owner is not None:
            raise ConfigError(
                f"{place}: the table {table} is already captured as {owner.name} ({owner.place}).",
                "Leave it out here.",
            )
        entity = Entity(name, table, f"row of {table}", place)
        self.entities[name] = entity
        self.references.append(Reference(table, (), f"the events {name}.*", place))
        return entity

    def _entity_of(self, table: str) -> Entity | None:
        return next((e for e in self.entities.values() if e.table == table and e.enabled), None)

    # -- events -----------------------------------------------------------------------------------------------------

    def _read_events(self, file: CatalogueFile, places: Places) -> None:
        seen: dict[str, FilePlace] = {}
        for index, entry in enumerate(file.event):
            path: TomlPath = ("event", index)
            place = places.of(path)
            by_time = entry.date is not None or entry.days is not None
            operations = frozenset() if by_time else _operations(entry, place)
            for entity in self._entities_of(entry, path, places):
                rule = _rule(entity, entry, operations, place)
                rule = _by_time(rule, self.rules.get(rule.event), entry) if by_time else rule
                if rule.event in seen:
                    raise ConfigError(f"{place}: {rule.event} is there already ({seen[rule.event]}).", "Remove one.")
                seen[rule.event] = place
                self.rules[rule.event] = rule
                self._refer(rule, path, places)

    def _entities_of(self, entry: EventEntry, path: TomlPath, places: Places) -> list[Entity]:
        place = places.of((*path, "name"))
        if not _EVENT_NAME.match(entry.name) or entry.name in ROW_EVENTS:
            raise ConfigError(
                f"{place}: {entry.name!r} cannot be the name of a transition.",
                f"Use a to z, 0 to 9 and _, and none of {', '.join(ROW_EVENTS)}.",
            )
        if (entry.entity is None) is (entry.table is None):
            raise ConfigError(f"{places.of(path)}: a rule names either an entity or a table.", "Keep one of the two.")
        if entry.table is not None:
            place = places.of((*path, "table"))
            return [self._entity_of(entry.table) or self._add_table(entry.table, place)]
        names = [entry.entity] if isinstance(entry.entity, str) else entry.entity or []
        unknown = [name for name in names if name not in self.entities]
        if unknown or not names:
            place = places.of((*path, "entity"), unknown[0] if unknown else None)
            raise ConfigError(
                f"{place}: there is no entity {unknown[0]!r}." if unknown else f"{place}: no entity is named.",
                f"Known: {', '.join(sorted(self.entities))}; for any other table write table = …",
            )
        return [self.entities[name] for name in names]

    def _refer(self, rule: Rule, path: TomlPath, places: Places) -> None:
        for key, columns in _named_columns(rule):
            table = STATE_TABLE if key == "state" else rule.table
            for column in columns:
                place = places.of((*path, key), column)
                self.references.append(Reference(table, (column,), f"the event {rule.event}", place))


def _named_columns(rule: Rule) -> list[tuple[str, Iterable[str]]]:
    named: list[tuple[str, Iterable[str]]] = [
        ("becomes", sorted(named_columns(rule.becomes))),
        ("from", sorted(named_columns(rule.from_))),
        ("to", sorted(named_columns(rule.to))),
        ("where", sorted(named_columns(rule.where))),
        ("state", sorted(named_columns(rule.state))),
        ("date", (rule.date,) if rule.date else ()),
        ("changed", sorted(rule.changed)),
        ("unless_changed", sorted(rule.unless_changed)),
        ("ignore", sorted(rule.ignore)),
    ]
    return named


def _operations(entry: EventEntry, place: FilePlace) -> frozenset[Operation]:
    update_only = [key for key in _UPDATE_ONLY if getattr(entry, key)]
    if entry.operations is None:
        if not any(getattr(entry, key) for key in _CONDITIONS):
            raise ConfigError(
                f"{place}: nothing says when {entry.name} fires.", 'Add operations = ["create"], or more.'
            )
        arrives = entry.becomes and not update_only
        return frozenset({Operation.CREATE, Operation.UPDATE} if arrives else {Operation.UPDATE})
    operations = frozenset(Operation(name) for name in entry.operations)
    if update_only and operations != {Operation.UPDATE}:
        key = update_only[0].rstrip("_")
        raise ConfigError(f"{place}: {key} only makes sense for updates.", "Leave operations out, or name only update.")
    if entry.becomes and Operation.DELETE in operations:
        raise ConfigError(f"{place}: a deleted row does not become anything.", "Use where instead of becomes.")
    if not operations:
        raise ConfigError(f"{place}: operations is empty.", "Name at least one, or leave the key out.")
    return operations


def _by_time(rule: Rule, known: Rule | None, entry: EventEntry) -> Rule:
    """Return the rule with what it leaves to the one that it replaces.  Raises `ConfigError`."""
    others = [key for key in ("operations", *_CONDITIONS) if key != "where" and getattr(entry, key)]
    if others:
        raise ConfigError(
            f"{rule.place}: {others[0].rstrip('_')} makes no sense in a rule by time.", "Keep date, days and where."
        )
    if entry.days is None:
        raise ConfigError(f"{rule.place}: the key 'days' is missing.", "Add days = [-7, 0], for instance.")
    if not rule.date and (known is None or not known.date):
        raise ConfigError(f"{rule.place}: the key 'date' is missing.", "It names the column that has the date.")
    if rule.date or known is None:
        return rule
    return replace(rule, date=known.date, when=rule.when or known.when, where=rule.where or known.where)


def _rule(entity: Entity, entry: EventEntry, operations: frozenset[Operation], place: FilePlace) -> Rule:
    return Rule(
        entity=entity.name,
        name=entry.name,
        table=entity.table,
        operations=operations,
        place=place,
        when=entry.when,
        becomes=entry.becomes,
        from_=entry.from_,
        to=entry.to,
        where=entry.where,
        state=entry.state,
        changed=frozenset(entry.changed or ()),
        unless_changed=frozenset(entry.unless_changed or ()),
        ignore=frozenset(entry.ignore or ()),
        copies=None if entry.copies is None else Child(entry.copies.table, entry.copies.column),
        infer=entry.infer,
        date=entry.date or "",
        days=tuple(sorted(set(entry.days or ()))),
    )


def _is_name(column: str) -> bool:
    """Return whether it is the name of one column, and no pattern of names."""
    return _ANY not in column and not column.startswith("!")
