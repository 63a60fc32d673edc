"""Faults by name.  Each acts on a run with a consumer at work, and leaves database, network and clock as they were."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from support.fault import schema_faults, server_faults
from support.fault.clock import set_shift
from support.fault.routes import Route
from support.fault.run import Run

#: Beyond the consumer's log: what it may still write on a full disk.
FULL_DISK_BYTES = 64 << 10


def _always(_route: Route) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Fault:
    """``weight``: how often it is drawn when nothing else is asked for; 0: only by its name."""

    inject: Callable[[Run], None]
    weight: int
    applies: Callable[[Route], bool] = _always


def _within(run: Run, seconds: float) -> None:
    """A random moment: it is what is tested."""
    threading.Event().wait(run.dice.uniform(0, seconds))


def kill(run: Run) -> None:
    """SIGKILL: at its start, or when it has sent something.  Moments are in processor time of the consumer, so that
    they hit the same code on a busy machine."""
    if run.dice.random() < 0.5:
        run.until_progress()
        run.until_worked(run.dice.uniform(0, 0.03))
    else:
        run.until_worked(run.dice.uniform(0, 0.25))
    run.kill()


def stop_and_continue(run: Run) -> None:
    """SIGSTOP, and SIGCONT a little later."""
    _within(run, 0.3)
    assert run.consumer.process is not None
    run.consumer.process.send_signal(signal.SIGSTOP)
    _within(run, 1.5)
    run.consumer.process.send_signal(signal.SIGCONT)
    run.until_progress()


def cut(run: Run) -> None:
    """Every connection of the consumer to the database breaks."""
    _within(run, 0.5)
    with run.doctors.outage():
        run.proxy.cut()
        run.until_progress()


def deaf(run: Run) -> None:
    """Let nothing more arrive from the database while connections stay; then cut them."""
    _within(run, 0.5)
    run.proxy.deaf.set()
    _within(run, 2)
    run.proxy.deaf.clear()
    run.proxy.cut()
    run.until_progress()


def deaf_for_good(run: Run) -> None:
    """The same, and nothing breaks: the consumer must notice by itself."""
    run.proxy.deaf.set()
    _within(run, 1)
    run.proxy.deaf.clear()
    run.until_progress()


def second_consumer(run: Run) -> None:
    """Two consumers are started by mistake; the first is killed."""
    first, run.consumer.process = run.consumer.process, None
    run.start()
    _within(run, 1)
    second, run.consumer.process = run.consumer.process, first
    run.kill()
    run.consumer.process = second
    run.until_progress()


def kill_server(run: Run) -> None:
    """SIGKILL to the database server, which is started again."""
    _within(run, 0.5)
    with run.doctors.outage():
        run.source.server.kill()
        run.source.server.start()
        run.until_progress()


def restart_server(run: Run) -> None:
    _within(run, 0.5)
    with run.doctors.outage():
        run.source.server.restart()
        run.until_progress()


def full_disk(run: Run) -> None:
    """The outbox cannot grow: writes beyond a limit fail, until there is room again."""
    assert run.consumer.process is not None
    pid, hard = run.consumer.process.pid, resource.RLIM_INFINITY
    limit = run.consumer.log.stat().st_size + FULL_DISK_BYTES
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    _within(run, 2)
    run.note_crash()
    if run.consumer.process.poll() is None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        run.until_progress()


def set_clock(run: Run) -> None:
    """The clock jumps, by minutes or a day.  After a jump back, deliveries may wait for their time."""
    _within(run, 0.5)
    set_shift(run.clock, run.dice.choice((-86400, -3600, -120, 0, 120, 3600, 86400)))
    _within(run, 0.5)


def reload(run: Run) -> None:
    """The consumer reads its configuration again, once it is at work: before, the signal would end it."""
    run.until_progress()
    _within(run, 0.5)
    assert run.consumer.process is not None
    run.consumer.process.send_signal(signal.SIGHUP)


def move(run: Run) -> None:
    """Move from triggers to the server's log, or back."""
    run.kill()
    run.set_capture(run.route.log if run.capture == "triggers" else "triggers")
    run.start()
    run.until_progress()


FAULTS: dict[str, Fault] = {
    "kill": Fault(kill, 100),
    "stop": Fault(stop_and_continue, 4),
    "cut": Fault(cut, 4),
    "deaf": Fault(deaf, 3),
    "deaf-for-good": Fault(deaf_for_good, 1),
    "second-consumer": Fault(second_consumer, 2),
    "kill-server": Fault(kill_server, 1),
    "restart-server": Fault(restart_server, 1),
    "full-disk": Fault(full_disk, 2, lambda route: route.outbox == "sqlite"),
    "clock": Fault(set_clock, 2),
    "reload": Fault(reload, 2),
    "rotate": Fault(server_faults.rotate, 1, server_faults.has_log),
    "move": Fault(move, 10, lambda route: route.moving),
    "old-copy": Fault(server_faults.old_copy, 0, server_faults.reads_log),
    "restore-dump": Fault(server_faults.restore_dump, 0, server_faults.dumps),
    "reset-log": Fault(server_faults.reset_log, 0, server_faults.reads_log),
    "fail-over": Fault(server_faults.fail_over, 0, server_faults.replicates),
    "alter": Fault(schema_faults.alter, 0),
    "swap": Fault(schema_faults.swap, 0),
    "recreate": Fault(schema_faults.recreate, 0),
    "repartition": Fault(schema_faults.repartition, 1),
    "truncate-partition": Fault(schema_faults.truncate_partition, 0),
}
WEIGHTS = {name: fault.weight for name, fault in FAULTS.items() if fault.weight}
