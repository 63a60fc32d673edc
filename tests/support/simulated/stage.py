"""The parts of a simulated run: hosts, processes that die and are started again, servers, disk and network."""

from __future__ import annotations

import random

from cdc.capture.base import JournalLimits
from cdc.config import Config
from cdc.model.endpoint import Endpoint
from cdc.outbox import endpoints
from cdc.outbox.sqlite.database import SqliteDatabase, finished
from support.simulated.consumer import Consumer, ConsumerProcess, Host
from support.simulated.database import JournalSession, Server, gone
from support.simulated.erp import Erp
from support.simulated.history import History
from support.simulated.loop import PROCESS, Process, VirtualLoop
from support.simulated.network import NOWHERE, Link, Machine, Service
from support.simulated.outbox import START, Disk, SimulatedOutbox, full, unavailable
from support.simulated.plan import HANGING, Hook, Kind, Plan
from support.simulated.receivers import Network, Receiver, SimulatedSender

#: Seconds that a process may take to stop.
STOPPING = 10.0
_SECRET = "whsec_c2ltdWxhdGVkLXNlY3JldC1vZi0zMi1ieXRlcyE="
_DISPATCH = {"lease_seconds": 4, "max_timeout_seconds": 2}
_FILE = Config.model_validate({"outbox": {"url": "sqlite:////cdc.db"}, "dispatch": _DISPATCH})
_SERVER = Config.model_validate({"outbox": {"url": "postgresql://cdc@outbox/cdc"}, "dispatch": _DISPATCH})


class Stage:
    """``consumers``: those that run now, each in its place.  ``ending``: no process is started any more."""

    def __init__(self, plan: Plan, loop: VirtualLoop, history: History) -> None:
        self.plan = plan
        self.loop = loop
        self.history = history
        self.machine = Machine(loop, random.Random(plan.seed ^ 0x5EED), history, self.crash)
        self.server = Server()
        self.disk = Disk(history, unsafe=plan.has(Kind.POWER))
        self.database = Service("database", 0.004)
        self.outbox = Service("outbox", 0.004 if plan.shared else 0.001)
        self.network = Network(self.machine, Service("network", plan.delay))
        self.erp = Erp(self.machine, self.server, plan)
        self.hosts = [Host() for _ in range(plan.processes if plan.shared else 1)]
        self.consumers: list[Consumer] = []
        self.ending = False
        self._starts = 0

    def begin(self) -> None:
        """Start every process, and the ERP."""
        for hook in self.plan.hooks:
            self._add_endpoint(hook)
        self.consumers = [self._consumer(place) for place in range(self.plan.processes)]
        self.erp.begin()
        for consumer in self.consumers:
            self._start(consumer)

    def services(self) -> tuple[Service, Service, Service]:
        return self.database, self.outbox, self.network.service

    def _add_endpoint(self, hook: Hook) -> None:
        url = f"https://{hook.id}.example.com/"
        self.network.receivers[url] = Receiver(hook.id)
        endpoint = Endpoint(
            hook.id,
            url,
            ("customer.*",),
            _SECRET,
            START,
            timeout=2.0,
            retry_schedule=hook.retry_schedule,
            concurrency=hook.concurrency,
            order=hook.order,
            rate=hook.rate,
            batch_size=hook.batch_size,
            batch_wait=0.5,
        )
        finished(endpoints.add(SqliteDatabase(self.disk.database), endpoint))

    # -- processes --------------------------------------------------------------------------------------------------

    def _consumer(self, place: int) -> Consumer:
        plan, machine = self.plan, self.machine
        self._starts += 1
        process = ConsumerProcess(f"p{place}.{self._starts}", self.hosts[place if plan.shared else 0])
        database = Link(machine, process, self.database, gone, remote=True)
        outbox = Link(machine, process, self.outbox, unavailable if plan.shared else full, remote=plan.shared)
        return Consumer(
            process,
            _SERVER if plan.shared else _FILE,
            JournalSession(self.server, database),
            SimulatedOutbox(self.disk, outbox, shared=plan.shared),
            SimulatedSender(self.network, process),
            JournalLimits(batch=plan.batch, huge=2 * plan.batch, heads=3 * plan.batch, standby=2.0),
            self.history,
        )

    def _start(self, consumer: Consumer) -> None:
        self.history.note(f"{consumer.process.name} starts")
        context = NOWHERE.copy()
        context.run(PROCESS.set, consumer.process)
        self.loop.create_task(consumer.run(), context=context)

    def crash(self, process: Process) -> None:
        """Kill it; what supervises it starts it again."""
        if process.dead:
            return
        self.history.note(f"{process.name} dies")
        self.loop.kill(process)
        choice = self.machine.random
        for session in [each for each in self.server.sessions if each.process == process.name]:
            self.loop.call_later(choice.uniform(0.0, 2.0), self.server.end, session, context=NOWHERE)
        for place, consumer in enumerate(self.consumers):
            if consumer.process is process:
                pause = choice.choice((0.05, 1.0, 4.0))
                self.loop.call_later(pause, self._replace, place, consumer, context=NOWHERE)

    def restart(self, place: int) -> None:
        """Stop a process, and start another in its place when it has ended; kill it when that takes too long."""
        consumer = self.consumers[place]
        consumer.process.stop.set()
        self._follow_stop(place, consumer, self.loop.time() + STOPPING)

    def _follow_stop(self, place: int, consumer: Consumer, until: float) -> None:
        process = consumer.process
        if process.ended:
            self._replace(place, consumer)
        elif process.dead:
            return  # it is replaced already
        elif self.loop.time() > until:
            if not self.plan.has(*HANGING):
                self.history.complain(f"{process.name} did not stop in {STOPPING} s")
            self.crash(process)
        else:
            self.loop.call_later(0.25, self._follow_stop, place, consumer, until, context=NOWHERE)

    def _replace(self, place: int, consumer: Consumer) -> None:
        """Start another process in the place of one that has ended."""
        if self.consumers[place] is consumer and not self.ending:
            self.consumers[place] = self._consumer(place)
            self._start(self.consumers[place])
