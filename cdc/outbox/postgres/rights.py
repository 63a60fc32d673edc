"""The accounts of a PostgreSQL outbox: what each role of a process needs, the SQL that grants it, and what the present
account has.

One account that owns the schema may do everything.  Others may do a part: a stolen delivery worker then makes no
administrator, token or endpoint (`docs/security.md`).  Only the owner changes tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from cdc.database.sqlfile import render
from cdc.model.worker import ProcessRole
from cdc.outbox.database import Database

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
    return [right for each in roles for on, text in RIGHTS[each].items() for right in _rights(on, text)]


def _rights(on: str, text: str) -> Iterator[Right]:
    for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", text):
        for column in columns.split(", ") if columns else [""]:
            yield Right(on, privilege, column)


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
