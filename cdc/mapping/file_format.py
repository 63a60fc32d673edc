"""The catalogue file as it may be written: keys and kinds of values.  What they mean is in `cdc.mapping.catalogue`."""

from __future__ import annotations

import tomllib
from datetime import time
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from cdc.mapping.rule import Condition, parse_condition
from cdc.model.errors import ConfigError
from cdc.model.toml_lines import Places, TomlPath

ChildKind = Literal["lines", "receipts"]
RelatedKind = Literal["customer", "supplier", "origin"]
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
    """When the days of rules by time begin."""

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
    return ConfigError(f"{places.of(path)}: {name} is wrong: {_reason(error)}.", "See docs/events.md for its form.")


def _known_keys(path: TomlPath) -> list[str]:
    models: dict[int, type[BaseModel]] = {1: CatalogueFile, 3: EntityEntry if path[0] == "entity" else EventEntry}
    model = models.get(len(path), LabelEntry if path[2:3] == ("label",) else ChildEntry)
    return sorted(info.alias or name for name, info in model.model_fields.items())


def _reason(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]
