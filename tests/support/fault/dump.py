"""A dump of the ERP's database by the server's own means, and its restoration over the running database."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from support import programs
from support.database import Database


def has_dump(flavour: str) -> bool:
    """Return whether the dump can be taken here: PostgreSQL's needs its program."""
    return flavour != "postgresql" or not programs.docker_answers()


@dataclass
class Dump:
    """``statements`` that put everything back as mariadb-dump, mysqldump and pg_dump write it: tables dropped, created,
    filled, then their triggers.  The rows of MariaDB and MySQL are stored in a database beside."""

    statements: list[str] = field(default_factory=list)

    def restore(self, database: Database) -> None:
        connection = database.connect(autocommit=True)
        cursor = connection.cursor()
        for statement in self.statements:
            cursor.execute(statement)
        connection.close()


def take(database: Database) -> Dump:
    return _postgres(database) if database.flavour == "postgresql" else _mysql(database)


def _postgres(database: Database) -> Dump:
    info = database.info
    command = [str(programs.find("postgresql").folder / "pg_dump"), "--inserts", info.database]
    where = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGPASSWORD": info.password}
    done = subprocess.run(command, env=os.environ | where, check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("\\")]  # commands of its client
    names = database.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    )
    drops = [f'DROP SCHEMA "{name}" CASCADE' for (name,) in names]
    drops += [f"DROP PUBLICATION {name}" for (name,) in database.execute("SELECT pubname FROM pg_publication")]
    return Dump([*drops, "CREATE SCHEMA public", "\n".join(lines)])


def _mysql(database: Database) -> Dump:
    name, rows = database.info.database, f"{database.info.database}_dump"
    ask = partial(_rows, database)
    database.execute(f"DROP DATABASE IF EXISTS {rows}")
    database.execute(f"CREATE DATABASE {rows}")
    dump = Dump(["SET foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"])
    sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name"
    for (table,) in ask(sql, name):
        columns = ask(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND generation_expression IS NULL OR table_schema = %s AND table_name = %s AND generation_expression = ''",
            *(name, table) * 2,
        )
        names = ", ".join(f"`{column}`" for (column,) in columns)
        database.execute(f"CREATE TABLE {rows}.`{table}` AS SELECT {names} FROM `{table}`")
        ((_, created),) = ask(f"SHOW CREATE TABLE `{table}`")
        dump.statements += [f"DROP TABLE IF EXISTS `{table}`", created]
        dump.statements.append(f"INSERT INTO `{table}` ({names}) SELECT {names} FROM {rows}.`{table}`")
        for trigger, *_ in ask(f"SHOW TRIGGERS WHERE `Table` = '{table}'"):
            dump.statements.append(ask(f"SHOW CREATE TRIGGER `{trigger}`")[0][2])
    return dump


def _rows(database: Database, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    return database.execute(sql, values or None)
