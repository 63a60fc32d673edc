"""A small database with what capture must cope with, and its journal as people with a psql would see it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.column import Capture
from support.database import Database
from support.programs import NoServerError, find

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


def client(database: Database, program: str, *arguments: str, text: str = "") -> str:
    """psql or pg_dump of the server's own version; skips where the programs are not here."""
    try:
        folder = find("postgresql").folder
    except NoServerError:
        pytest.skip("PostgreSQL runs in a container: no client programs here")
    major = int(database.execute("SHOW server_version_num")[0][0]) // 10000
    folders = (folder, Path(f"/usr/lib/postgresql/{major}/bin"))
    path = next((each / program for each in folders if (each / program).exists()), None)
    if path is None:
        pytest.skip(f"no {program} here")
    info = database.info
    command = [str(path), "-h", info.host, "-p", str(info.port), "-U", info.user, "-d", info.database, *arguments]
    environment = {"PGPASSWORD": info.password, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
