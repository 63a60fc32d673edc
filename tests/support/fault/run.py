"""A route at work: server, proxy, receiver, consumer and writers, and what faults need to act on them."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from support.commands import run_command
from support.consumer import Consumer, database_url
from support.database import Database, create_database
from support.fault import replication, tables
from support.fault.clock import SHIFT, set_shift
from support.fault.doctors import Doctors
from support.fault.judge import Allowed, Delivery, Verdict, judge, parsed
from support.fault.ledger import Ledger
from support.fault.routes import Route
from support.fault.session import DRIVER_ERRORS, is_conflict, is_lock_timeout, is_lost
from support.fault.workload import Writers, connector
from support.health import Health
from support.ports import free_port
from support.servers import KeeperClient, own_server
from support.tcp_proxy import Proxy
from support.waiting import HANG_SECONDS, until

TESTS = Path(__file__).resolve().parents[2]
AFTER_ALL_JUMPS = 3 * 86400.0
IDLE_SECONDS = 0.7
REPAIR_SECONDS = 180.0
QUIET_SECONDS = HANG_SECONDS
#: Each kill during an attempt, and each that a busy machine delays too long, counts: none may put a delivery off for an
#: hour, after which the judge would not wait.
RETRIES = ",".join(["1", "5", *["20"] * 48])
DDL_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of a run.  ``changes``: transactions given to the writers for each fault.  ``faults``: names and
    weights.  ``bulk``: rows of the table that is updated as a whole.  ``tables``: further captured tables.
    ``doctors``: judged calls of `cdc doctor`; until then there are more faults."""

    seed: int
    faults: int
    weights: Mapping[str, int]
    changes: int = 6
    bulk: int = 200
    refused: float = 0.01
    tables: int = 0
    doctors: int = 0


