"""The faults of a plan, as they happen to a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from support.simulated.consumer import Consumer
from support.simulated.database import SILENT
from support.simulated.network import NOWHERE
from support.simulated.plan import Fault, Kind
from support.simulated.stage import Stage

#: By how much (seconds) a clock jumps.
JUMPS = (0.5, 5.0, 60.0, 3_600.0, 86_400.0, 150_000_000.0)
#: What a clock did that was ahead by more than this (seconds) is repaired by the product.
_FAR = 28 * 3_600.0


@dataclass
class Faults:
    """``clocks``: by how much (seconds) any clock was ahead."""

    stage: Stage
    clocks: list[float] = field(default_factory=lambda: [0.0])

    def begin(self) -> None:
        """Schedule those of the plan."""
        for fault in self.stage.plan.faults:
            self.stage.loop.call_at(fault.at, self._inject, fault, context=NOWHERE)

    def _inject(self, fault: Fault) -> None:
        self.stage.history.note(f"fault {fault}")
        _INJECT[fault.kind](self, fault)

    def heal(self) -> None:
        """End all faults.  All clocks show the latest time that any has shown, since what was scheduled by it is late,
        not lost; except for times so far ahead that the product must notice."""
        stage = self.stage
        stage.history.note("healed")
        for service in stage.services():
            service.heal()
        for receiver in stage.network.receivers.values():
            receiver.until = 0.0
        for consumer in stage.consumers:
            stage.loop.resume(consumer.process)
            for link in (consumer.session.link, consumer.outbox.link):
                link.cut_until, link.crash_in = 0.0, None
        ahead = 0.0
        for clock in sorted(self.clocks):
            if ahead < clock <= ahead + _FAR:
                ahead = clock
        for host in stage.hosts:
            host.ahead = ahead

    def _consumer(self, fault: Fault) -> Consumer:
        return self.stage.consumers[fault.process]

    def _until(self, fault: Fault) -> float:
        return self.stage.loop.time() + fault.seconds

    # -- of processes and hosts -------------------------------------------------------------------------------------

    def _crash(self, fault: Fault) -> None:
        self.stage.crash(self._consumer(fault).process)

    def _crash_soon(self, fault: Fault) -> None:
        consumer = self._consumer(fault)
        link = consumer.session.link if fault.amount < 0.3 else consumer.outbox.link
        link.crash_in = 1 + int(fault.amount * 1000) % 15

    def _restart(self, fault: Fault) -> None:
        self.stage.restart(fault.process)

    def _pause(self, fault: Fault) -> None:
        process = self._consumer(fault).process
        process.pause()
        self.stage.loop.call_later(fault.seconds, self.stage.loop.resume, process, context=NOWHERE)

    def _clock(self, fault: Fault) -> None:
        host, jump = self._consumer(fault).process.host, JUMPS[int(fault.amount * 1000) % len(JUMPS)]
        host.ahead += jump if fault.amount < 0.5 else -jump
        self.clocks.append(host.ahead)

    def _power(self, fault: Fault) -> None:
        for consumer in self.stage.consumers:
            self.stage.crash(consumer.process)
        self.stage.disk.fail_power(self.stage.machine.random)

    # -- of the database --------------------------------------------------------------------------------------------

    def _cut(self, fault: Fault) -> None:
        """Take the connection of the consumer that reads now."""
        stage, session = self.stage, self.stage.server.holder
        reader = next((each for each in stage.consumers if session and each.process.name == session.process), None)
        if reader is None or session is None:
            return  # it died, which the server may not know yet
        if fault.kind in (Kind.CUT, Kind.DEAF):
            reader.session.link.cut_until = self._until(fault)
        if fault.kind is Kind.EVICT:
            reader.outbox.link.cut_until = self._until(fault)
            stage.loop.call_later(min(1.0, fault.seconds), stage.server.end, session, context=NOWHERE)
        elif fault.kind is Kind.DEAF:
            stage.loop.call_later(SILENT, stage.server.end, session, context=NOWHERE)
        else:
            stage.server.end(session)

    # -- of the outbox and the network ------------------------------------------------------------------------------

    def _outbox(self, fault: Fault) -> None:
        self.stage.outbox.refuses_until = self._until(fault)

    def _outbox_of_one(self, fault: Fault) -> None:
        self._consumer(fault).outbox.link.cut_until = self._until(fault)

    def _answers(self, fault: Fault) -> None:
        outbox = self.stage.outbox
        outbox.loses, outbox.loses_until = 0.1 + fault.amount / 2, self._until(fault)

    def _slow(self, fault: Fault) -> None:
        services = self.stage.services()
        service = services[int(fault.amount * 1000) % len(services)]
        most = 10 if service is self.stage.network.service else 400
        service.slow, service.slow_until = 1 + most * fault.amount, self._until(fault)

    def _network(self, fault: Fault) -> None:
        self.stage.network.service.refuses_until = self._until(fault)

    def _receiver(self, fault: Fault) -> None:
        receivers = list(self.stage.network.receivers.values())
        receiver = receivers[int(fault.amount * 1000) % len(receivers)]
        receiver.mood, receiver.until = fault.mood, self._until(fault)


_INJECT: dict[Kind, Callable[[Faults, Fault], None]] = {
    Kind.CRASH: Faults._crash,
    Kind.CRASH_SOON: Faults._crash_soon,
    Kind.RESTART: Faults._restart,
    Kind.PAUSE: Faults._pause,
    Kind.CLOCK: Faults._clock,
    Kind.POWER: Faults._power,
    Kind.CUT: Faults._cut,
    Kind.DEAF: Faults._cut,
    Kind.ENDED: Faults._cut,
    Kind.EVICT: Faults._cut,
    Kind.OUTBOX: Faults._outbox,
    Kind.OUTBOX_OF_ONE: Faults._outbox_of_one,
    Kind.ANSWERS: Faults._answers,
    Kind.SLOW: Faults._slow,
    Kind.NETWORK: Faults._network,
    Kind.RECEIVER: Faults._receiver,
}
