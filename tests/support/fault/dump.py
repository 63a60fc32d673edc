"""A dump of the ERP's database as the server's own program writes it: tables dropped, created, filled, then their
triggers."""

from __future__ import annotations

import os
import subprocess

from support import mysql_dump, programs
from support.database import Database


def has_dump(flavour: str) -> bool:
    """Return whether the dump can be taken here: PostgreSQL's needs its program."""
    return flavour != "postgresql" or not programs.docker_answers()


def take(database: Database) -> list[str]:
    """Return the statements, which `support.mysql_dump.restore` runs."""
    return _postgres(database) if database.flavour == "postgresql" else mysql_dump.dump(database)


def _postgres(database: Database) -> list[str]:
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
    return [*drops, "CREATE SCHEMA public", "\n".join(lines)]
