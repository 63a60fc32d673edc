"""FacturaScripts' tables and first rows as statements for an engine: the database of the demo and of the tests."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Literal

from cdc.facturascripts.schema import TableSpec, specs

Flavour = Literal["postgresql", "mariadb", "mysql"]

_NAMES = re.compile(r"(?<=\()[\w, ]+(?=\))|(?<=CONSTRAINT )\w+|(?<=REFERENCES )\w+")
_MYSQL_SUFFIX = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci"


@cache
def ddl(flavour: Flavour) -> str:
    """The statements that create the tables in an empty database.  Foreign keys come last, or unchecked: some tables
    refer to each other."""
    if flavour == "postgresql":
        tables = [_create(spec, '"', spec.keys) for spec in specs()]
        return "\n".join([*tables, *(_add_foreign_keys(spec) for spec in specs() if spec.foreign_keys)])
    tables = [_create(spec, "`", (*spec.keys, *spec.foreign_keys), _MYSQL_SUFFIX) for spec in specs()]
    return "\n".join(["SET FOREIGN_KEY_CHECKS = 0;", *tables, "SET FOREIGN_KEY_CHECKS = 1;"])


@cache
def seed(flavour: Flavour) -> str:
    """The statements that insert the rows which FacturaScripts itself creates."""
    text = (files("cdc.demo") / "seed.sql").read_text(encoding="utf-8")
    if flavour != "postgresql":
        return text
    seeded = set(re.findall(r"INSERT INTO (\w+)", text))
    return "\n".join([text, *(_advance_sequence(spec) for spec in specs() if spec.serial and spec.name in seeded)])


def _create(spec: TableSpec, quote: str, constraints: tuple[str, ...], suffix: str = "") -> str:
    types = ((name, rest if quote == '"' else _mysql_type(rest)) for name, rest in spec.columns)
    columns = [f"{quote}{name}{quote} {kind}" for name, kind in types]
    body = ",\n    ".join([*columns, *(_quote_names(item, quote) for item in constraints)])
    return f"CREATE TABLE {quote}{spec.name}{quote} (\n    {body}\n){suffix};"


def _mysql_type(rest: str) -> str:
    """Old servers give a bare timestamp a default and an automatic update; FacturaScripts' have neither."""
    return {"serial": "integer NOT NULL AUTO_INCREMENT", "timestamp": "timestamp NULL DEFAULT NULL"}.get(rest, rest)


def _quote_names(item: str, quote: str) -> str:
    """A constraint with its names quoted."""

    def quoted(match: re.Match[str]) -> str:
        return ", ".join(f"{quote}{name}{quote}" for name in match[0].split(", "))

    return _NAMES.sub(quoted, item)


def _add_foreign_keys(spec: TableSpec) -> str:
    additions = ",\n    ".join("ADD " + _quote_names(item, '"') for item in spec.foreign_keys)
    return f'ALTER TABLE "{spec.name}"\n    {additions};'


def _advance_sequence(spec: TableSpec) -> str:
    """Return the statement that moves a sequence past the numbers of the seed rows."""
    highest = f'(SELECT max("{spec.serial}") FROM "{spec.name}")'  # noqa: S608 - identifiers come from our own table file
    return f"SELECT setval(pg_get_serial_sequence('{spec.name}', '{spec.serial}'), {highest});"
