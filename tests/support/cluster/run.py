"""A run: workers, writers, faults at random, and the verdict on what arrived."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.cluster.former import UpgradedWorker
from support.cluster.servers import OutboxPath, Pair
from support.consumer import TABLE, database_url
from support.database import Database, create_database
from support.fault.judge import Verdict, judge, parsed
from support.fault.ledger import Version
from support.fault.run import Receiver
from support.server import Spec
from support.servers import KeeperClient, own_server
from support.team import Worker, configure
from support.waiting import HANG_SECONDS

#: Of the sources: three databases of MariaDB for each of PostgreSQL, which needs a process for each connection.
_SPECS = (
    Spec("mariadb", options=("--max-connections=4000", "--table-open-cache=10000")),
    Spec("postgresql", options=("max_connections=1000",)),
)
_OF_MARIADB = 3
RECORDS, WRITERS = 10, 4
#: Databases whose triggers one command installs: it ends in time on a busy machine.
_AT_ONCE = 25
#: Seconds until a standby is promoted; that a worker is away when it may keep its sources.
_NOTICED, _SHORT = (0.0, 3.0), (0.2, 4.0)
#: What a killed worker leased is sent when the lease has ended.
_DISPATCH = "max_timeout_seconds = 5\nlease_seconds = 8\n"
#: Seconds without an arrival after which no more is waited for.
_STUCK = 120.0
#: Seconds between writes beyond those planned, of which some arrive after each fault.
_BEYOND = 0.5
_READING = '"reading"'
_UPGRADED = "SELECT to_regclass('cdc_outbox.worker') IS NOT NULL"
_NAME, _KEY = {"contadores": "contadores"}, {"contadores": "id"}


@dataclass(frozen=True, slots=True)
class Plan:
    """``former``: Python of an environment with a release whose workers begin; they are upgraded one after the other,
    and today's are killed."""

    seed: int
    workers: int = 4
    sources: int = 200
    events: int = 100_000
    rate: float = 500.0
    faults: int = 60
    failovers: int = 2
    former: str = ""


@dataclass
class Result:
    """``seconds``: of each recovery, by what was recovered from.  ``wrong``: what no fault may cause."""

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    crashes: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    duration: float = 0.0

    @property
    def wrong(self) -> list[str]:
        return [*(f"{name}: {number}" for name, number in self.verdict.faults.items()), *self.crashes]

    @property
    def again(self) -> float:
        """The share of events that came again."""
        return self.verdict.again / max(self.verdict.delivered, 1)


class Writers:
    """Each statement changes some neighbouring records of a source by one.  ``ledger``: source → those, in order."""

    def __init__(self, databases: Mapping[str, Database], plan: Plan) -> None:
        self._databases = databases
        self._plan = plan
        self.ledger: dict[str, list[tuple[int, int]]] = {name: [] for name in databases}
        self.written = [0] * WRITERS
        self.errors: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait for the last write."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        names, dice = list(self._databases)[number::WRITERS], random.Random(f"{self._plan.seed} {number}")
        share, rate = self._plan.events / WRITERS, self._plan.rate / WRITERS
        begun = time.monotonic()
        while names and not (self.written[number] >= share and self._over.is_set()):
            name, first = dice.choice(names), dice.randrange(RECORDS)
            past = dice.randint(first + 1, RECORDS)
            statement = "UPDATE contadores SET valor = valor + 1 WHERE id >= %s AND id < %s"
            try:
                self._databases[name].execute(statement, [first, past])
            except Exception as error:  # noqa: BLE001 - a write of the ERP failed: the verdict reports it
                self.errors.append(f"{name}: {type(error).__name__}: {error}")
                return
            self.ledger[name].append((first, past))
            self.written[number] += past - first
            if self.written[number] < share:
                time.sleep(max(begun + self.written[number] / rate - time.monotonic(), 0.0))  # the pace
            else:
                self._over.wait(_BEYOND)


