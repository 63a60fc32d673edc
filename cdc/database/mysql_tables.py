"""The tables of a MariaDB or MySQL database, as information_schema shows them to the connected account."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from cdc.database import sqlfile
from cdc.database.mysql_connection import rows
from cdc.database.mysql_journal import TABLES
from cdc.database.mysql_types import MySQLColumn
from cdc.model.column import SecretColumns, Table
from cdc.model.finding import NO_KEY, NOT_INNODB, SurveyedTable


@dataclass(frozen=True, slots=True)
class MySQLTable:
    """``key``: primary key columns, empty without one."""

    name: str
    engine: str
    columns: tuple[MySQLColumn, ...]
    key: tuple[str, ...]

    def column(self, name: str) -> MySQLColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(column.name for column in self.columns)

    def without(self, secrets: SecretColumns) -> MySQLTable:
        hidden = secrets.of(self.names, self.key)
        columns = tuple(column for column in self.columns if column.name not in hidden)
        return MySQLTable(self.name, self.engine, columns, self.key)

    @property
    def as_table(self) -> Table:
        return Table(self.name, tuple(column.column for column in self.columns), self.key)


def read_tables(connection: Connection[Any], name: str | None = None) -> dict[str, MySQLTable]:
    """All base tables that the account may see, by name; or the one called ``name``, if it is there."""

    def ask(what: str) -> Sequence[Sequence[Any]]:
        return rows(connection, sqlfile.load(f"mysql/queries.sql#inspect_{what}"), (name,))

    keys, columns = _by_table(ask("keys")), _by_table(ask("columns"))
    found = {text(table): text(engine) for table, engine in ask("tables")}
    return {
        table: MySQLTable(
            table,
            engine,
            tuple(MySQLColumn(*column) for column in columns[table]),
            tuple(column for (column,) in keys.get(table, ())),
        )
        for table, engine in found.items()
        if table in columns  # else it has come between the two questions
    }


def _by_table(found: Iterable[Sequence[Any]]) -> dict[str, list[list[str]]]:
    """Rows that begin with the name of a table, without it."""
    tables: dict[str, list[list[str]]] = {}
    for table, *rest in found:
        tables.setdefault(text(table), []).append([text(each) for each in rest])
    return tables


#: Before a statement that names a table which the connected account does not see.
UNSEEN = "-- The account that printed this sees no such table: "


def survey(connection: Connection[Any], installed: Collection[str] | None, *, counted: bool) -> list[SurveyedTable]:
    """The base tables but ours.  ``installed``: those whose triggers are; None: none needs any."""
    found = rows(connection, sqlfile.load("mysql/queries.sql#inspect_tables"), (None,))
    estimates = rows(connection, sqlfile.load("mysql/queries.sql#estimated_rows")) if counted else []
    counts = {text(name): int(count) for name, count in estimates}
    keyed = {text(name) for name, _ in rows(connection, sqlfile.load("mysql/queries.sql#inspect_keys"), (None,))}
    return [
        SurveyedTable(
            name,
            counts.get(name),
            NO_KEY if name not in keyed else NOT_INNODB if engine != "innodb" and installed is not None else "",
            installed is None or name in installed,
        )
        for name, engine in ((text(name), text(engine).lower()) for name, engine in found)
        if name not in TABLES
    ]


def text(value: Any) -> str:
    """MySQL gives some texts of information_schema as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
