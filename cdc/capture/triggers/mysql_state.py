"""The state of a MariaDB or MySQL database, as far as an installer must know (read, never changed), and what follows
from it: obstacles to an installation, and the least grants.

What no account can change is raised; what the connected account may not do is the plan's obstacle."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.base import within
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    BASE_TABLE,
    NO_PRIVILEGE,
    Flavour,
    MySQLServer,
    account_literal,
    code_of,
    quote,
    rows,
    server_of,
)
from cdc.database.mysql_inspect import (
    APPLIER,
    UNSEEN,
    MySQLTable,
    ReplicationSettings,
    create,
    database_pattern,
    granted,
    named,
    read_replication,
    read_tables,
    replica_of_triggers,
    text,
)
from cdc.database.mysql_journal import (
    CASCADES_ROW,
    INSTALLATION,
    JOURNAL,
    MADE_ROW,
    MARKER,
    PREFIX,
    PROBE,
    REREAD_ROW,
    SHAPES,
    TABLES,
    VERSION,
    JournalShape,
    Tokens,
    captures_from_json,
)
from cdc.model.column import Capture, SecretPatterns
from cdc.model.connection import Account, AccountChoice, AccountRole, Accounts, heading
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity

_LONGEST_NAME = 64
#: Of the names of triggers: after insert, update, delete; before delete, update.
SUFFIXES = ("ai", "au", "ad", "bd", "bu")
_WRITTEN = re.compile(r"UTC_TIMESTAMP\(6\), (\d+), \d+")
#: The comment of our tables: what makes them ours.
_COMMENT = "facturascripts-cdc"


class Instrumentation(StrEnum):
    """The connected account's view of its own transaction in MySQL's performance schema."""

    READ = "read"
    EMPTY = "empty"  # not recorded
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: ``columns`` of ``table`` reference ``parent_columns`` of ``parent``; rules as information_schema
    words them."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str


def by_parent(keys: Iterable[ForeignKey]) -> dict[str, list[ForeignKey]]:
    """Return the keys that reference each table, in their order."""
    references: dict[str, list[ForeignKey]] = {}
    for key in keys:
        references.setdefault(key.parent, []).append(key)
    return references


@dataclass(frozen=True, slots=True)
class MySQLTrigger:
    """A trigger of the database.  ``made``: when it was created (UTC)."""

    name: str
    table: str
    timing: str
    event: str
    body: str
    definer: str
    made: str = ""

    @property
    def ours(self) -> bool:
        return self.name.startswith(PREFIX) and f"`{JOURNAL}`" in self.body

    @property
    def shape_ids(self) -> frozenset[int]:
        return shape_ids(self.body)


@dataclass(frozen=True, slots=True)
class Installation:
    """The installation as the database itself records it.  ``cascades_only``: only the triggers of parents, for a
    consumer that reads everything else in the binlog."""

    version: int
    tokens: Tokens
    captures: tuple[Capture, ...]
    cascades_only: bool = False


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of the connected account on the whole server and in this database.  ``database``: its name."""

    account: str
    everywhere: frozenset[str] = frozenset()
    here: frozenset[str] = frozenset()
    database: str = ""

    def may(self, privilege: str) -> bool:
        return bool({privilege, "ALL PRIVILEGES"} & (self.everywhere | self.here))

    def missing(self, *privileges: str) -> list[str]:
        return [privilege for privilege in privileges if not self.may(privilege)]


