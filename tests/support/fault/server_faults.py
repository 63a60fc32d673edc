"""The database server is put back to an older copy, starts its log again, or is replaced by its replica."""

from __future__ import annotations

from dataclasses import replace

from support.fault import dump, replication
from support.fault.routes import Route
from support.fault.run import Run
from support.fault.tables import TABLES
from support.mysql_dump import restore
from support.mysql_pair import PROMOTE, RESET
from support.waiting import until

_ROTATE = {"mariadb": "FLUSH BINARY LOGS", "mysql": "FLUSH BINARY LOGS", "postgresql": "SELECT pg_switch_wal()"}


def reads_log(route: Route) -> bool:
    return route.capture != "triggers" and not route.moving and not route.replica


def dumps(route: Route) -> bool:
    return dump.has_dump(route.flavour) and not route.replica


def has_log(route: Route) -> bool:
    return route.flavour != "mariadb" or route.binlog


def replicates(route: Route) -> bool:
    """Servers of these routes write all that they did to a binlog."""
    return route.flavour != "postgresql" and has_log(route) and not route.moving and not route.replica


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


def restore_dump(run: Run) -> None:
    """A dump of before transactions that were delivered is restored, with the consumer at work or stopped."""
    with run.writers.work.paused():
        taken = dump.take(run.database)
    _write(run, run.plan.changes * 3)
    run.until_caught_up()
    if run.dice.random() < 0.5:
        run.kill()
    with run.writers.work.paused():
        restore(run.database, taken)
        run.writers.revoke()
        for table in TABLES:
            run.writers.resync(table)
    run.gaps.update(TABLES)
    run.start()
    _write(run, run.plan.changes)


def reset_log(run: Run) -> None:
    """The log starts again while the consumer is down, and grows beyond the place where it was read."""
    run.until_caught_up()
    run.kill()
    _write(run, run.plan.changes)
    with run.writers.work.paused():
        if run.route.flavour == "postgresql":
            run.admin("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        else:
            run.admin(RESET[run.route.flavour])
    run.gaps.update(TABLES)
    if run.route.flavour != "postgresql":
        _write(run, run.writers.tally.commits * 3 // 2)


def _write(run: Run, transactions: int) -> None:
    run.writers.work.give(transactions)
    run.writers.work.until_written()


def rotate(run: Run) -> None:
    """A quiet server begins new files of its log, and restarts, with the consumer at work or stopped."""
    run.until_caught_up()
    if run.dice.random() < 0.5:
        run.kill()
    with run.writers.work.paused():
        for _ in range(run.dice.randrange(1, 4)):
            if run.dice.random() < 0.5:
                run.source.server.admin_execute(_ROTATE[run.route.flavour])
            else:
                run.source.server.restart()
            until(lambda: False, run.dice.uniform(0, 1.5))  # the consumer reads the end of a file, or not yet
    run.start()
    _write(run, run.plan.changes)
    run.until_progress()


def fail_over(run: Run) -> None:
    """The server is killed for good; its replica, which had everything, takes its place and address."""
    flavour = run.route.flavour
    options = ("--log-slave-updates", "--gtid-strict-mode=1") if flavour == "mariadb" else ()
    number = run.faults["fail-over"] + 2
    spec = replace(run.route.spec, options=(*options, f"--server-id={number}"))
    successor = replication.replica(run.keeper, run.stack, run.database, spec)
    with run.writers.work.paused():
        replication.until_replicated(run.database, successor, f"server {number}")
        run.database.server.kill()
        successor.script(PROMOTE[flavour])
        run.use(successor)
    run.until_progress()
