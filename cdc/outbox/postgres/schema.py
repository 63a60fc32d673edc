"""The schema of the PostgreSQL outbox: ``sql/postgres/outbox/migrations``, applied in one transaction; and its
accounts: what each role of a process needs, the SQL that grants it, and what the present account has.

The table ``cdc_outbox.migration`` names the migrations that were applied.  Several processes may start at once: one
migrates under an advisory lock, the others wait for it and find nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cdc.database.sqlfile import load, render
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import OutboxError
from cdc.model.worker import ProcessRole
from cdc.outbox.database import Database, Migration, migrations
from cdc.outbox.postgres.database import PostgresDatabase, plain_connection

#: Characters of a prefix: PostgreSQL cuts a name at 63 bytes.
_LONGEST_PREFIX: Final = 63 - len("_dispatch")
_ACCESS: Final = "SELECT, INSERT, UPDATE, DELETE"
#: Role → object → what GRANT names: privileges, of some columns or of all.
RIGHTS: Final[Mapping[ProcessRole, Mapping[str, str]]] = {
    ProcessRole.CAPTURE: {
        "migration": "SELECT",
        "event": "SELECT, INSERT",
        "delivery": "SELECT, INSERT, UPDATE (lane, state)",
        "endpoint": "SELECT (number, id, events, sources, enabled, disabled_reason, created_at, removed_at,"
        " delivery_order, condition, failing_since)",
        "endpoint_outline": "SELECT",
        "endpoint_version": "SELECT",
        "finished_count": "SELECT",
        "lane_alias": "SELECT, INSERT, UPDATE (root)",
        "source_position": "SELECT, INSERT, UPDATE",
        "source_state": _ACCESS,
        "source_lease": "SELECT, INSERT, UPDATE",
        "worker": _ACCESS,
        "live_worker": "SELECT",
        "kept_row": _ACCESS,
        "backfill": "SELECT, UPDATE (state, row_count, place, finished_at, error)",
        "quarantine": "INSERT, SELECT (id, source)",
        "resealing": "SELECT",
        "store": "EXECUTE",
        "disable_filtered": "EXECUTE",
        "note_filter": "EXECUTE",
    },
    ProcessRole.DISPATCH: {
        "migration": "SELECT",
        "event": "SELECT, INSERT, DELETE, UPDATE (payload, label_code, label_name)",
        "delivery": "SELECT, INSERT, DELETE, UPDATE (state, due, attempts, worker, finished_at)",
        "attempt": "SELECT, INSERT, DELETE, UPDATE (url, error, answer)",
        "endpoint": "SELECT, UPDATE (failing_since)",
        "endpoint_version": "SELECT",
        "endpoint_limit": "SELECT, INSERT, UPDATE",
        "finished_count": "SELECT, INSERT, UPDATE",
        "activity": _ACCESS,
        "resealing": _ACCESS,
        "kept_row": "SELECT, UPDATE (content)",
        "lane_alias": "SELECT",
        "quarantine": "SELECT, DELETE, UPDATE (row_key, image_before, image_after)",
        "disable_endpoint": "EXECUTE",
        "disable_failing": "EXECUTE",
        "disable_filtered": "EXECUTE",
        "note_filter": "EXECUTE",
    },
    ProcessRole.WEB: {
        "migration": "SELECT",
        "event": "SELECT, INSERT, UPDATE (payload, label_code, label_name)",
        "delivery": "SELECT, INSERT, UPDATE (lane, state, due, attempts, worker, finished_at)",
        "attempt": "SELECT, INSERT, UPDATE (answer)",
        "endpoint": "SELECT, INSERT, UPDATE",
        "endpoint_version": "SELECT, UPDATE",
        "endpoint_limit": "SELECT, UPDATE, DELETE",
        "finished_count": "SELECT, INSERT, UPDATE",
        "activity": "SELECT, INSERT, UPDATE",
        "lane_alias": "SELECT",
        "replay": "SELECT, INSERT, UPDATE",
        "backfill": "SELECT, INSERT, UPDATE",
        "quarantine": "SELECT, DELETE, UPDATE (backfill)",
        "resealing": "SELECT, INSERT, UPDATE",
        "source_position": "SELECT",
        "source_state": "SELECT",
        "access_user": _ACCESS,
        "access_totp_step": "SELECT, INSERT, UPDATE",
        "access_setup": "SELECT, INSERT, DELETE",
        "access_session": _ACCESS,
        "access_token": _ACCESS,
        "idempotency": _ACCESS,
        "audit": "SELECT, INSERT, UPDATE (hash)",
        "audit_chain": "SELECT, INSERT, UPDATE",
        "disable_endpoint": "EXECUTE",
        "disable_filtered": "EXECUTE",
        "note_filter": "EXECUTE",
        "forget_audit": "EXECUTE",
    },
}


class Right(NamedTuple):
    """``column``: the one that it is limited to; empty: none."""

    on: str
    privilege: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.privilege}{f' ({self.column})' if self.column else ''} on {self.on}"


@dataclass(frozen=True, slots=True)
class OutboxAccount:
    """The account of a connection.  ``owner``: it may act as the owner of the schema.  ``mighty``: it is a superuser,
    makes roles, or creates objects in the schema, which no part of the work needs."""

    name: str
    owner: bool
    mighty: bool
    rights: frozenset[Right]

    def lacks(self, role: ProcessRole) -> list[Right]:
        """Return what a process of this role needs and the account has not."""
        return [] if self.owner else [each for each in needed(role) if not _included(each, self.rights)]

    @property
    def roles(self) -> list[ProcessRole]:
        """Return the parts of the work that it may do."""
        return [role for role in ProcessRole if not self.lacks(role)]

    def nearest(self) -> tuple[list[Right], ProcessRole]:
        """Return the role of which it lacks least, and what it lacks."""
        role = min(RIGHTS, key=lambda role: len(self.lacks(role)))
        return self.lacks(role), role

    @property
    def surplus(self) -> list[Right]:
        """Return what none of its roles needs."""
        allowed = {right for role in self.roles for right in needed(role)}
        return sorted(each for each in self.rights if not _included(each, allowed))


def needed(role: ProcessRole) -> list[Right]:
    """Return the rights that a role needs, one for each column."""
    roles = RIGHTS if role is ProcessRole.ALL else [role]
    return [
        Right(on, privilege, column)
        for each in roles
        for on, text in RIGHTS[each].items()
        for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", text)
        for column in columns.split(", ")
    ]


def _included(right: Right, rights: Collection[Right]) -> bool:
    return right in rights or right._replace(column="") in rights


class SecretRights(NamedTuple):
    """The rights on secrets: an account ``reads`` and ``writes`` those of endpoints, and writes those of ``users``."""

    reads: bool
    writes: bool
    users: bool


async def secret_rights(db: Database) -> SecretRights:
    """Return the rights of this connection's account: one that only captures has none of them."""
    (row,) = await db.rows("secret_rights")
    return SecretRights(*row)


