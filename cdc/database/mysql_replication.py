"""Changes that a MariaDB or MySQL server receives from another one, and whether triggers and the log show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pymysql
from pymysql.connections import Connection

from cdc.database import sqlfile
from cdc.database.mysql_connection import NO_PRIVILEGE, Flavour, account_literal, code_of, rows, server_of
from cdc.database.mysql_journal import Tokens
from cdc.model.finding import Finding, Severity

#: Shows an account on MySQL whether its server is a replica.
APPLIER: Final = "performance_schema.replication_applier_status"
_SYNTAX: Final = 1064
_GROUP: Final = "group_replication_"
_PRIMARY: Final = (
    "Use the server where FacturaScripts writes; if that is this one, and no other server writes to its database: "
    'replica = "accept" in [source.NAME]'
)


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """``receives``: changes of other servers are applied here now; None: this account may not know.  ``triggered``:
    triggers run for them.  ``logged``: they are in this server's own log.  ``filters``: setting → what it lets in or
    keeps out.  ``account``: the connected one."""

    receives: bool | None
    triggered: bool = False
    logged: bool = True
    filters: Mapping[str, str] = field(default_factory=dict)
    account: str = ""


def read_replication(connection: Connection[Any]) -> ReplicationSettings:
    settings = {str(k).lower(): str(v) for k, v in rows(connection, sqlfile.load("mysql/replication.sql#settings"))}
    logged = settings.get("log_replica_updates", settings.get("log_slave_updates")) == "ON"
    triggered = settings.get("slave_run_triggers_for_rbr", "NO") != "NO"
    filters = {name: value for name, value in settings.items() if name.startswith("replicate_") and value}
    ((account,),) = rows(connection, "SELECT CURRENT_USER()")
    if server_of(connection).flavour is Flavour.MARIADB:
        found = rows(connection, sqlfile.load("mysql/replication.sql#mariadb_running"))
        return ReplicationSettings(any(int(count) for _, count in found), triggered, logged, filters, account)
    read_only = settings.get("read_only", "OFF") != "OFF"
    channels = _channels(connection)
    if channels is None:  # an account for which a server takes no writes is most likely a replica's
        return ReplicationSettings(True if read_only else None, triggered, logged, filters, account)
    for channel in channels.values():
        filters |= {name: value for name, value in channel.items() if name.startswith("replicate_") and value}
    # on the primary of a group, too, its channel is at work
    receives = any(read_only or not name.startswith(_GROUP) for name in channels)
    return ReplicationSettings(receives, triggered, logged, filters, account)


def _channels(connection: Connection[Any]) -> dict[str, Mapping[str, str]] | None:
    """Return the channels at work on a MySQL, with the columns of SHOW REPLICA STATUS; None: it may not know."""
    for sql in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                names = [str(column[0]).lower() for column in cursor.description]
                found = [dict(zip(names, (str(each or "") for each in row), strict=True)) for row in cursor.fetchall()]
        except pymysql.err.MySQLError as error:
            if code_of(error) in NO_PRIVILEGE:
                break
            if code_of(error) != _SYNTAX:
                raise
        else:
            running = ("replica_sql_running", "slave_sql_running")
            return {each["channel_name"]: each for each in found if "Yes" in (each.get(name) for name in running)}
    try:
        applied = rows(connection, sqlfile.load("mysql/replication.sql#mysql_running"))
    except pymysql.err.MySQLError as error:
        if code_of(error) in NO_PRIVILEGE:
            return None
        raise
    return {str(name): {} for (name,) in applied}


def replica_of_triggers(found: ReplicationSettings, tokens: Tokens, *, accepted: bool) -> Finding | None:
    """Return why triggers do not show all changes on this server, or may not; None when they do.

    On a MariaDB whose replication runs them, `@@last_gtid` moves with replicated transactions only if these are logged:
    triggers would take all of them for one."""
    if found.receives is None:
        detail = f"Not proved: {found.account} may not see whether this server is a replica, where triggers do not run."
        fix = f"GRANT SELECT ON {APPLIER} TO {account_literal(found.account)}"
        return Finding("capture", Severity.WARNING, detail, fix)
    if not found.receives or (found.triggered and found.logged and tokens is Tokens.GTID):
        return None
    detail = "This server is a replica: triggers do not run for the changes that replication writes."
    if found.triggered:
        detail = "This server is a replica: triggers cannot tell apart the transactions that replication writes."
    return _refused("capture", detail, _PRIMARY, accepted=accepted)


def replica_of_log(found: ReplicationSettings, *, cascades: bool, accepted: bool) -> Finding | None:
    """Return why this server's log does not show all changes, or may not; None when it does.  ``cascades``: triggers
    journal what foreign keys do, since the log does not hold it."""
    if found.receives is None and (cascades or not found.logged):
        detail = f"Not proved: {found.account} may not see whether this server is a replica."
        fix = f"GRANT REPLICATION CLIENT ON *.* TO {account_literal(found.account)}"
        return Finding("replica", Severity.WARNING, detail, fix)
    if not found.receives:
        return None
    if not found.logged:
        detail = "This server is a replica, and does not write what it receives into its own log."
        fix = f"Write log_slave_updates = ON below [mysqld] in its configuration and restart it, or: {_PRIMARY}"
        return _refused("replica", detail, fix, accepted=accepted)
    if cascades and not found.triggered:
        return cascades_of_replica("replica")
    if not found.filters:
        return Finding("replica", Severity.OK, "This server is a replica, and writes what it receives into its log")
    words = "; ".join(f"{name} = {value}" for name, value in sorted(found.filters.items()))
    detail = f"This server is a replica, and its replication filters may leave changes out: {words}."
    return Finding("replica", Severity.WARNING, detail, "Read a server that has all changes")


def cascades_of_replica(check: str) -> Finding:
    """Return the doubt about triggers that journal what foreign keys do, and whose rows a replica's log has only if the
    primary has them, too."""
    detail = (
        "Not proved: this server is a replica, where triggers do not run. Its log has the changes that foreign keys "
        "make only if its primary has the triggers."
    )
    return Finding(check, Severity.WARNING, detail, "cdc install-triggers --cascades-only on the primary")


def _refused(check: str, detail: str, fix: str, *, accepted: bool) -> Finding:
    if accepted:
        return Finding(
            check, Severity.WARNING, f'{detail} Accepted by replica = "accept".', "Remove it to refuse such a server"
        )
    return Finding(check, Severity.WRONG, detail, fix)
