"""A MariaDB or MySQL server and its replica."""

from __future__ import annotations

from typing import Any

from support.database import Database

#: Forgets GTIDs too, on both.
RESET = {"mariadb": "RESET MASTER", "mysql": "RESET BINARY LOGS AND GTIDS"}
REPLICATE = {
    "mariadb": (
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = '{user}', "
        "master_password = '{password}', master_ssl = 0, master_use_gtid = slave_pos; START SLAVE"
    ),
    "mysql": (
        "CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', source_port = {port}, source_user = '{user}', "
        "source_password = '{password}', source_auto_position = 1, get_source_public_key = 1; START REPLICA"
    ),
}
PROMOTE = {"mariadb": "STOP SLAVE; RESET SLAVE ALL", "mysql": "STOP REPLICA; RESET REPLICA ALL"}
CAUGHT_UP = {
    "mariadb": ("SELECT @@gtid_binlog_pos", "SELECT MASTER_GTID_WAIT(%s, 20)"),
    "mysql": ("SELECT @@gtid_executed", "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 20)"),
}
OPTIONS = {"mariadb": ("--log-slave-updates", "--gtid-strict-mode=1"), "mysql": ()}
SHOP = "CREATE DATABASE shop; USE shop; CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(20))"


def pair(flavour: str, own_server: Any, *options: str) -> tuple[Database, Database]:
    """A primary with the database ``shop``, and what replicates it; the replica's log has other places.  ``options``:
    the replica's."""
    servers = [own_server(flavour, *OPTIONS[flavour], f"--server-id={n}", *options, binlog=True) for n in (1, 2)]
    primary, replica = (Database(each.server, "mysql") for each in servers)
    for each in (primary, replica):
        each.execute(RESET[flavour])
    replicate(primary, replica)
    primary.script(SHOP)
    primary.close()
    return Database(primary.server, "shop"), replica


def replicate(primary: Database, replica: Database) -> None:
    info = primary.info
    replica.script(REPLICATE[primary.flavour].format(port=info.port, user=info.user, password=info.password))


def wait_for(primary: Database, replica: Database) -> None:
    """Return when the replica has everything."""
    which, wait = CAUGHT_UP[primary.flavour]
    ((gtids,),) = primary.execute(which)
    assert replica.execute(wait, [gtids]) == [(0,)]


def promoted(flavour: str, primary: Database, replica: Database) -> Database:
    """The replica, once it has everything and its primary is lost."""
    wait_for(primary, replica)
    primary.close()
    primary.server.kill()
    replica.script(PROMOTE[flavour])
    replica.close()
    return Database(replica.server, "shop")
