"""The least privileges for MariaDB and MySQL, as statements.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.triggers.mysql_refusal import TRANSACTIONS
from cdc.capture.triggers.mysql_state import MySQLState
from cdc.database.mysql_connection import Flavour, literal, quote
from cdc.database.mysql_journal import INSTALLATION, JOURNAL, MARKER, PROBE, SHAPES, TABLES, WAIT, Tokens
from cdc.database.mysql_tables import UNSEEN, MySQLTable
from cdc.model.column import Capture

INSTALLER = "cdc_installer"
CONSUMER = "cdc_consumer"


def grants_text(found: MySQLState, captures: Sequence[Capture], database: str) -> str:
    """Accounts are named here by convention; a DBA changes names, hosts and passwords before running it."""
    return "\n".join(
        [
            "-- The installing account.  Triggers run with its rights (DEFINER): never drop it while they exist.",
            *_create(INSTALLER),
            *installer_grants(found, database),
            "-- The consuming account; to be granted after the installation.",
            *_create(CONSUMER),
            *consumer_grants(found, captures, database),
            "",
        ]
    )


def _create(account: str) -> list[str]:
    return [f"CREATE USER {_account(account)} IDENTIFIED BY {literal('change me')};"]


def _account(name: str) -> str:
    return f"{literal(name)}@{literal('%')}"


def installer_grants(found: MySQLState, database: str, account: str = INSTALLER) -> list[str]:
    schema = quote(database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))
    to = _account(account)
    grants = [f"GRANT SELECT, TRIGGER, LOCK TABLES, CREATE ROUTINE, ALTER ROUTINE ON {schema}.* TO {to};"]
    rights = "CREATE, DROP, INSERT, UPDATE, DELETE"
    grants += [f"GRANT {rights} ON {quote(database)}.{quote(table)} TO {to};" for table in TABLES]
    grants.append(f"-- Optional, to name connections that are in the way: GRANT PROCESS ON *.* TO {to};")
    if found.server.flavour is Flavour.MYSQL:
        grants.append("-- Needed: triggers run with this account's rights and read which transaction they are in.")
        grants.append(f"GRANT SELECT ON {TRANSACTIONS} TO {to};")
    if found.server.binlog:
        grants.append("SET GLOBAL log_bin_trust_function_creators = 1; -- and in the server's configuration file")
    return grants


def consumer_grants(
    found: MySQLState, captures: Sequence[Capture], database: str, account: str = CONSUMER
) -> list[str]:
    to = _account(account)
    schema = quote(database)
    rights = "SELECT, DELETE"
    if found.tokens is Tokens.ROW_START:
        rights += ", DELETE HISTORY"
    grants = [f"GRANT {rights} ON {schema}.{quote(JOURNAL)} TO {to};"]
    grants.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{quote(PROBE)} TO {to};")
    grants += [f"GRANT SELECT ON {schema}.{quote(name)} TO {to};" for name in (SHAPES, INSTALLATION)]
    grants.append(f"GRANT SELECT, UPDATE ON {schema}.{quote(MARKER)} TO {to};")
    grants.append(f"GRANT EXECUTE ON PROCEDURE {schema}.{quote(WAIT)} TO {to};")
    secrets = {capture.table: capture.secrets for capture in captures}
    for name in sorted(secrets):
        table = found.tables.get(name)
        columns = _columns(table, secrets[name]) if table else ""
        grants.append(("" if table else UNSEEN) + f"GRANT SELECT{columns} ON {schema}.{quote(name)} TO {to};")
    return grants


def _columns(table: MySQLTable, secrets: frozenset[str]) -> str:
    if not secrets & {column.name for column in table.columns}:
        return ""
    return f" ({', '.join(quote(c.name) for c in table.columns if c.name not in secrets)})"