@dataclass(frozen=True, slots=True)
class MySQLState:
    """The state of the server that a plan depends on.

    ``own_objects``: our tables that exist, and the procedure of an earlier version.  ``taken``: objects of others under
    names that we need.
    ``cascade_switch``: the server has `enable_cascade_triggers`: children's own triggers may run for cascades.
    ``native_foreign_keys``: `innodb_native_foreign_keys` (ON: they never do); empty where there is no such choice.
    ``lost_definers``: accounts that triggers of ours run as and that do not exist (any more).
    ``instrumentation``: EMPTY on MariaDB.  ``asked_tokens``: the DBA's choice; None: as installed, or by default.
    ``snapshot_switch``: it has `innodb_snapshot_isolation`: locking reads may fail on rows newer than the snapshot.
    ``rereads``: tables whose triggers a run that was interrupted began to replace.
    ``versioned_probe``: the probe can have the registry of transactions opened.
    ``made``: when we created our triggers, by name; None: not recorded.
    ``replication``: what this server receives.  ``replica_accepted``: it may be a replica on which triggers do not run.
    """

    server: MySQLServer
    tables: Mapping[str, MySQLTable]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[MySQLTrigger, ...]
    shapes: Mapping[int, JournalShape]
    installation: Installation | None
    own_objects: frozenset[str]
    taken: frozenset[str]
    rights: Rights
    trusts_creators: bool
    instrumentation: Instrumentation
    galera: bool
    cascade_switch: bool
    native_foreign_keys: str
    snapshot_switch: bool
    lost_definers: frozenset[str]
    asked_tokens: Tokens | None = None
    rereads: frozenset[str] = frozenset()
    versioned_probe: bool = False
    made: Mapping[str, str] | None = None
    replication: ReplicationSettings = field(default_factory=lambda: ReplicationSettings(receives=False))
    replica_accepted: bool = False

    def hiding(self, patterns_of: Callable[[str], SecretPatterns]) -> MySQLState:
        """Return the same, as if what is installed were captured with these patterns."""
        if self.installation is None:
            return self
        captures = [replace(each, patterns=patterns_of(each.table)) for each in self.installation.captures]
        return replace(self, installation=replace(self.installation, captures=tuple(within(self.tables, captures))))

    @property
    def tokens(self) -> Tokens:
        """The way to know a transaction: as asked for, as installed, else the cheapest that this server offers."""
        if self.asked_tokens is not None:
            return self.asked_tokens
        if self.installation is not None:
            return self.installation.tokens
        if self.server.flavour is Flavour.MYSQL:
            return Tokens.PERFORMANCE_SCHEMA
        return Tokens.GTID if self.server.binlog else Tokens.ROW_START

    @property
    def own_triggers(self) -> tuple[MySQLTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if trigger.ours and trigger.table != PROBE)

    @property
    def probe_triggers(self) -> tuple[MySQLTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if trigger.ours and trigger.table == PROBE)

    @property
    def foreign_triggers(self) -> tuple[MySQLTrigger, ...]:
        """Triggers of ours that somebody else created again: with a restored dump, for example."""
        if self.made is None:
            return ()
        return tuple(each for each in self.own_triggers if each.made != self.made.get(each.name))

    @property
    def journal_lost(self) -> bool:
        """Triggers of ours are there without what they need: rows that waited in the journal are lost, and every
        write of the ERP to their tables fails (error 1146)."""
        return bool(self.own_triggers) and not self.own_objects >= {JOURNAL, SHAPES, INSTALLATION}

    @property
    def replica(self) -> Finding | None:
        """Return why triggers do not show all changes on this server, or may not."""
        return replica_of_triggers(self.replication, self.tokens, accepted=self.replica_accepted)


def shape_ids(body: str) -> frozenset[int]:
    """The shapes under which a trigger writes to the journal."""
    return frozenset(map(int, _WRITTEN.findall(body)))


def trigger_name(table: str, suffix: str) -> str:
    """Return the name of a trigger, ``cdc_<table>_<suffix>``; too long a table name is cut, its checksum keeps it
    unique."""
    name = f"{PREFIX}{table}_{suffix}"
    if len(name) <= _LONGEST_NAME:
        return name
    check = f"{zlib.crc32(table.encode()):08x}"
    return f"{PREFIX}{table[: _LONGEST_NAME - len(PREFIX) - len(check) - len(suffix) - 2]}_{check}_{suffix}"


def inspect(connection: Connection[Any]) -> MySQLState:
    server = server_of(connection)
    mysql = server.flavour is Flavour.MYSQL
    tables = read_tables(connection)
    rows(connection, "SET SESSION time_zone = '+00:00'")  # of the times at which triggers were created
    triggers = tuple(
        MySQLTrigger(*map(text, row)) for row in rows(connection, sqlfile.load("mysql/queries.sql#inspect_triggers"))
    )
    own, taken = _own_objects(connection, left=any(trigger.ours for trigger in triggers))
    installation, rereads, made = _installation(connection) if INSTALLATION in own else (None, frozenset(), None)
    shapes = {}
    if SHAPES in own:
        sql = f"SELECT `id`, `table_name`, `layout` FROM {quote(SHAPES)} {BASE_TABLE}"  # noqa: S608 - the name is a constant
        shapes = {number: JournalShape.from_json(name, layout) for number, name, layout in rows(connection, sql)}
    ours_by_name = {trigger_name(table, suffix) for table in tables for suffix in SUFFIXES}
    taken |= {t.name for t in triggers if t.name in ours_by_name and not t.ours}
    return MySQLState(
        server=server,
        tables={name: table for name, table in tables.items() if name not in TABLES},
        foreign_keys=_foreign_keys(connection),
        triggers=triggers,
        shapes=shapes,
        installation=installation,
        own_objects=frozenset(own),
        taken=frozenset(taken),
        rights=rights_of(connection),
        trusts_creators=bool(rows(connection, "SELECT @@log_bin_trust_function_creators")[0][0]),
        instrumentation=_instrumentation(connection) if mysql else Instrumentation.EMPTY,
        galera=_variable(connection, "wsrep_on") == "ON",
        cascade_switch=bool(_variable(connection, "enable_cascade_triggers")),
        lost_definers=_lost_definers(connection, {t.definer for t in triggers if t.ours}),
        native_foreign_keys=_variable(connection, "innodb_native_foreign_keys"),
        snapshot_switch=bool(_variable(connection, "innodb_snapshot_isolation")),
        rereads=rereads,
        made=made,
        replication=read_replication(connection),
        versioned_probe=bool(rows(connection, sqlfile.load("mysql/queries.sql#inspect_versioned_probe"))[0][0]),
    )


