"""The plan of a seed: processes, endpoints, and the faults that happen while the ERP writes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from cdc.model.endpoint import Order
from support.simulated.receivers import Mood

#: The ERP writes and faults begin within so many seconds.
WORKING = 14.0
#: The longest that a fault lasts.
LONGEST = 9.0
#: Afterwards nothing fails any more.
HEALED = WORKING + LONGEST + 1.0


class Kind(StrEnum):
    """Faults.  ``EVICT``: a consumer loses its lock while the outbox refuses it.  ``CUT``: the connection to the
    database breaks for both sides; ``DEAF``: the server does not notice; ``ENDED``: the consumer does not."""

    CRASH = "crash"
    CRASH_SOON = "crash soon"
    RESTART = "restart"
    PAUSE = "pause"
    CLOCK = "clock"
    CUT = "cut"
    DEAF = "deaf"
    ENDED = "ended"
    EVICT = "evict"
    OUTBOX = "outbox"
    OUTBOX_OF_ONE = "outbox of one"
    ANSWERS = "answers"
    SLOW = "slow"
    RECEIVER = "receiver"
    NETWORK = "network"
    POWER = "power"


#: Faults, and how often each is chosen; those of receivers come on top.
_WEIGHTS = {
    Kind.CRASH: 5,
    Kind.CRASH_SOON: 5,
    Kind.RESTART: 4,
    Kind.PAUSE: 2,
    Kind.CLOCK: 2,
    Kind.CUT: 2,
    Kind.DEAF: 2,
    Kind.ENDED: 3,
    Kind.EVICT: 4,
    Kind.OUTBOX: 2,
    Kind.OUTBOX_OF_ONE: 2,
    Kind.ANSWERS: 3,
    Kind.SLOW: 2,
    Kind.NETWORK: 1,
    Kind.POWER: 2,
}
#: Faults in which a lease ends unnoticed by its holder, so that a delivery may be on its way twice at once.
UNFENCED = frozenset({Kind.PAUSE, Kind.CLOCK})
#: Faults in which a process may take longer to stop.
HANGING = frozenset(
    {Kind.PAUSE, Kind.ANSWERS, Kind.SLOW, Kind.OUTBOX, Kind.OUTBOX_OF_ONE, Kind.EVICT, Kind.CUT, Kind.DEAF}
)


@dataclass(frozen=True)
class Fault:
    """``process``: the number of one; ``amount``: of what the kind needs."""

    at: float
    kind: Kind
    process: int
    seconds: float
    amount: float
    mood: Mood = Mood.WELL

    def __str__(self) -> str:
        return f"{self.at:.3f} s: {self.kind} {self.process} for {self.seconds:.3f} s, {self.amount:.3f} {self.mood}"


@dataclass(frozen=True)
class Hook:
    """An endpoint."""

    id: str
    order: Order
    batch_size: int
    concurrency: int
    rate: float
    retry_schedule: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """``shared``: an outbox on a server, where every process dispatches; else a file, on one host.  ``batch``: rows
    that are read together.  ``delay``: of the network to the receivers, in seconds."""

    seed: int
    shared: bool
    processes: int
    hooks: tuple[Hook, ...]
    transactions: int
    records: int
    batch: int
    delay: float
    faults: tuple[Fault, ...]

    def has(self, *kinds: Kind) -> bool:
        return any(fault.kind in kinds for fault in self.faults)

    @property
    def fenced(self) -> bool:
        """Return whether no delivery may be on its way twice at once."""
        return not self.has(*UNFENCED)


def plan_of(seed: int) -> Plan:
    choice = random.Random(seed)
    shared = choice.random() < 0.6
    processes = choice.choice((2, 2, 3) if shared else (1, 2))
    kinds = [kind for kind in _WEIGHTS if kind is not (Kind.POWER if shared else Kind.ANSWERS)]
    some = choice.sample(kinds, choice.randint(1, len(kinds)))  # a few kinds at a time test each more
    weights = [_WEIGHTS[kind] for kind in some]
    hooks = tuple(_hook(choice, number) for number in range(choice.choice((1, 1, 2))))
    chosen = choice.choices(some, weights, k=choice.randint(0, 10)) + [Kind.RECEIVER] * choice.choice((0, 1, 4))
    faults = [_fault(choice, kind, processes) for kind in chosen]
    return Plan(
        seed,
        shared,
        processes,
        hooks,
        transactions=choice.randint(3, 30),
        records=choice.randint(1, 8),
        batch=choice.choice((3, 10, 1000)),
        delay=choice.choice((0.02, 0.2, 0.8)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _hook(choice: random.Random, number: int) -> Hook:
    order = choice.choice((Order.RECORD, Order.RECORD, Order.RECORD, Order.ENDPOINT))
    batched = order is Order.RECORD and choice.random() < 0.25
    schedule = choice.choice(((1.0, 2.0, 4.0, 8.0), (0.5, 1.0, 1.0, 2.0, 2.0, 4.0), (3.0, 3.0, 3.0)))
    return Hook(
        f"ep_{number + 1}",
        order,
        batch_size=3 if batched else 1,
        concurrency=choice.choice((1, 4, 16)),
        rate=choice.choice((0.0, 0.0, 10.0, 2.0)),
        retry_schedule=schedule,
    )


def _fault(choice: random.Random, kind: Kind, processes: int) -> Fault:
    mood = choice.choice([mood for mood in Mood if mood is not Mood.WELL])
    seconds = choice.choice((0.2, 1.0, 3.0, LONGEST)) * choice.uniform(0.5, 1.0)
    return Fault(choice.uniform(0.2, WORKING), kind, choice.randrange(processes), seconds, choice.random(), mood)