def _used(pid: int) -> float:
    """Processor time of a process in seconds; infinite when it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return math.inf
    return float(times.user + times.system)


def _has_used(pid: int, seconds: float) -> bool:
    return _used(pid) >= seconds


class Receiver:
    """`support.fault.receiver` as a process, and its file."""

    def __init__(self, folder: Path, seed: int, refused: float) -> None:
        self.file = folder / "received"
        self.file.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.fault.receiver", str(self.file), str(seed), str(refused)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/hook"

    def size(self) -> int:
        return self.file.stat().st_size

    def deliveries(self) -> Iterator[Delivery]:
        with self.file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield from parsed(line.partition("\t")[2], tables.ENTITIES, tables.KEYS)

    def close(self) -> None:
        self._process.communicate()


class Run:
    """A run with all that faults act on."""

    def __init__(self, route: Route, plan: Plan, keeper: KeeperClient, folder: Path) -> None:
        self.route = route
        self.plan = plan
        self.keeper = keeper
        self.folder = folder
        self.dice = random.Random(plan.seed)
        self.faults: Counter[str] = Counter()
        self.stuck = 0
        self.crashes: list[str] = []
        self.gaps: set[str] = set()
        self.shapes: set[str] = set()
        self.altered: set[str] = set()  # names of alterations that are in force
        self.capture = route.capture
        self.strict_from = 1 << 60
        self.ledger = Ledger()
        self._judged = -1  # bytes of the receiver's file when it was judged

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Server, database, proxy, receiver, endpoint and writers; the consumer has read its first change."""
        with ExitStack() as stack:
            self.stack = stack
            server = own_server(self.keeper, self.route.spec)
            stack.callback(server.discard)
            self.database = Database(server, create_database(server, erp=True))
            stack.callback(self.database.close)
            self._create_tables()
            self.source = self._replica() if self.route.replica else self.database
            self.proxy = Proxy(self.source.info.port)
            stack.callback(self.proxy.close)
            self.receiver = Receiver(self.folder, self.plan.seed, self.plan.refused)
            stack.callback(self.receiver.close)
            self.consumer = self._configured(stack)
            self.doctors = Doctors(self.consumer)
            info = self.database.info
            self.where = {name: getattr(info, name) for name in ("host", "port", "user", "password", "database")}
            connect = connector(self.route.flavour, self.where)
            self.writers = Writers(connect, self.route.flavour, self.ledger, self.plan.seed)
            self.writers.baseline()
            stack.callback(self._end_consumer)
            self._begin()
            self.writers.start()
            try:
                yield
            except BaseException:
                self.writers.work.end()
                raise

    def _create_tables(self) -> None:
        for statement in tables.ddl(self.route.flavour):
            self.database.execute(statement)
        rows = ", ".join(f"({number}, 0, '')" for number in range(self.plan.bulk))
        self.database.execute(f"INSERT INTO fault_bulk VALUES {rows}")
        for number in range(self.plan.tables):
            self.database.execute(f"CREATE TABLE fault_many_{number} (id integer PRIMARY KEY, nota varchar(20))")

    def _replica(self) -> Database:
        """The ERP's database on a server that replicates its own and writes all to a log, too."""
        options = ("--server-id=2",)
        return replication.replica(self.keeper, self.stack, self.database, replace(self.route.spec, options=options))

    def _configured(self, stack: ExitStack) -> Consumer:
        """The consumer connects through the proxy; commands for the DBA do not."""
        through = replace(self.source.info, port=self.proxy.port)
        captured = [*tables.PLUGIN, *(["fault_many_*"] if self.plan.tables else [])]
        more = f'capture = "{self.route.capture}"\ntables = {captured}\non_purged = "reread"\n'
        more = more.replace("'", '"')
        consumer = Consumer.configure(self.folder, through, more)
        self.clock = self.folder / "clock"
        set_shift(self.clock, 0.0)
        consumer.environment[SHIFT] = str(self.clock)
        if self.plan.doctors:
            Health.of(consumer, free_port())
        if self.route.outbox == "postgresql":
            self._use_postgres_outbox(consumer, stack)
        for command in self.route.installs:
            consumer.run(*command)
        options = ("--timeout", "4", "--concurrency", "32", "--retries", RETRIES)
        consumer.add_endpoint(self.receiver.url, "*,*.read", *options)
        return consumer

    def _use_postgres_outbox(self, consumer: Consumer, stack: ExitStack) -> None:
        """Move the outbox into a database of its own on the same server."""
        database = Database(self.database.server, create_database(self.database.server, erp=False))
        stack.callback(database.close)
        file = consumer.folder / "cdc.toml"
        text = file.read_text().replace("sqlite:///cdc.db", database_url(database.info))
        # what a killed process leased is sent when the lease has ended
        text = text.replace("[dispatch]\n", "[dispatch]\nmax_timeout_seconds = 5\nlease_seconds = 8\n")
        file.write_text(text)

    def _begin(self) -> None:
        """Kill the consumer when it first reports that it reads: it must have stored where, for a change after that."""
        self.start()
        self.until_logged('"reading"')
        self.kill()
        self.writers.bulk()
        self.start()
        until(lambda: self.receiver.size() > 0)

    # The consumer.

    def start(self) -> None:
        """Start the consumer, unless it runs."""
        if self.consumer.process is None:
            self.consumer.start()

    def kill(self) -> None:
        self.note_crash()
        self._end_consumer()

    def note_crash(self) -> None:
        """The consumer must not end by itself."""
        process = self.consumer.process
        if process is not None and process.poll() is not None:
            lines = self.consumer.log.read_text(encoding="utf-8").splitlines()[-3:]
            self.crashes.append(f"consumer ended by itself: {lines}")

    def _end_consumer(self) -> None:
        if self.consumer.process is not None:
            self.consumer.end(signal.SIGKILL)

    def use(self, database: Database) -> None:
        """The ERP's database is on another server from here on."""
        self.database = self.source = database
        self.where["port"] = database.info.port
        self.proxy.redirect(database.info.port)

    def set_capture(self, capture: str) -> None:
        """Set the capture mode in the configuration; the stopped consumer moves at its next start."""
        file = self.consumer.folder / "cdc.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(f'capture = "{self.capture}"', f'capture = "{capture}"'), encoding="utf-8")
        self.capture = capture

    def admin(self, *statements: str) -> None:
        """DDL; repeated when it met a deadlock or a lock that was held too long."""
        for statement in statements:
            while not self._executed(statement):
                pass

    def _executed(self, statement: str) -> bool:
        """Execute a statement of the DBA, with a short lock wait: the servers do not detect an ALTER that waits for a
        transaction, which waits for a row of a transaction that waits for the ALTER.  The ERP would wait 50 seconds."""
        try:
            if self.route.flavour != "postgresql":
                waits = f"lock_wait_timeout = {DDL_SECONDS}, innodb_lock_wait_timeout = {DDL_SECONDS}"
                self.database.execute(f"SET SESSION {waits}")
            self.database.execute(statement)
        except DRIVER_ERRORS as error:
            if is_conflict(error) or is_lost(error) or is_lock_timeout(error):
                return False
            raise
        return True

    def restarted(self) -> None:
        """The consumer is started once more, and has repaired what it can."""
        self.kill()
        size = self.consumer.log.stat().st_size
        self.start()
        self.until_logged('"reading"', size)
        self.until_repaired()

    def touch_altered(self) -> None:
        """Change every row of the tables that faults have altered; from here on events have all their columns."""
        self.strict_from = self.ledger.number()
        for table in sorted(self.gaps | self.shapes):
            self.writers.touch(table)

    def until_repaired(self) -> None:
        """Wait until the doctor finds nothing wrong with the source."""
        if not until(lambda: not self._wrong(), REPAIR_SECONDS):
            self.crashes.append(f"not repaired: {self._wrong()}")

    def _wrong(self) -> list[str]:
        done = run_command(*self.consumer.arguments("doctor", "--source", "main", "--json"))
        checks = json.loads(done.stdout)["checks"]
        return [f"{each['check']}: {each['detail']}" for each in checks if each["severity"] == "wrong"]

    # Waiting.

    def until_logged(self, words: str, start: int = 0, seconds: float = HANG_SECONDS) -> bool:
        log = self.consumer.log
        return until(lambda: log.exists() and words.encode() in log.read_bytes()[start:], seconds)

    def until_progress(self) -> None:
        """Wait until something more has arrived."""
        size = self.receiver.size()
        if not until(lambda: self.receiver.size() > size):
            self.stuck += 1

    def until_caught_up(self) -> None:
        """Wait until everything that was written has arrived."""
        self.start()
        self.writers.work.until_written()
        self._judged = -1
        if not until(self._has_everything):
            self.stuck += 1

    def _has_everything(self) -> bool:
        """Return whether the receiver has everything; judged only when more has arrived since the last call."""
        size, self._judged = self._judged, self.receiver.size()
        return self._judged != size and not self.judged().lost

    def until_worked(self, seconds: float) -> None:
        """Wait until the consumer has used ``seconds`` more of processor time, or is idle."""
        assert self.consumer.process is not None
        pid = self.consumer.process.pid
        before, used = -1.0, _used(pid)
        wanted = used + seconds
        while before < used < wanted:
            until(partial(_has_used, pid, wanted), IDLE_SECONDS)
            before, used = used, _used(pid)

    # The run.

    def judged(self) -> Verdict:
        allowed = Allowed(
            frozenset(self.gaps),
            frozenset(self.shapes),
            self.strict_from,
            frozenset(self.ledger.revoked),
            renumbered=bool(self.faults["reset-log"] or self.faults["old-copy"]),
            restored=frozenset(self.gaps if self.faults["restore-dump"] else ()),
        )
        return judge(self.ledger.in_order(), self.receiver.deliveries(), allowed)

    def settled(self) -> Verdict:
        """The verdict when everything has arrived, or nothing has for a while.  The clock is past every time stored."""
        if self.faults["clock"]:
            set_shift(self.clock, AFTER_ALL_JUMPS)
        self.start()
        size, since = -1, time.monotonic()
        while True:
            if self._grown(size, 5 if size >= 0 else 0):
                size, since = self.receiver.size(), time.monotonic()
                continue
            verdict = self.judged()
            if not verdict.lost or time.monotonic() - since > QUIET_SECONDS:
                return verdict

    def _grown(self, size: int, seconds: float) -> bool:
        """Return whether more than ``size`` has arrived, at once or within the time."""
        return until(lambda: self.receiver.size() != size, seconds)
