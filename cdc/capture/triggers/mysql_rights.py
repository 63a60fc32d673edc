"""Requirements of an installation in a MariaDB or MySQL database: obstacles, and the least grants.  Pure.

What no account can change is raised; what the connected account may not do is the plan's obstacle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdc.capture.triggers.mysql_state import Instrumentation, MySQLState
from cdc.database.mysql_connection import Flavour, account_literal, quote
from cdc.database.mysql_inspect import APPLIER, UNSEEN, MySQLTable, create, database_pattern, named
from cdc.database.mysql_journal import INSTALLATION, JOURNAL, MARKER, PROBE, SHAPES, TABLES, VERSION, Tokens
from cdc.model.column import Capture
from cdc.model.connection import Account, AccountChoice, AccountRole, Accounts, heading
from cdc.model.errors import InstallError
from cdc.model.finding import Severity

#: Where MySQL's triggers learn their transaction.
TRANSACTIONS = "performance_schema.events_transactions_current"
_TRUST = "SET GLOBAL log_bin_trust_function_creators = 1; -- and in the server's configuration file"
#: Without these the account sees neither triggers nor columns.
_TO_SEE = ("TRIGGER", "SELECT")
_TO_INSTALL = ("LOCK TABLES",)


def refuse(found: MySQLState, captures: Sequence[Capture]) -> None:
    """Raise for what can never work, naming all of it, with what the account may not do."""
    problems = [*_taken_names(found), *_unfit_tables(found, captures), *_unfit_server(found)]
    if (replica := found.replica) is not None and replica.severity is Severity.WRONG:
        problems.append(InstallError(replica.detail, f"{replica.fix}."))
    if problems or _missing_rights(found, *_TO_SEE):  # without these no plan can be made
        raise InstallError.of_all([*problems, *_obstacles(found)]) or AssertionError("there is one")


def refuse_tables(found: MySQLState, captures: Sequence[Capture]) -> None:
    if error := InstallError.of_all(list(_unfit_tables(found, captures))):
        raise error


def obstacle_of(found: MySQLState) -> InstallError | None:
    """Return all that keeps the connected account, as whose triggers would run, from installing."""
    return InstallError.of_all(list(_obstacles(found)))


def _taken_names(found: MySQLState) -> Iterator[InstallError]:
    if found.taken:
        names = ", ".join(sorted(found.taken))
        yield InstallError(
            f"The database already has objects that are not ours under names that we need: {names}.",
            "Rename or remove them.",
        )
    if found.installation is not None and found.installation.version != VERSION:
        yield InstallError(
            f"The journal in this database has version {found.installation.version}, this program writes {VERSION}.",
            "Let its consumer drain it, then run `cdc uninstall-triggers` and `cdc install-triggers`.",
        )


def _unfit_tables(found: MySQLState, captures: Sequence[Capture]) -> Iterator[InstallError]:
    tables = [found.tables.get(capture.table) for capture in captures]
    missing = sorted(capture.table for capture in captures if capture.table not in found.tables)
    checks = (
        ("not in this database", missing, "Enable the plugin that makes them, or take them out of the rules."),
        ("without a primary key", [t.name for t in tables if t and not t.key], "Give them a primary key."),
        (
            "not stored in InnoDB",
            [t.name for t in tables if t and t.engine.lower() != "innodb"],
            "Convert them with ALTER TABLE … ENGINE = InnoDB.",
        ),
        (
            "with a primary key that is declared secret",
            [c.table for c, t in zip(captures, tables, strict=True) if t and c.secrets & set(t.key)],
            "A key cannot be secret: it names the row in every event.",
        ),
    )
    for what, names, hint in checks:
        if names:
            yield InstallError(f"These tables are {what}: {', '.join(sorted(names))}.", hint)


def _missing_rights(found: MySQLState, *needed: str) -> list[str]:
    return [privilege for privilege in needed if not found.rights.may(privilege)]


def _obstacles(found: MySQLState) -> Iterator[InstallError]:
    rights = found.rights
    to = account_literal(rights.account)
    if missing := _missing_rights(found, *_TO_SEE, *_TO_INSTALL):
        grant = f"GRANT {', '.join(missing)} ON {quote(rights.database)}.* TO {to}"
        yield InstallError(
            f"The account {rights.account} lacks the privileges {', '.join(missing)} on this database.",
            f"{grant}; `cdc grants` prints the grants of a dedicated account.",
            installer_grants(found, rights.database, to),
        )
    if found.server.binlog and not found.trusts_creators and not rights.may_everywhere("SUPER"):
        yield InstallError(
            f"The account {rights.account} may not create triggers while the server writes a binlog (error 1419).",
            "Run SET GLOBAL log_bin_trust_function_creators = 1, or install with an account that has SUPER.",
            [_TRUST],
        )
    if found.tokens is Tokens.PERFORMANCE_SCHEMA and found.instrumentation is Instrumentation.DENIED:
        yield InstallError(
            f"The account {rights.account} may not read {TRANSACTIONS}, "
            "where triggers that run with its rights learn their transaction.",
            f"GRANT SELECT ON {TRANSACTIONS} TO {to}; "
            "or cdc install-triggers --row-tokens (each row a transaction of its own, see docs/sources.md)",
            [f"GRANT SELECT ON {TRANSACTIONS} TO {to};"],
        )


def _unfit_server(found: MySQLState) -> Iterator[InstallError]:
    if found.asked_tokens is not None and found.server.flavour is not Flavour.MYSQL:
        yield InstallError("Triggers on MariaDB know their transaction without any right.", "Leave out --row-tokens.")
    if found.tokens is Tokens.PERFORMANCE_SCHEMA and found.instrumentation is Instrumentation.EMPTY:
        yield InstallError(
            "MySQL's performance schema does not record transactions here, so triggers cannot tell them apart.",
            "Start the server with performance_schema = ON (the default); CALL sys.ps_setup_reset_to_default(FALSE).",
        )
    if found.galera and found.tokens is Tokens.ROW_START:
        yield InstallError(
            "On a Galera cluster InnoDB's transaction ids are not unique, so triggers cannot tell transactions apart.",
            "Switch the binlog on on every node (log_bin, log_slave_updates).",
        )


def grants_text(
    found: MySQLState, captures: Sequence[Capture], database: str, accounts: Accounts, choice: AccountChoice
) -> str:
    """A DBA may narrow the accounts' hosts before running it."""
    installer, consumer = accounts[AccountRole.INSTALLER], accounts[AccountRole.CONSUMER]
    return "\n".join(
        [
            *heading(choice, accounts),
            "-- 1. Before cdc install-triggers, which runs as the first account. Triggers run with its rights",
            "-- (DEFINER): never drop it while they exist.",
            *create(installer),
            *create(consumer),
            *installer_grants(found, database, named(installer), sees_others=choice.shared),
            "-- 2. After it, for cdc run, which runs as the second account.",
            *consumer_grants(found, captures, database, consumer),
            "",
        ]
    )


