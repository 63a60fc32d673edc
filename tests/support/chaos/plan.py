"""The failing parts of a run and their failures: chosen by the seed, the same for the process under test, the receivers
and the judge."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

#: Databases on each of the two servers.  The last ones are read from the server's log, the others by triggers.
DATABASES, LOGGED = 10, 3
FLAVOURS = ("mariadb", "postgresql")
ENDPOINTS = 50
#: Endpoints that get the events of all sources; they are healthy.
HUBS = 2
#: Sources of each server that are sick: so many by triggers, so many by the log.
SICK_TRIGGERS, SICK_LOGGED = 2, 1
#: The ailment of each sick endpoint.  ``defect``: the sender raises; ``outcome``: recording raises.
AILMENTS = (
    *("refuse", "refuse", "hang", "hang", "reset", "reset", "continue", "continue", "huge", "huge"),
    *("error", "drip", "defect", "outcome", "filter", "filter"),
)
#: Ailments of a receiver itself.
OF_RECEIVERS = frozenset({"refuse", "hang", "reset", "continue", "huge", "error", "drip"})
#: The tables of each source: the workload's, and the one that hostile changes are made in.
ITEMS, HOSTILE = "chaos_items", "chaos_hostile"


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    flavour: str
    capture: str
    sick: bool


@dataclass(frozen=True, slots=True)
class Receiver:
    """``source``: the only one whose events it gets; empty: it gets those of all.  ``ailment``: empty when healthy."""

    number: int
    source: str
    ailment: str

    @property
    def path(self) -> str:
        return f"/hook/{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """``seconds``: of each phase.  ``rate``: transactions a second of each source.  ``bulk``: rows of the large
    transactions, one of which each source writes every ``bulk_seconds``."""

    seed: int
    seconds: float
    rate: float = 1.0
    bulk: int = 150
    bulk_seconds: float = 60.0

    def sources(self) -> list[Source]:
        dice = self.dice("sources")
        found: list[Source] = []
        for flavour in FLAVOURS:
            by_triggers = DATABASES - LOGGED
            sick = {*dice.sample(range(by_triggers), SICK_TRIGGERS)}
            sick |= {*dice.sample(range(by_triggers, DATABASES), SICK_LOGGED)}
            log = "logical" if flavour == "postgresql" else "binlog"
            for number in range(DATABASES):
                capture = "triggers" if number < by_triggers else log
                found.append(Source(f"{flavour}{number}", flavour, capture, number in sick))
        return found

    def receivers(self) -> list[Receiver]:
        """Each source has a healthy endpoint of its own; of some, the second one is sick."""
        dice = self.dice("receivers")
        names = [source.name for source in self.sources()]
        ailing = dict(zip(dice.sample(names, len(AILMENTS)), AILMENTS, strict=True))
        found = [Receiver(number, "", "") for number in range(HUBS)]
        for number in range(HUBS, ENDPOINTS):
            turn, place = divmod(number - HUBS, len(names))
            found.append(Receiver(number, names[place], ailing.get(names[place], "") if turn == 1 else ""))
        return found

    def dice(self, name: str) -> random.Random:
        """Random numbers of one component: the same for the same seed, whatever the others draw."""
        return random.Random(f"{self.seed} {name}")

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(file: Path) -> Plan:
        return Plan(**json.loads(file.read_text(encoding="utf-8")))
