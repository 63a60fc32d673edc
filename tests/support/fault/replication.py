"""A server of MariaDB or MySQL that replicates another."""

from __future__ import annotations

from contextlib import ExitStack

from support.database import Database
from support.mysql_pair import RESET, replicate
from support.server import Spec
from support.servers import KeeperClient, own_server
from support.waiting import until


def replica(keeper: KeeperClient, stack: ExitStack, primary: Database, spec: Spec) -> Database:
    """Start a server that replicates the primary from its first transaction on; return the same database on it."""
    server = own_server(keeper, spec)
    stack.callback(server.discard)
    administration = Database(server, server.info().database)
    stack.callback(administration.close)
    administration.execute(RESET[spec.flavour])
    replicate(primary, administration)
    until_replicated(primary, administration, f"replica {spec.all_options()[-1]}")
    found = Database(server, primary.info.database)
    stack.callback(found.close)
    return found


def until_replicated(primary: Database, replica: Database, name: str) -> None:
    """Wait until the replica has what the primary committed so far.  ``name``: of a row that tells it."""
    primary.execute("INSERT INTO fault_commits VALUES (%s)", [name])
    there = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'fault_commits'"
    row = f"SELECT 1 FROM {primary.info.database}.fault_commits WHERE id = %s"
    arrived = until(
        lambda: bool(replica.execute(there, [primary.info.database])) and bool(replica.execute(row, [name]))
    )
    assert arrived, "the replica does not follow"
