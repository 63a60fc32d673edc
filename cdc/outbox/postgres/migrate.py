"""The schema of the PostgreSQL outbox: ``sql/postgres/outbox/migrations``, applied in one transaction.

The table ``cdc_outbox.migration`` names those that were applied.  Several processes may start at once: one migrates
under an advisory lock, the others wait for it and find nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from cdc.database.sqlfile import load
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import OutboxError
from cdc.outbox.database import postgres_statements
from cdc.outbox.migrate import Migration, migrations
from cdc.outbox.postgres import rights
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.postgres.session import connect_plainly, sentence


async def read_schema(info: ConnectionInfo) -> dict[str, object]:
    """The server's version, the newest migration, and the columns of each table.  Raises `OutboxError`."""
    connection = await connect_plainly(info)
    try:
        cursor = await connection.execute("SELECT max(number) FROM cdc_outbox.migration")
        newest = await cursor.fetchone()
        columns = await (await connection.execute(postgres_statements()["schema"].encode())).fetchall()
        server = connection.info.server_version
    except psycopg.Error as error:
        raise sentence(error, info) from error
    finally:
        await connection.close()
    return {"server": server, "version": newest[0] if newest else None, "columns": columns}


async def read_account(info: ConnectionInfo) -> rights.OutboxAccount:
    """Return the account that these parameters connect with.  Raises `OutboxError`."""
    connection = await connect_plainly(info)
    try:
        return await rights.account(PostgresDatabase(connection))
    except psycopg.Error as error:
        raise sentence(error, info) from error
    finally:
        await connection.close()


ENGINE = "postgres/outbox"
_LOCK = "SELECT pg_advisory_xact_lock(1667523328, 3)"
_CREATE_SCHEMA = "CREATE SCHEMA cdc_outbox"
_VERSION = "SELECT COALESCE(max(number), 0) FROM cdc_outbox.migration"
_APPLIED = "INSERT INTO cdc_outbox.migration (number, name) VALUES ({number}, '{name}')"


async def migrate_postgres(info: ConnectionInfo, steps: Sequence[Migration] | None = None) -> None:
    """Bring the database to the newest schema.  Raises `OutboxError`."""
    wanted = migrations(ENGINE) if steps is None else steps
    connection = await connect_plainly(info)
    try:
        db = PostgresDatabase(connection)
        if await _version(db, info) < len(wanted):
            await _check_owner(db, info, len(wanted))
            async with connection.transaction():
                await db.script("SET LOCAL lock_timeout = '60s'")
                await db.script(_LOCK)
                await _apply(db, info, wanted)
        if await _version(db, info) > len(wanted):
            raise OutboxError(
                f"The outbox in {info.describe()} has schema version {await _version(db, info)}, newer than this "
                f"program's {len(wanted)}.",
                "Upgrade facturascripts-cdc, or name another database in [outbox] url.",
            )
    except psycopg.Error as error:
        raise sentence(error, info) from error
    finally:
        await connection.close()


async def _check_owner(db: PostgresDatabase, info: ConnectionInfo, needed: int) -> None:
    """Raise `OutboxError` for an account that uses the tables of another, and may not change them."""
    for name, *_, owner, _ in await db.rows("account"):
        if not owner:
            raise OutboxError(
                f"The outbox in {info.describe()} has schema version {await _version(db, info)}; this program needs "
                f"{needed}, and the account {name} may not change it.",
                "With the URL of the schema's owner: cdc outbox upgrade; then run what cdc outbox grants prints.",
            )


async def is_installed(info: ConnectionInfo) -> bool:
    """Return whether the database has an outbox of ours.  Raises `OutboxError`."""
    connection = await connect_plainly(info)
    try:
        return await _version(PostgresDatabase(connection), info) > 0
    except psycopg.Error as error:
        raise sentence(error, info) from error
    finally:
        await connection.close()


async def _version(db: PostgresDatabase, info: ConnectionInfo) -> int:
    """0: there is nothing of ours yet."""
    ((_, versions, occupied, encoding),) = await db.rows("installed")
    if encoding != "UTF8":
        raise OutboxError(
            f"The outbox cannot be in {info.describe()}, which keeps text as {encoding}.",
            "Create a database with ENCODING 'UTF8' for it.",
        )
    if occupied and not versions:
        raise OutboxError(
            f"The schema cdc_outbox of {info.describe()} belongs to another program.",
            "Name another database in [outbox] url.",
        )
    return int((await db.query(_VERSION, {}))[0][0]) if versions else 0


async def _apply(db: PostgresDatabase, info: ConnectionInfo, steps: Sequence[Migration]) -> None:
    version = await _version(db, info)
    ((schema, versions, _, _),) = await db.rows("installed")
    if not schema:
        await db.script(_CREATE_SCHEMA)
    if not versions:
        await db.script(load(f"{ENGINE}/versions.sql"))
    for step in steps[version:]:
        await db.script(step.script)
        await db.script(_APPLIED.format(number=step.number, name=step.name))


def migration_script() -> str:
    """Return all migrations as one script for a DBA, with the grants of the consumer's user."""
    parts = ["BEGIN;", f"{_CREATE_SCHEMA};", load(f"{ENGINE}/versions.sql")]
    for step in migrations(ENGINE):
        parts += [step.script, f"{_APPLIED.format(number=step.number, name=step.name)};\n"]
    return "\n".join([*parts, load(f"{ENGINE}/grants.sql"), "COMMIT;"])
