"""The database server is put back to an older copy, starts its log again, or is replaced by its replica."""

from __future__ import annotations

from support.database import Database
from support.fault.routes import Route
from support.fault.run import Run
from support.fault.tables import TABLES
from support.server import Spec
from support.servers import own_server

_RESET = {"mariadb": "RESET MASTER", "mysql": "RESET BINARY LOGS AND GTIDS"}
_REPLICATE = {
    "mariadb": (
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = '{user}', "
        "master_password = '{password}', master_ssl = 0, master_use_gtid = slave_pos; START SLAVE"
    ),
    "mysql": (
        "CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', source_port = {port}, source_user = '{user}', "
        "source_password = '{password}', source_auto_position = 1, get_source_public_key = 1; START REPLICA"
    ),
}
_PROMOTE = {"mariadb": "STOP SLAVE; RESET SLAVE ALL", "mysql": "STOP REPLICA; RESET REPLICA ALL"}


def reads_log(route: Route) -> bool:
    return route.capture != "triggers" and not route.moving


def replicates(route: Route) -> bool:
    """Servers of these routes write all that they did to a binlog."""
    return route.flavour != "postgresql" and not route.moving and (route.binlog or route.flavour == "mysql")


def old_copy(run: Run) -> None:
    """The server is put back to a copy of before transactions that were delivered, then writes more."""
    server = run.database.server
    with run.writers.work.paused():
        server.stop()
        server.save()
        server.start()
    _write(run, run.plan.changes)
    run.until_caught_up()
    run.kill()
    with run.writers.work.paused():
        server.stop()
        server.restore()
        server.start()
        run.writers.revoke()
        for table in TABLES:
            run.writers.resync(table)
    run.gaps.update(TABLES)
    _write(run, run.plan.changes * 3)


def reset_log(run: Run) -> None:
    """The log starts again while the consumer is down, and grows beyond the place where it was read."""
    run.until_caught_up()
    run.kill()
    _write(run, run.plan.changes)
    with run.writers.work.paused():
        if run.route.flavour == "postgresql":
            run.admin("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        else:
            run.admin(_RESET[run.route.flavour])
    run.gaps.update(TABLES)
    if run.route.flavour != "postgresql":
        _write(run, run.writers.tally.commits * 3 // 2)


def _write(run: Run, transactions: int) -> None:
    run.writers.work.give(transactions)
    run.writers.work.until_written()


def fail_over(run: Run) -> None:
    """The server is killed for good; its replica, which had everything, takes its place and address."""
    flavour, old = run.route.flavour, run.database.info
    options = ("--log-slave-updates", "--gtid-strict-mode=1") if flavour == "mariadb" else ()
    number = run.faults["fail-over"] + 2
    spec = Spec(flavour, run.route.binlog, (*options, f"--server-id={number}"), durable=True)
    server = own_server(run.keeper, spec)
    run.stack.callback(server.discard)
    administration = Database(server, server.info().database)
    administration.execute(_RESET[flavour])
    administration.script(_REPLICATE[flavour].format(port=old.port, user=old.user, password=old.password))
    with run.writers.work.paused():
        run.database.execute("INSERT INTO fault_commits VALUES (%s)", [f"server {number}"])
        found = f"SELECT 1 FROM {old.database}.fault_commits WHERE id = 'server {number}'"
        assert run.until(lambda: _answers(administration, found)), "the replica does not follow"
        run.database.server.kill()
        administration.script(_PROMOTE[flavour])
        administration.close()
        run.use(Database(server, old.database))
    run.until_progress()


def _answers(administration: Database, sql: str) -> bool:
    """Return whether there is a row; the table may not exist yet."""
    name = sql.split()[3].partition(".")[0]
    exists = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'fault_commits'"
    return bool(administration.execute(exists, [name])) and bool(administration.execute(sql))
