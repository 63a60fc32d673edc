"""The accounts that ``cdc outbox grants`` prints, on a test's database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cdc.model.connection import ConnectionInfo
from cdc.model.worker import ProcessRole
from cdc.outbox.postgres.schema import grants_script
from support.database import Database

ROLES = (ProcessRole.CAPTURE, ProcessRole.DISPATCH, ProcessRole.WEB)
PASSWORD = "clave"


@contextmanager
def role_accounts(database: Database) -> Iterator[Mapping[ProcessRole, ConnectionInfo]]:
    """Make the accounts; they are gone after the block."""
    names = {role: f"{database.name}_{role}" for role in ROLES}
    script = grants_script(database.name, database.name)
    for name in names.values():
        login = f'CREATE ROLE "{name}" LOGIN'
        assert login in script
        script = script.replace(login, f"{login} PASSWORD '{PASSWORD}'")
    database.script(script)
    try:
        yield {role: database.info.as_user(name, PASSWORD) for role, name in names.items()}
    finally:
        for name in names.values():
            database.execute(f'DROP OWNED BY "{name}" CASCADE')
            database.execute(f'DROP ROLE "{name}"')
