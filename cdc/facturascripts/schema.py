"""The tables of FacturaScripts itself (``schema.sql``), and what it calls them: classes of models (``models.tsv``) and
the resources of its API.  Facts only: no rules, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from cdc.model.column import Column, ColumnKind, Table

_TABLE = re.compile(r"^CREATE TABLE (\w+) \(\n(.*?)\n\);$", re.MULTILINE | re.DOTALL)
_COMMA = re.compile(r",\s+(?![^(]*\))")  # between items, not inside parentheses
_PRIMARY_KEY = re.compile(r"PRIMARY KEY \((.*)\)")
_TYPE = re.compile(r"double precision|\w+")
#: Type in the notation of ``schema.sql`` → kind of column on every engine.
_KINDS = {
    "boolean": ColumnKind.BOOLEAN,
    "date": ColumnKind.DATE,
    "double precision": ColumnKind.DOUBLE,
    "integer": ColumnKind.INTEGER,
    "serial": ColumnKind.INTEGER,
    "text": ColumnKind.TEXT,
    "time": ColumnKind.TIME,
    "timestamp": ColumnKind.TIMESTAMP,
    "varchar": ColumnKind.TEXT,
}
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table in the notation of ``schema.sql``: (name, type and rest) of its columns, keys, foreign keys."""

    name: str
    columns: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    foreign_keys: tuple[str, ...]

    @property
    def serial(self) -> str | None:
        """The auto-increment column."""
        return next((name for name, rest in self.columns if rest == "serial"), None)

    @property
    def as_table(self) -> Table:
        types = [(name, _TYPE.match(rest)) for name, rest in self.columns]
        columns = tuple(Column(name, _KINDS[found[0]]) for name, found in types if found is not None)
        assert len(columns) == len(types), self.name
        primary = next((found[1] for key in self.keys if (found := _PRIMARY_KEY.match(key))), "")
        return Table(self.name, columns, tuple(primary.split(", ") if primary else ()))


@cache
def specs() -> tuple[TableSpec, ...]:
    """All tables, in the order of the file."""
    text = (files("cdc.facturascripts") / "schema.sql").read_text(encoding="utf-8")
    return tuple(_spec(name, body) for name, body in _TABLE.findall(text))


@cache
def tables() -> Mapping[str, Table]:
    """Name → table, as a database of FacturaScripts has it whose plugins add no columns."""
    return MappingProxyType({spec.name: spec.as_table for spec in specs()})


def _spec(name: str, body: str) -> TableSpec:
    columns, keys, foreign_keys = [], [], []
    for item in _COMMA.split(" ".join(body.split())):
        if " FOREIGN KEY " in item:
            foreign_keys.append(item)
        elif item.startswith(("PRIMARY KEY", "CONSTRAINT")):
            keys.append(item)
        else:
            column, rest = item.split(" ", 1)
            columns.append((column, rest))
    return TableSpec(name, tuple(columns), tuple(keys), tuple(foreign_keys))


@cache
def models() -> Mapping[str, str]:
    """Table → class, of FacturaScripts itself: plugins' classes are not known."""
    text = (files("cdc.facturascripts") / "models.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines())
    return MappingProxyType({table: model for model, table in pairs})


@cache
def model_names() -> Mapping[str, str]:
    """Table → its class as the name of an entity: ``facturascli`` → ``factura_cliente``."""
    return MappingProxyType({table: _WORD.sub("_", model).lower() for table, model in models().items()})


@cache
def resources() -> Mapping[str, str]:
    """Table → its resource in the API v3: ``facturascli`` → ``facturaclientes``."""
    return MappingProxyType({table: plural(model) for table, model in models().items()})


def plural(model: str) -> str:
    """The resource of a class, by FacturaScripts' own rule."""
    name = model.lower()
    if name.endswith("s"):
        return name
    return f"{name}s" if name.endswith(("ser", "tion")) or name[-1] in "aeiouk" else f"{name}es"