async def account(db: Database) -> OutboxAccount:
    """Return the account of this connection."""
    ((name, superuser, makes_roles, owner, creates),) = await db.rows("account")
    rights = frozenset(Right(*row) for row in await db.rows("own_rights"))
    mighty = superuser or makes_roles or (creates and not owner)
    return OutboxAccount(name, owner, mighty, rights)


def grants_script(database: str, prefix: str) -> str:
    """Return the SQL that makes an account for each role, or takes from it what it does not need any more."""
    parts = [render("postgres/outbox/roles.sql", database=database), "BEGIN;"]
    for role, objects in RIGHTS.items():
        name = f"{prefix[:_LONGEST_PREFIX]}_{role}"
        account = _quoted(name)
        grants = [
            f"GRANT {text} ON {'FUNCTION ' if text == 'EXECUTE' else ''}cdc_outbox.{on} TO {account};"
            for on, text in objects.items()
        ]
        literal = "'" + name.replace("'", "''") + "'"
        places = {"account": account, "literal": literal, "database": _quoted(database), "grants": "\n".join(grants)}
        parts.append(render("postgres/outbox/role.sql", role=role.value, **places))
    return "\n".join([*parts, "COMMIT;"])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def read_schema(info: ConnectionInfo) -> dict[str, object]:
    """The server's version, the newest migration, and the columns of each table.  Raises `OutboxError`."""
    async with plain_connection(info) as db:
        ((newest,),) = await db.query("SELECT max(number) FROM cdc_outbox.migration", {})
        columns = await db.rows("schema")
        return {"server": db.connection.info.server_version, "version": newest, "columns": columns}


async def read_account(info: ConnectionInfo) -> OutboxAccount:
    """Return the account that these parameters connect with.  Raises `OutboxError`."""
    async with plain_connection(info) as db:
        return await account(db)


ENGINE = "postgres/outbox"
_LOCK = "SELECT pg_advisory_xact_lock(1667523328, 3)"
_CREATE_SCHEMA = "CREATE SCHEMA cdc_outbox"
_VERSION = "SELECT COALESCE(max(number), 0) FROM cdc_outbox.migration"
_APPLIED = "INSERT INTO cdc_outbox.migration (number, name) VALUES ({number}, '{name}')"


async def migrate_postgres(info: ConnectionInfo, steps: Sequence[Migration] | None = None) -> None:
    """Bring the database to the newest schema.  Raises `OutboxError`."""
    wanted = migrations(ENGINE) if steps is None else steps
    async with plain_connection(info) as db:
        if await _version(db, info) < len(wanted):
            await _check_owner(db, info, len(wanted))
            async with db.connection.transaction():
                await db.script("SET LOCAL lock_timeout = '60s'")
                await db.script(_LOCK)
                await _apply(db, info, wanted)
        if await _version(db, info) > len(wanted):
            raise OutboxError(
                f"The outbox in {info.describe()} has schema version {await _version(db, info)}, newer than this "
                f"program's {len(wanted)}.",
                "Upgrade facturascripts-cdc, or name another database in [outbox] url.",
            )


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
    async with plain_connection(info) as db:
        return await _version(db, info) > 0


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
