"""A run: servers, databases, receivers and the process under test; a quiet phase, chaos, and the verdict."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.chaos.plan import HOSTILE, ITEMS, Plan, Receiver, Source
from support.chaos.trouble import Trouble
from support.chaos.verdict import Accepted, Judgement, Phase, decide
from support.chaos.workload import Writer, Writers, create_tables
from support.consumer import Consumer, database_url
from support.database import Database, create_database
from support.ports import free_port
from support.server import Spec
from support.servers import KeeperClient, own_server

TESTS = Path(__file__).resolve().parents[2]
SPECS = {
    "mariadb": Spec("mariadb", binlog=True),
    "postgresql": Spec("postgresql", options=("max_replication_slots=40", "max_wal_senders=40")),
}
START_SECONDS, DRAIN_SECONDS, STOP_SECONDS = 180.0, 300.0, 30.0
#: Seconds between the first changes and the quiet phase.
WARM_UP = 5.0
#: For sick endpoints as for healthy ones: short enough that what failed arrives before the end, long enough for no
#: delivery to be given up.
RETRIES = ",".join(["1", "2", "4", "8", *["20"] * 46])
TIMEOUT = 2


@dataclass
class Result:
    """``crashes``: what the process did that no failure may cause.  ``failures``: (component, kind) → how many."""

    plan: Plan
    judgement: Judgement
    failures: Counter[tuple[str, str]]
    crashes: list[str]
    changes: int
    seconds: float
    folder: Path

    @property
    def wrong(self) -> list[str]:
        """Losses, disorder, doubles and crashes: what must hold on any machine."""
        errors = self.judgement.total["errors"]
        found = [f"{name}: {number}" for name, number in self.judgement.faults.items()]
        return [*found, *([f"writes of the ERP that failed: {errors}"] if errors else []), *self.crashes]


class Run:
    def __init__(self, plan: Plan, quiet: float, keeper: KeeperClient, folder: Path, *, priority: bool) -> None:
        """``quiet``: seconds of the phase without failures."""
        self.plan, self.quiet, self.keeper, self.folder, self.priority = plan, quiet, keeper, folder, priority
        self.sources, self.receivers = plan.sources(), plan.receivers()
        self.flag, self.failures = folder / "chaos", folder / "failures"
        self.crashes: list[str] = []
        self.stack = ExitStack()
        self.consumer = Consumer(folder / "cdc")
        self.web = free_port()

    def go(self, say: Callable[[str], None]) -> Result:
        began = time.monotonic()
        with self.stack:
            self._prepare()
            say(f"prepared in {time.monotonic() - began:.0f} s; {self.folder}")
            writers = Writers([Writer(each, self.databases[each.name], self.plan) for each in self.sources])
            writers.start()
            self.stack.callback(writers.stop)
            self._wait(WARM_UP)
            phases = self._phases(writers, say)
            writers.stop()
            self._drain(writers, say)
            self._check_ready()
            self._stop_process()
        judgement = decide(writers.books(), self.sources, self.receivers, self.folder / "received", phases)
        changes = sum(len(book.versions) for book in writers.books().values())
        seconds = time.monotonic() - began
        return Result(self.plan, judgement, self._failures(), self.crashes, changes, seconds, self.folder)

    # -- preparation ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.plan.save(self.folder / "plan")
        self.failures.touch()
        self.databases = {each.name: database for each, database in self._databases()}
        self._configure()
        ports, self.chorus = self._start_receivers()
        self.endpoints = self._add_endpoints(ports)
        self._start_process()

    def _databases(self) -> Iterator[tuple[Source, Database]]:
        servers = {}
        for flavour, spec in SPECS.items():
            servers[flavour] = own_server(self.keeper, spec)
            self.stack.callback(servers[flavour].discard)
        for source in self.sources:
            database = Database(servers[source.flavour], create_database(servers[source.flavour], erp=False))
            self.stack.callback(database.close)
            create_tables(database)
            yield source, database

    def _configure(self) -> None:
        text = "".join(self._section(source) for source in self.sources)
        # what a failed recorder did not record is sent again when its lease has ended
        text += "[dispatch]\nallow_private = true\nmax_timeout_seconds = 5\nlease_seconds = 8\n"
        text += '[outbox]\nurl = "sqlite:///cdc.db"\n'
        text += f'[web]\nlisten = "127.0.0.1:{self.web}"\n[process]\nnice = 0\n'
        self.consumer.folder.mkdir()
        (self.consumer.folder / "cdc.toml").write_text(text, encoding="utf-8")
        (self.consumer.folder / "rules.toml").write_text(f'tables = ["{ITEMS}", "{HOSTILE}"]\n', encoding="utf-8")
        self.consumer.create_outbox()
        for commands in (["install-triggers"], ["install-slot"]):
            wanted = [each.name for each in self.sources if each.capture in _CAPTURES[commands[0]]]
            self.consumer.run(*commands, *(word for name in wanted for word in ("--source", name)))

    def _section(self, source: Source) -> str:
        url = database_url(self.databases[source.name].info)
        return f'[source.{source.name}]\nurl = "{url}"\ncapture = "{source.capture}"\nrules = "rules.toml"\n'

    def _start_receivers(self) -> tuple[dict[int, int], list[subprocess.Popen[str]]]:
        """Number → port, and the two processes."""
        received = self.folder / "received"
        received.mkdir()
        ports: dict[int, int] = {}
        processes = []
        for which in ("healthy", "sick"):
            arguments = [str(self.folder / "plan"), str(received), which]
            process = subprocess.Popen(
                [sys.executable, "-m", "support.chaos.receiver", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=TESTS,
            )
            self.stack.callback(process.communicate)
            assert process.stdout is not None
            ports |= {int(number): port for number, port in json.loads(process.stdout.readline()).items()}
            processes.append(process)
        return ports, processes

    def _add_endpoints(self, ports: Mapping[int, int]) -> dict[Receiver, str]:
        """Receiver → the endpoint's id."""

        def add(receiver: Receiver) -> str:
            options = ["--timeout", str(TIMEOUT), "--retries", RETRIES, "--disable-after", "0"]
            options += ["--source", receiver.source] if receiver.source else []
            url = f"http://127.0.0.1:{ports[receiver.number]}{receiver.path}"
            return str(self.consumer.add_endpoint(url, "*", *options)["id"])

        with ThreadPoolExecutor(3) as pool:
            return dict(zip(self.receivers, pool.map(add, self.receivers), strict=True))

    def _start_process(self) -> None:
        sick = [id_ for each, id_ in self.endpoints.items() if each.ailment == "outcome"]
        arguments = [str(self.folder / "plan"), str(self.flag), str(self.failures), ",".join(sick)]
        arguments += ["1" if self.priority else "0", *self.consumer.arguments("--log-format", "json", "run")]
        with self.consumer.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.chaos.launcher", *arguments], stdout=log, stderr=log, cwd=TESTS
            )
        self.stack.callback(self._kill)
        if not self._until(lambda: self.consumer.log.read_text().count(_READING) >= len(self.sources)):
            raise AssertionError(f"The process does not read every source:\n{self._tail()}")

    # -- the phases -------------------------------------------------------------------------------------------------

    def _phases(self, writers: Writers, say: Callable[[str], None]) -> tuple[Phase, Phase]:
        say(f"{self.quiet:.0f} s without failures")
        begin = time.monotonic()
        self._wait(self.quiet)
        middle = time.monotonic()
        say(f"{self.plan.seconds:.0f} s with failures")
        with self._chaos(writers):
            self._wait(self.plan.seconds)
            end = time.monotonic()
        say("no more failures")
        return Phase(begin, middle), Phase(middle, end)

    @contextmanager
    def _chaos(self, writers: Writers) -> Iterator[None]:
        filtered = [id_ for each, id_ in self.endpoints.items() if each.ailment == "filter"]
        outbox = self.consumer.folder / "cdc.db"
        trouble = Trouble(self.plan, writers.writers, outbox, filtered, self.failures)
        self.flag.touch()
        self._call("chaos")
        trouble.start()
        try:
            yield
        finally:
            trouble.stop()
            self._call("calm")
            self.flag.unlink()

    def _call(self, word: str) -> None:
        for process in self.chorus:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n")
            process.stdin.flush()

    def _wait(self, seconds: float) -> None:
        """Wait; raise when the process ends in that time."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"The process ended by itself ({code}):\n{self._tail()}")

    def _drain(self, writers: Writers, say: Callable[[str], None]) -> None:
        """Wait until everything has arrived, for `DRAIN_SECONDS` at most."""
        began = time.monotonic()
        accepted = Accepted(self.receivers, self.folder / "received")
        books = writers.books()
        if self._until(lambda: not accepted.missing(books), DRAIN_SECONDS, 1.0):
            say(f"everything arrived {time.monotonic() - began:.0f} s after the last failure")
        else:
            self.crashes.append(f"not arrived after {DRAIN_SECONDS:.0f} s: {accepted.missing(books)}")

    def _check_ready(self) -> None:
        """Check that the process is ready some time after the last failure."""
        if not self._until(lambda: self._health()[0] == http.client.OK, DRAIN_SECONDS, 1.0):
            self.crashes.append(f"not ready: {self._health()[1]}")

    def _health(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=10)
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    # -- the end ----------------------------------------------------------------------------------------------------

    def _stop_process(self) -> None:
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.crashes.append(f"the process did not end within {STOP_SECONDS:.0f} s")
            return
        if code:
            self.crashes.append(f"the process ended with {code}: {self._tail()}")

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _until(self, done: Callable[[], bool], seconds: float = START_SECONDS, pause: float = 0.1) -> bool:
        """Return whether the condition became true in time."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return done()
            threading.Event().wait(pause)  # files of other processes: there is no event to await
        return True

    def _tail(self) -> str:
        return "\n".join(self.consumer.log.read_text(encoding="utf-8").splitlines()[-15:])

    def _failures(self) -> Counter[tuple[str, str]]:
        lines = self.failures.read_text(encoding="utf-8").splitlines()
        return Counter((line.split("\t")[0], line.split("\t")[1]) for line in lines)


#: In the log, once for each source that is open.
_READING = '"reading"'
#: Capture modes that a command prepares a database for.
_CAPTURES = {"install-triggers": {"triggers"}, "install-slot": {"logical"}}


def run(
    plan: Plan,
    quiet: float,
    keeper: KeeperClient,
    folder: Path,
    *,
    priority: bool = False,
    say: Callable[[str], None] = print,
) -> Result:
    if shutil.disk_usage(folder).free < _ROOM:
        raise OSError(f"{folder} has less than 2 GiB free; set TMPDIR to a folder with more room.")
    return Run(plan, quiet, keeper, folder, priority=priority).go(say)


_ROOM = 2 << 30


def raise_priority() -> None:
    """Raise the priority of this process and those that it starts.  Needs the privilege, as root has it."""
    os.setpriority(os.PRIO_PROCESS, 0, -15)