def installer_grants(found: MySQLState, database: str, to: str, *, sees_others: bool = True) -> list[str]:
    """``to``: the account, as statements name it.  ``sees_others``: it may see what all accounts do."""
    grants = [f"GRANT SELECT, TRIGGER, LOCK TABLES ON {database_pattern(database)}.* TO {to};"]
    rights = "CREATE, DROP, INSERT, UPDATE, DELETE"
    grants += [f"GRANT {rights} ON {quote(database)}.{quote(table)} TO {to};" for table in TABLES]
    if sees_others:
        grants.append("-- Optional, to name connections that are in the way; it shows the statements of all databases:")
        grants.append(f"-- GRANT PROCESS ON *.* TO {to};")
    if found.server.flavour is Flavour.MYSQL:
        grants.append(
            "-- Needed: triggers run with this account's rights and read which transaction they are in; and on"
        )
        grants.append("-- a replica they do not run.")
        grants.append(f"GRANT SELECT ON {TRANSACTIONS} TO {to};")
        grants.append(f"GRANT SELECT ON {APPLIER} TO {to};")
    if found.server.binlog:
        grants.append(_TRUST)
    return grants


def consumer_grants(found: MySQLState, captures: Sequence[Capture], database: str, account: Account) -> list[str]:
    to = named(account)
    schema = quote(database)
    rights = "SELECT, DELETE"
    if found.tokens is Tokens.ROW_START:
        rights += ", DELETE HISTORY"
    grants = [f"GRANT {rights} ON {schema}.{quote(JOURNAL)} TO {to};"]
    grants.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{quote(PROBE)} TO {to};")
    grants += [f"GRANT SELECT ON {schema}.{quote(name)} TO {to};" for name in (SHAPES, INSTALLATION)]
    grants.append(f"GRANT SELECT, UPDATE ON {schema}.{quote(MARKER)} TO {to};")
    if found.server.flavour is Flavour.MYSQL:
        grants.append(f"GRANT SELECT ON {APPLIER} TO {to};")
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
