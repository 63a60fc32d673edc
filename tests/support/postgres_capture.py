"""A small database with what capture must cope with, and its journal as people with a psql would see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.column import Capture
from support.database import Database

SCHEMA = """
CREATE TABLE customers (code varchar(10) PRIMARY KEY, name text NOT NULL, email text);
CREATE TABLE invoices (
    id serial PRIMARY KEY,
    customer varchar(10) REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE,
    total double precision DEFAULT 0,
    paid boolean DEFAULT false,
    units integer,
    day date,
    note text
);
CREATE TABLE users (nick varchar(50) PRIMARY KEY, password text, logkey text, level integer);
CREATE TABLE odd (id integer PRIMARY KEY, document json, place point, label text);
"""
CAPTURES = [
    Capture("customers"),
    Capture("invoices"),
    Capture("users", frozenset({"password", "logkey", "iban"})),
    Capture("odd"),
]


@dataclass
class Shop:
    """A database with triggers installed."""

    database: Database
    installer: PostgresInstaller

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        return self.database.execute(sql, parameters)

    def journal(self) -> list[tuple[str, str, str | None, str | None]]:
        """Table, operation, before, after in order."""
        return self.execute("SELECT table_name, operation::text, before, after FROM cdc.cdc_journal ORDER BY lsn")
