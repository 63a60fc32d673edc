"""The rights of accounts of a PostgreSQL server, as its catalogue says."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.database.sqlfile import load
from cdc.model.connection import Account, AccountChoice, AccountRole, ConnectionInfo, KnownAccount, Standing

_QUERIES = "postgres/read/accounts.sql"
Connection = psycopg.Connection[Any]


def accounts_of(choice: AccountChoice, info: ConnectionInfo, connection: Connection) -> dict[AccountRole, Account]:
    """Return the accounts for which grants are printed."""

    def known(name: str) -> KnownAccount:
        row = connection.execute(load(f"{_QUERIES}#known").encode(), [name]).fetchone()
        if row is None:
            return KnownAccount(Standing.ABSENT)
        foreign, elsewhere = row
        return KnownAccount(Standing.FOREIGN if foreign else Standing.SHARED if elsewhere else Standing.OWN)

    row = connection.execute(load(f"{_QUERIES}#owner").encode()).fetchone()
    installed = str(row[0]) if row else ""
    return {
        AccountRole.INSTALLER: choice.account(AccountRole.INSTALLER, info, known, installed),
        AccountRole.CONSUMER: choice.account(AccountRole.CONSUMER, info, known),
    }


def connecting_roles(connection: Connection) -> list[str] | None:
    """Return the roles that may connect to this database only because everybody may; None where not everybody may."""
    row = connection.execute(load(f"{_QUERIES}#everybody_connects").encode()).fetchone()
    if row is None or not row[0]:
        return None
    return [str(name) for (name,) in connection.execute(load(f"{_QUERIES}#connecting").encode()).fetchall()]


def replicating(connection: Connection, roles: list[str]) -> set[str]:
    """Return those of these roles that may read the log of the whole server."""
    found = connection.execute(load(f"{_QUERIES}#replicating").encode(), [roles]).fetchall()
    return {str(name) for (name,) in found}


def readers(connection: Connection, roles: list[str]) -> dict[str, str]:
    """Return those of these roles that may read something in this database: role → a table."""
    return dict(connection.execute(load(f"{_QUERIES}#readers").encode(), [roles]).fetchall())