def _foreign_keys(connection: Connection[Any]) -> tuple[ForeignKey, ...]:
    found = rows(connection, sqlfile.load("mysql/queries.sql#inspect_foreign_keys"))
    rules = {row[:2]: row[2:] for row in rows(connection, sqlfile.load("mysql/queries.sql#inspect_key_rules"))}
    keys = []
    for (table, name), group in groupby(found, key=itemgetter(0, 1)):
        columns = list(group)
        parent = columns[0][3]
        own, referenced = tuple(c[2] for c in columns), tuple(c[4] for c in columns)
        if (table, name) in rules:  # else it was dropped between the two questions
            keys.append(ForeignKey(name, table, own, parent, referenced, *rules[table, name]))
    return tuple(keys)


def _own_objects(connection: Connection[Any], *, left: bool) -> tuple[set[str], set[str]]:
    """Return our names that exist, as ours and as somebody else's.  ``left``: triggers of ours are there, so that a
    procedure with the name of an earlier version's is ours, too, even if somebody dropped all tables."""
    own: set[str] = set()
    taken: set[str] = set()
    for name, comment in rows(connection, sqlfile.load("mysql/queries.sql#inspect_own_tables")):
        (own if comment == _COMMENT else taken).add(name)
    if own or left:
        own |= {name for (name,) in rows(connection, sqlfile.load("mysql/queries.sql#inspect_routines"))}
    return own, taken


def _installation(
    connection: Connection[Any],
) -> tuple[Installation | None, frozenset[str], Mapping[str, str] | None]:
    """Return the installation, the tables to read again, and when triggers were created."""
    sql = f"SELECT `id`, `version`, `tokens`, `captures` FROM {quote(INSTALLATION)} {BASE_TABLE} ORDER BY `id`"  # noqa: S608 - the name is a constant
    found = {number: rest for number, *rest in rows(connection, sql)}
    rereads = frozenset(orjson.loads(found[REREAD_ROW][2])) if REREAD_ROW in found else frozenset[str]()
    # the first may have all, of a time when it was the only one
    shares = [orjson.loads(row[2]) for number, row in found.items() if number >= MADE_ROW]
    made = {name: when for share in shares for name, when in share.items()} if shares else None
    if 1 not in found:
        return None, rereads, made
    version, tokens, captures = found[1]
    captured = tuple(captures_from_json(captures))
    return Installation(version, Tokens(tokens), captured, CASCADES_ROW in found), rereads, made


def installation(connection: Connection[Any]) -> Installation | None:
    """Return what is installed, without reading anything else."""
    own = rows(connection, sqlfile.load("mysql/queries.sql#inspect_own_tables"))
    return _installation(connection)[0] if (INSTALLATION, _COMMENT) in own else None


def _lost_definers(connection: Connection[Any], definers: set[str]) -> frozenset[str]:
    """Empty too when the account may not see which accounts exist."""
    lost = set()
    for definer in definers:
        user, _, host = definer.rpartition("@")
        try:
            (exists,) = rows(connection, sqlfile.load("mysql/queries.sql#definer_exists"), (user, host))[0]
        except (pymysql.err.OperationalError, pymysql.err.ProgrammingError):
            return frozenset()
        if not exists:
            lost.add(definer)
    return frozenset(lost)