class _Run:
    def __init__(self, plan: Plan, keeper: KeeperClient, folder: Path, stack: ExitStack) -> None:
        self.plan, self.folder = plan, folder
        self.dice = random.Random(plan.seed)
        self.result = Result(plan)
        servers = [own_server(keeper, spec) for spec in _SPECS]
        for server in servers:
            stack.callback(server.discard)
        self.databases: dict[str, Database] = {}
        for number in range(plan.sources):
            server = servers[number % (_OF_MARIADB + 1) == _OF_MARIADB]
            database = self.databases[f"s{number}"] = Database(server, create_database(server, erp=False))
            stack.callback(database.close)
            database.execute(TABLE)
            database.execute(
                "INSERT INTO contadores VALUES " + ", ".join(f"({id_}, 0, NULL)" for id_ in range(RECORDS))
            )
        self.pair = Pair(keeper, stack)
        self.receiver = Receiver(folder, plan.seed, 0.0)
        stack.callback(self.receiver.close)
        self.paths: dict[str, OutboxPath] = {}
        self.workers = [self._worker(f"w{number}") for number in range(1, plan.workers + 1)]
        names = list(self.databases)
        for first in range(0, len(names), _AT_ONCE):
            chosen = [word for name in names[first : first + _AT_ONCE] for word in ("--source", name)]
            self.workers[0].run("install-triggers", *chosen)
        self.workers[0].add_endpoint(self.receiver.url, "contadores.*")

    def _worker(self, name: str) -> UpgradedWorker:
        worker = UpgradedWorker(self.folder / name, name=name, python=self.plan.former)
        path = self.paths[name] = self.pair.path()
        url = database_url(self.pair.outbox.info) if self.plan.former else self.pair.url(path)
        configure(worker, url, self.databases, {}, _DISPATCH)
        return worker

    # -- faults -----------------------------------------------------------------------------------------------------

    def trouble(self, writers: Writers) -> None:
        """Faults in any order, at even distances while the writers write."""
        faults: list[Callable[[], None]] = [self._fail_over] * self.plan.failovers
        faults += [self._trouble_worker] * self.plan.faults
        self.dice.shuffle(faults)
        for number, fault in enumerate(faults, 1):
            self._wait_written(writers, self.plan.events * number // (len(faults) + 1))
            fault()

    def _trouble_worker(self) -> None:
        self.dice.choice((self._kill, self._stop, self._cut_off))(self.dice.choice(self.workers))

    def upgrade(self, writers: Writers) -> None:
        """Replace the workers at even distances; kill one of today's after each."""
        for number, worker in enumerate(self.workers, 1):
            share = self.plan.events * number // (len(self.workers) + 1)
            self._wait_written(writers, share)
            assert worker.process is not None
            if (code := worker.end()) != 0:
                self.result.crashes.append(f"{worker.name} of the former release ended with {code}")
            former, worker.python = worker.python, ""
            worker.begin()
            assert self._until(lambda: self.pair.outbox.execute(_UPGRADED) == [(True,)], HANG_SECONDS), "not migrated"
            if number == 1:
                self._check_refusal(UpgradedWorker(worker.folder, name="late", python=former))
            killed = self.dice.choice(self.workers[:number])
            self._end(killed)
            killed.begin()
            self.result.faults.update(["kill", "upgrade"])

    def _wait_written(self, writers: Writers, share: int) -> None:
        while sum(writers.written) < share and not writers.errors:
            time.sleep(0.05)  # polled: threads at work

    def _check_refusal(self, late: UpgradedWorker) -> None:
        """A former worker that starts now ends with a sentence."""
        done = late.try_former("run")
        if done.returncode == 0 or "newer than this program" not in done.stderr:
            self.result.crashes.append(f"a former worker ended with {done.returncode}: {done.stderr[-500:]}")

    def _kill(self, worker: Worker) -> None:
        self._end(worker)
        self._leave(worker, "kill")
        worker.begin()

    def _stop(self, worker: Worker) -> None:
        assert worker.process is not None
        worker.process.send_signal(signal.SIGSTOP)
        self._leave(worker, "stop")
        worker.process.send_signal(signal.SIGCONT)

    def _cut_off(self, worker: Worker) -> None:
        self.paths[worker.name].cut_off()
        self._leave(worker, "cut off")
        self.paths[worker.name].restore()

    def _leave(self, worker: Worker, fault: str) -> None:
        """Leave the worker as it is, for a moment or until others have all that it had."""
        self.result.faults[fault] += 1
        if self.dice.random() < 0.5:
            time.sleep(self.dice.uniform(*_SHORT))  # the fault itself
            return
        begun = time.monotonic()
        if self._until(lambda: not self._leases(worker.name), HANG_SECONDS):
            self.result.seconds[f"{fault}, until others had its sources"].append(time.monotonic() - begun)
        else:
            self.result.crashes.append(f"{worker.name}, {fault}, kept its sources")

    def _fail_over(self) -> None:
        """The primary dies, or answers no more while its connections stay."""
        fault = self.dice.choice(("fail-over", "fail-over of a server that hangs"))
        self.result.faults[fault] += 1
        if fault != "fail-over":
            self.pair.hang()
        self.pair.kill()
        begun = time.monotonic()
        time.sleep(self.dice.uniform(*_NOTICED))  # until somebody notices
        size = self.receiver.size()
        self.pair.fail_over()
        if self._until(lambda: self.receiver.size() > size, _STUCK):
            self.result.seconds[f"{fault}, until events arrived"].append(time.monotonic() - begun)
        else:
            self.result.crashes.append("nothing arrived after a fail-over")

    def _leases(self, worker: str) -> int:
        found = self.pair.outbox.execute("SELECT count(*) FROM cdc_outbox.source_lease WHERE worker = %s", [worker])
        return int(found[0][0])

    def _end(self, worker: Worker) -> None:
        """Kill the worker, which must not have ended by itself."""
        assert worker.process is not None
        if (code := worker.process.poll()) is not None:
            self.result.crashes.append(f"{worker.name} ended by itself with {code}")
        worker.end(signal.SIGKILL)

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)  # polled: files and tables of other processes
        return True

    # -- from begin to end ------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """All workers at work; at the end they stop in good order."""
        for worker in self.workers:
            worker.begin()
        try:
            assert self._until(self._all_read, 5 * HANG_SECONDS), "the workers do not read all sources"
            yield
            codes = {worker.name: worker.end() for worker in self.workers}
            self.result.crashes += [f"{name} ended with {code}" for name, code in codes.items() if code]
        finally:
            for worker in self.workers:
                if worker.process is not None:
                    worker.end(signal.SIGKILL)

    def _all_read(self) -> bool:
        for worker in self.workers:
            assert worker.process is not None
            assert worker.process.poll() is None, worker.log.read_text(encoding="utf-8")
        if self.plan.former:
            return (
                sum(worker.log.read_text(encoding="utf-8").count(_READING) for worker in self.workers)
                >= self.plan.sources
            )
        taken = "SELECT count(*) FROM cdc_outbox.source_lease WHERE worker IS NOT NULL"
        return self.pair.outbox.execute(taken) == [(self.plan.sources,)]

    def drain(self, writers: Writers) -> None:
        """Wait until everything has arrived, or nothing more arrives."""
        wanted = sum(writers.written)
        ids: set[str] = set()
        with self.receiver.file.open("rb") as file:
            last, rest = time.monotonic(), b""
            while len(ids) < wanted and time.monotonic() - last < _STUCK:
                *lines, rest = (rest + file.read()).split(b"\n")
                ids |= {json.loads(line.partition(b"\t")[2])["id"] for line in lines}
                last = time.monotonic() if lines else last
                time.sleep(0.1)  # polled: a file sends no notice when it grows

    def judge(self, ledger: Mapping[str, list[tuple[int, int]]]) -> None:
        """Judge each source by itself."""
        by_source = self.folder / "by-source"
        by_source.mkdir()
        files = {name: (by_source / name).open("w", encoding="utf-8") for name in ledger}
        with self.receiver.file.open(encoding="utf-8") as lines:
            for line in lines:
                body = line.partition("\t")[2]
                files[json.loads(body)["source"]].write(body)
        total = self.result.verdict
        for name, statements in ledger.items():
            files[name].close()
            with (by_source / name).open(encoding="utf-8") as bodies:
                came = (delivery for body in bodies for delivery in parsed(body.rstrip("\n"), _NAME, _KEY))
                found = judge(list(_versions(statements)), came)
            for figure, number in found.numbers().items():
                setattr(total, figure, getattr(total, figure) + number)
            total.examples += [f"{name}: {each}" for each in found.examples]


