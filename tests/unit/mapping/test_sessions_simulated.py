"""Ten hours of people who sign in and out, written as FacturaScripts writes them, against the events about it.

Signing in writes a new session key, the time and, if different, address and browser; signing out writes the key and the
time; a request writes the time, at most once an hour.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Row, RowChange
from support.row_changes import transaction, update

_SECONDS: Final = 10 * 3600
_PAGE = Path(__file__).parents[3] / "docs" / "events.md"


@dataclass
class _Person:
    """``leaves``: how likely the person signs out before leaving; ``devices``: address and browser of each."""

    nick: str
    leaves: float
    devices: list[tuple[str, str]]
    row: Row = field(init=False)
    signed_in: bool = False

    def __post_init__(self) -> None:
        address, browser = self.devices[0]
        self.row = {"nick": self.nick, "lastip": address, "lastbrowser": browser, "lastactivity": 0, "enabled": True}

    def write(self, *, key: bool, **values: str | int) -> RowChange:
        change = update("users", self.row, key="nick", secrets=["logkey"] if key else [], **values)
        self.row = {**self.row, **values}
        return change


def _people(chance: random.Random) -> list[_Person]:
    people = []
    for number in range(60):
        office = (f"10.0.0.{number}", "Firefox")
        others = [(f"192.0.2.{number}", "Mobile"), (f"10.0.0.{number}", "Chrome")][: chance.choice([0, 0, 1, 2])]
        leaves = chance.choice([0.0, 0.0, 0.0, 0.5, 0.95])
        people.append(_Person(f"user{number}", leaves, [office, *others]))
    return people


def _day(chance: random.Random) -> Iterator[tuple[str, RowChange]]:
    """What each person did (``in``, ``out``, ``request``), and the change of the row."""
    people = _people(chance)
    for now in range(0, _SECONDS, 60):
        for person in people:
            if chance.random() < 1 / 90:  # comes back to a device, mostly the usual one
                address, browser = chance.choice(person.devices) if chance.random() < 0.3 else person.devices[0]
                yield "in", person.write(key=True, lastactivity=now, lastip=address, lastbrowser=browser)
                person.signed_in = True
            elif person.signed_in and chance.random() < 1 / 90 and chance.random() < person.leaves:
                yield "out", person.write(key=True, lastactivity=now)
                person.signed_in = False
            elif person.signed_in and now - int(person.row["lastactivity"] or 0) > 3600:
                yield "request", person.write(key=False, lastactivity=now)


def test_no_event_of_ten_simulated_hours_claims_what_did_not_happen() -> None:
    mapper = Mapper(load_catalogue())
    seen: Counter[tuple[str, ...]] = Counter()
    states: dict[str, str] = {}
    for number, (done, change) in enumerate(_day(random.Random(18))):
        made = mapper.batch("main", [transaction(change, token=str(number))], states).map().events
        names = [event.name for event in made if event.name != "user.updated"]
        seen[done, *names] += 1
    assert set(seen) == {
        ("in", "user.login"),
        ("in", "user.session_changed"),
        ("out", "user.session_changed"),
        ("request",),
    }
    assert min(seen.values()) >= 50
    share = 100 * seen["in", "user.login"] / (seen["in", "user.login"] + seen["in", "user.session_changed"])
    assert f"{share:.0f} % of the sign-ins" in " ".join(_PAGE.read_text(encoding="utf-8").split())