def _instrumentation(connection: Connection[Any]) -> Instrumentation:
    if not rows(connection, "SELECT @@performance_schema")[0][0]:
        return Instrumentation.EMPTY
    rows(connection, "BEGIN")
    try:
        (shown,) = rows(connection, sqlfile.load("mysql/queries.sql#inspect_instrumentation"))[0]
    except pymysql.err.OperationalError as error:
        if code_of(error) not in NO_PRIVILEGE:
            raise
        return Instrumentation.DENIED
    finally:
        rows(connection, "ROLLBACK")
    return Instrumentation.READ if shown else Instrumentation.EMPTY


def _variable(connection: Connection[Any], name: str) -> str:
    """The value of a system variable, or "" when this server has no such variable."""
    found = rows(connection, "SHOW VARIABLES LIKE %s", (name.replace("_", r"\_"),))
    return str(found[0][1]) if found else ""


def rights_of(connection: Connection[Any]) -> Rights:
    """Return the rights of the connected account by SHOW GRANTS, active roles included."""
    account, database = rows(connection, "SELECT CURRENT_USER(), DATABASE()")[0]
    found = [each for each in granted(connection) if each.whole]
    everywhere = (each.privileges for each in found if each.schema == "*")
    here = (each.privileges for each in found if each.schema != "*" and each.covers(database))
    return Rights(account, frozenset().union(*everywhere), frozenset().union(*here), database)


#: Where MySQL's triggers learn their transaction.
TRANSACTIONS = "performance_schema.events_transactions_current"
_TRUST = "SET GLOBAL log_bin_trust_function_creators = 1; -- and in the server's configuration file"
#: Without these the account sees neither triggers nor columns.
_TO_SEE = ("TRIGGER", "SELECT")


def refuse(found: MySQLState, captures: Sequence[Capture]) -> None:
    """Raise for what can never work, naming all of it, with what the account may not do."""
    problems = [*_taken_names(found), *_unfit_tables(found, captures), *_unfit_server(found)]
    if (replica := found.replica) is not None and replica.severity is Severity.WRONG:
        problems.append(InstallError(replica.detail, f"{replica.fix}."))
    if problems or found.rights.missing(*_TO_SEE):  # without these no plan can be made
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


def _obstacles(found: MySQLState) -> Iterator[InstallError]:
    rights = found.rights
    to = account_literal(rights.account)
    if missing := rights.missing(*_TO_SEE, "LOCK TABLES"):
        grant = f"GRANT {', '.join(missing)} ON {quote(rights.database)}.* TO {to}"
        yield InstallError(
            f"The account {rights.account} lacks the privileges {', '.join(missing)} on this database.",
            f"{grant}; `cdc grants` prints the grants of a dedicated account.",
            installer_grants(found, rights.database, to),
        )
    if found.server.binlog and not found.trusts_creators and not rights.everywhere & {"SUPER", "ALL PRIVILEGES"}:
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
            "-- 1. Before cdc install-triggers, which runs as the first account.",
            "-- Triggers run with its rights (DEFINER): never drop it while they exist.",
            *create(installer),
            *create(consumer),
            *installer_grants(found, database, named(installer), sees_others=choice.shared),
            "-- 2. After it, for cdc run, which runs as the second account.",
            *consumer_grants(found, captures, database, consumer),
            "",
        ]
    )


def installer_grants(found: MySQLState, database: str, to: str, *, sees_others: bool = True) -> list[str]:
    """Return the grants of an installing account.  ``to``: the account, as statements name it.  ``sees_others``: it
    may see what all accounts do."""
    grants = [f"GRANT SELECT, TRIGGER, LOCK TABLES ON {database_pattern(database)}.* TO {to};"]
    rights = "CREATE, DROP, INSERT, UPDATE, DELETE"
    grants += [f"GRANT {rights} ON {quote(database)}.{quote(table)} TO {to};" for table in TABLES]
    if sees_others:
        grants.append("-- Optional, to name connections that are in the way; it shows the statements of all databases:")
        grants.append(f"-- GRANT PROCESS ON *.* TO {to};")
    if found.server.flavour is Flavour.MYSQL:
        grants.append("-- Triggers run with its rights: they read their transaction, and whether this is a replica.")
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
        columns = ""
        if table and secrets[name] & {column.name for column in table.columns}:
            columns = f" ({', '.join(quote(c.name) for c in table.columns if c.name not in secrets[name])})"
        grants.append(("" if table else UNSEEN) + f"GRANT SELECT{columns} ON {schema}.{quote(name)} TO {to};")
    return grants
