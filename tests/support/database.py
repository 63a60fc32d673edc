"""A database of one test: what tests do to it as its owner."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pymysql
from psycopg import sql as pgsql
from pymysql.constants import CLIENT

from cdc.demo import server as demo
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.servers import TestServer
from support.waiting import HANG_SECONDS

_numbers = count(1)


class Database:
    """``info``: an account that owns everything.  ``execute`` and ``script`` commit by themselves; ``connect`` gives a
    raw driver connection that does not.  Connections still open at the end are closed then."""

    def __init__(self, server: TestServer, name: str) -> None:
        self.server = server
        self.name = name
        self.flavour = server.flavour
        self.info: ConnectionInfo = server.info(name)
        self._connections: list[Any] = []
        self._own: Any = None
        self._lock = threading.Lock()

    def execute(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows of one statement; an empty list when it gives none."""
        with self._lock:
            cursor = self._autocommit().cursor()
            try:
                cursor.execute(sql, params)
                return list(cursor.fetchall()) if cursor.description else []
            finally:
                cursor.close()

    def drop(self, what: str) -> None:
        """Drop it, also while a process uses it: PostgreSQL ends one of two that wait for each other."""
        while True:
            try:
                self.execute(f"DROP {what}")
            except psycopg.errors.DeadlockDetected:
                continue
            return

    def kill(self, number: int) -> None:
        """End a connection of MariaDB or MySQL, unless it has ended by itself."""
        try:
            self.execute(f"KILL {number}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != 1094:  # no such thread
                raise

    def script(self, sql: str) -> None:
        """Run many statements; ``DELIMITER`` lines are understood as MySQL's client does."""
        with self._lock:
            for part in _parts(sql):
                cursor = self._autocommit().cursor()
                cursor.execute(part)
                while cursor.nextset():
                    pass
                cursor.close()

    def connect(self, user: str = "", password: str = "", *, autocommit: bool = False) -> Any:
        """A new psycopg or PyMySQL connection, as the owner or as another account."""
        info = self.info.as_user(user, password) if user else self.info
        connection: Any
        where: dict[str, Any] = {"host": info.host, "port": info.port, "user": info.user, "password": info.password}
        if self.flavour == "postgresql":
            connection = psycopg.connect(dbname=info.database, autocommit=autocommit, **where)
        else:
            how: dict[str, Any] = {"charset": "utf8mb4", "client_flag": CLIENT.MULTI_STATEMENTS}
            # TLS takes ten times the processor's time of the rest of a connection
            how |= {"connect_timeout": HANG_SECONDS, "ssl_disabled": True}
            connection = pymysql.connect(database=info.database, autocommit=autocommit, **how, **where)
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection that was made here."""
        for connection in self._connections:
            if self.flavour == "postgresql" or connection.open:
                connection.close()
        self._connections.clear()
        self._own = None

    def _autocommit(self) -> Any:
        """The connection of `execute`; a new one when the server went away since."""
        if self._own is None or (self._own.broken if self.flavour == "postgresql" else not self._own.open):
            self._own = self.connect(autocommit=True)
        return self._own


@contextmanager
def fresh_database(server: TestServer, *, erp: bool = False, outbox: bool = False) -> Iterator[Database]:
    """An empty database, or one with FacturaScripts' tables and seed rows, or (PostgreSQL) with the tables of an empty
    outbox; dropped afterwards."""
    administration = Database(server, server.info().database)
    try:
        name = _create(administration, erp=erp, outbox=outbox)
        database = Database(server, name)
        try:
            yield database
        finally:
            database.close()
            drop = _drop_postgres if server.flavour == "postgresql" else _drop_mysql
            drop(administration, name)
    finally:
        administration.close()


def create_database(server: TestServer, *, erp: bool) -> str:
    """Create a database; return its name, which is unique in the run."""
    administration = Database(server, server.info().database)
    try:
        return _create(administration, erp=erp)
    finally:
        administration.close()


def _create(administration: Database, *, erp: bool, outbox: bool = False) -> str:
    name = f"cdc_{os.getpid()}_{next(_numbers)}"
    if administration.flavour == "postgresql":
        template = _template(administration, "cdc_erp_template", _fill_erp) if erp else "template0"
        if outbox:
            template = _template(administration, "cdc_outbox_template", _fill_outbox)
        _create_postgres(administration, name, template)
    else:
        _create_mysql(administration, name, erp=erp)
    return name


def _create_postgres(administration: Database, name: str, template: str) -> None:
    (version,) = administration.execute("SHOW server_version_num")[0]
    # a copy of the files takes half of what it takes to log every page of them; before 15 there is no other way
    strategy = " STRATEGY file_copy" if int(version) >= 150000 else ""
    administration.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")


def _template(administration: Database, name: str, fill: Callable[[Database], None]) -> str:
    """Make the template once a server, whichever process is first."""
    exists = "SELECT 1 FROM pg_database WHERE datname = %s"
    if administration.execute(exists, [name]):
        return name
    administration.execute("SELECT pg_advisory_lock(1)")
    if not administration.execute(exists, [name]):
        building = f"{name}_building"
        administration.execute(f"CREATE DATABASE {building} TEMPLATE template0")
        template = Database(administration.server, building)
        fill(template)
        template.close()
        administration.execute(f"ALTER DATABASE {building} RENAME TO {name}")
    administration.execute("SELECT pg_advisory_unlock(1)")
    return name


def _fill_erp(template: Database) -> None:
    template.script(demo.ddl("postgresql"))
    template.script(demo.seed("postgresql"))


def _fill_outbox(template: Database) -> None:
    """Apply all migrations, in a thread: an event loop may run in this one."""

    async def create() -> None:
        outbox = PostgresOutbox(template.info)
        await outbox.open()
        await outbox.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create()).result()


def _create_mysql(administration: Database, name: str, *, erp: bool) -> None:
    administration.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci")
    if erp:
        inside = Database(administration.server, name)
        inside.script(f"{demo.ddl(inside.flavour)}\n{demo.seed(inside.flavour)}")
        inside.close()


def _drop_postgres(administration: Database, name: str) -> None:
    """Sessions, replication slots and prepared transactions of the database would keep it."""
    sessions = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    )
    (version,) = administration.execute("SHOW server_version_num")[0]
    if int(version) < 140000:
        sessions = sessions.replace(", 5000", "")
    administration.execute(sessions, [name])
    administration.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", [name]
    )
    prepared = administration.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s", [name])
    if prepared:
        inside = Database(administration.server, name)
        for (gid,) in prepared:
            inside.connect(autocommit=True).execute(pgsql.SQL("ROLLBACK PREPARED {}").format(pgsql.Literal(gid)))
        inside.close()
    administration.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _drop_mysql(administration: Database, name: str) -> None:
    """Transactions that a test left open hold metadata locks: end their connections first."""
    sessions = "SELECT id FROM information_schema.processlist WHERE db = %s"
    if (
        administration.flavour == "mysql"
    ):  # which fails there (3854) while a session's statement has an astral character
        sessions = "SELECT processlist_id FROM performance_schema.threads WHERE processlist_db = %s"
    for (number,) in administration.execute(sessions, [name]):
        administration.kill(number)
    administration.execute(f"SET SESSION lock_wait_timeout = {HANG_SECONDS:.0f}")
    administration.execute(f"DROP DATABASE {name}")


def _parts(sql: str) -> list[str]:
    """The script as the server can take it: whole, or cut at the delimiters that it sets."""
    if not re.search(r"(?mi)^DELIMITER\s", sql):
        return [sql]
    delimiter, parts, current = ";", [], ""
    for line in sql.splitlines(keepends=True):
        if command := re.match(r"(?i)DELIMITER\s+(\S+)", line):
            parts.append(current)
            delimiter, current = command[1], ""
            continue
        current += line
        if current.rstrip().endswith(delimiter):
            parts.append(current.rstrip().removesuffix(delimiter))
            current = ""
    return [part for part in (*parts, current) if part.strip()]
