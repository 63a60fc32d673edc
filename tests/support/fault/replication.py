"""A server of MariaDB or MySQL that replicates another."""

from __future__ import annotations

from contextlib import ExitStack

from support.database import Database
from support.server import Spec
from support.servers import KeeperClient, own_server
from support.waiting import until

#: Empties a server's log and forgets its transactions.
RESET = {"mariadb": "RESET MASTER", "mysql": "RESET BINARY LOGS AND GTIDS"}
PROMOTE = {"mariadb": "STOP SLAVE; RESET SLAVE ALL", "mysql": "STOP REPLICA; RESET REPLICA ALL"}
_FOLLOW = {
    "mariadb": (
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = '{user}', "
        "master_password = '{password}', master_ssl = 0, master_use_gtid = slave_pos; START SLAVE"
    ),
    "mysql": (
        "CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', source_port = {port}, source_user = '{user}', "
        "source_password = '{password}', source_auto_position = 1, get_source_public_key = 1; START REPLICA"
    ),
}


def replica(keeper: KeeperClient, stack: ExitStack, primary: Database, spec: Spec) -> Database:
    """Start a server that replicates the primary from its first transaction on; return the same database on it."""
    server = own_server(keeper, spec)
    stack.callback(server.discard)
    administration = Database(server, server.info().database)
    stack.callback(administration.close)
    administration.execute(RESET[spec.flavour])
    info = primary.info
    administration.script(_FOLLOW[spec.flavour].format(port=info.port, user=info.user, password=info.password))
    until_replicated(primary, administration, f"replica {spec.all_options()[-1]}")
    found = Database(server, info.database)
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