def _versions(statements: list[tuple[int, int]]) -> Iterator[Version]:
    values: Counter[int] = Counter()
    number = 0
    for transaction, (first, past) in enumerate(statements):
        for id_ in range(first, past):
            number += 1
            before, after = ({"id": id_, "valor": values[id_] + more, "nota": None} for more in (0, 1))
            values[id_] += 1
            yield Version(number, f"T{transaction}", "contadores", id_, id_, before, after)


def run(plan: Plan, keeper: KeeperClient, folder: Path, say: Callable[[str], None]) -> Result:
    """Run the plan.  Afterwards the folder holds what was received, and logs."""
    begun = time.monotonic()
    with ExitStack() as stack:
        made = _Run(plan, keeper, folder, stack)
        writers = Writers(made.databases, plan)
        say(f"prepared in {time.monotonic() - begun:.0f} s")
        with made.running():
            say(f"all sources are read after {time.monotonic() - begun:.0f} s")
            writers.start()
            try:
                (made.upgrade if plan.former else made.trouble)(writers)
            finally:
                writers.finish()
            say(f"{sum(writers.written)} events were written after {time.monotonic() - begun:.0f} s")
            made.drain(writers)
        made.result.crashes += writers.errors
        (folder / "ledger").write_text(json.dumps(writers.ledger), encoding="utf-8")
        made.judge(writers.ledger)
    made.result.duration = time.monotonic() - begun
    return made.result
