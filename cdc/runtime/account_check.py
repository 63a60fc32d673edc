"""The doctor's check of accounts that can read the databases of several sources: the servers are asked, not names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from cdc.config import SourceConfig
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import CdcError, SourceUnavailable
from cdc.model.finding import Finding, Severity, named

_READS_ALL: Final = "one stolen account reads them all"
_FIX: Final = (
    "Set user and admin_user of each source to accounts of its own, and run what cdc grants prints: docs/operations.md"
)
_LOG_FIX: Final = 'No server grants its log for one database: capture = "triggers", or a server for each tenant'


class _Reach(NamedTuple):
    """``sources``: those whose tables an account may read.  ``log``: it may read the log of its whole server."""

    sources: set[str]
    log: bool


@dataclass
class _Server:
    """``databases``: source → the accounts of the configuration, in its database."""

    engine: Engine
    databases: dict[str, list[ConnectionInfo]] = field(default_factory=dict)

    @property
    def users(self) -> set[str]:
        return {info.user for accounts in self.databases.values() for info in accounts}

    @property
    def several(self) -> bool:
        return len({accounts[0].database for accounts in self.databases.values()}) > 1


def account_findings(sources: Iterable[SourceConfig]) -> list[Finding]:
    """Return a warning for each account that can read the databases of several sources of its server."""
    findings = []
    for server in _servers(sources).values():
        if not server.several:
            continue
        reach = _postgres(server) if server.engine is Engine.POSTGRESQL else _mysql(server)
        findings += list(_findings(server, reach))
    return findings


def _servers(sources: Iterable[SourceConfig]) -> Mapping[object, _Server]:
    servers: dict[object, _Server] = {}
    for source in sources:
        if not source.has_database:
            continue
        with suppress(CdcError):  # reported with the source
            for info in dict.fromkeys((source.connection(), source.admin_connection())):
                place = (info.engine, info.socket or info.servers)
                server = servers.setdefault(place, _Server(info.engine))
                server.databases.setdefault(source.name, []).append(info)
    return servers


def _mysql(server: _Server) -> dict[str, _Reach]:
    """Try to read each database with each account."""
    from cdc.database.mysql_accounts import granted, readable_databases
    from cdc.database.mysql_connection import connect, errors_of

    names = _names(server)
    reach: dict[str, _Reach] = {}
    accounts = {(each.user, each.password): each for several in server.databases.values() for each in several}
    for info in accounts.values():
        try:
            with errors_of(info), closing(connect(replace(info, database=""))) as connection:
                found = readable_databases(connection, sorted(names))
                everywhere = [each.privileges for each in granted(connection) if each.schema == "*"]
        except SourceUnavailable:
            break  # reported with each source
        except CdcError:
            continue
        log = bool({"REPLICATION SLAVE", "ALL PRIVILEGES"} & frozenset().union(*everywhere))
        reach[info.user] = _Reach({source for database in found for source in names[database]}, log)
    return reach


def _postgres(server: _Server) -> dict[str, _Reach]:
    """Ask in each database which accounts may read something there."""
    import psycopg

    from cdc.database.postgres_accounts import readers, replicating
    from cdc.database.postgres_connection import connect

    users = sorted(server.users)
    found: dict[str, set[str]] = defaultdict(set)
    log: set[str] = set()
    for source, (info, *_) in server.databases.items():
        try:
            with closing(connect(info, "cdc doctor")) as connection:
                for user in readers(connection, users):
                    found[user].add(source)
                log |= replicating(connection, users)
        except psycopg.errors.ConnectionTimeout:
            break  # reported with each source
        except psycopg.OperationalError:
            continue
    return {user: _Reach(found[user], user in log) for user in users}


def _names(server: _Server) -> dict[str, list[str]]:
    """Return the sources of each database."""
    names: dict[str, list[str]] = defaultdict(list)
    for source, accounts in server.databases.items():
        names[accounts[0].database].append(source)
    return names


def _findings(server: _Server, reach: Mapping[str, _Reach]) -> Iterator[Finding]:
    databases = {source: accounts[0].database for source, accounts in server.databases.items()}
    fine = []
    for user, (sources, log) in sorted(reach.items()):
        if len({databases[source] for source in sources}) > 1:
            detail = f"It can read the databases of {len(sources)} sources ({_list(sources)}): {_READS_ALL}."
            yield Finding(f"account {user}", Severity.WARNING, detail, _FIX)
        elif log:
            detail = f"It can read the server's log, with the rows of {len(databases)} sources ({_list(databases)})."
            yield Finding(f"account {user}", Severity.WARNING, detail, _LOG_FIX)
        else:
            fine.append(user)
    if fine:
        yield Finding("accounts", Severity.OK, f"{len(fine)} of {len(reach)} read one source's database at most")


def _list(sources: Collection[str]) -> str:
    return named(sorted(sources))
