"""Random filters, many of them attacks, on small and large events: how long each holds its thread, and the memory.

``PYTHONPATH=tests python -m support.filter_fuzz --count 10000 --seed 1``.  Ends with 1 when one takes more than 50 ms
of processor time, or the memory of the process grows by more than 200 MB.
"""

from __future__ import annotations

import argparse
import gc
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import structlog

from cdc.model.errors import UsageError
from cdc.model.event import Event
from cdc.model.filter.values import FilterLimit
from cdc.model.selection import Condition, Filtered, StoredCondition
from support.filter_language import Filters
from support.outboxes import event

T = TypeVar("T")

_LETTERS: Final = str.maketrans("01", "ab")

MOST_SECONDS: Final = 0.05
MOST_MEMORY: Final = 200_000


def document(lines: int, letters: int, nested: int) -> Event:
    row = {"total": 1.5, "text": "Peña", "nothing": None, "paid": True, "missing": 1, "numbers": [1, 2], "nested": {}}
    deep: Any = 1
    for _ in range(nested):
        deep = [deep]
    data = {
        "total": 121.0,
        "text": "A-12",
        "nothing": None,
        "paid": True,
        "lines": [row | {"total": number} for number in range(lines)],
        "numbers": list(range(lines)),
        "unsigned": 2**64 - 1,
        "nested": {"a": deep, "b": [1]},
        "long": "ab" * (letters // 2),
        "pattern": r"([ab]*a\w{20}c|b)*",
        "random": "".join(Random(1).choices("ab", k=letters)),
        "foreign": "".join(Random(2).choices("abñ\N{GRINNING FACE}", k=letters)),
        "runs": "".join(f"{number:b}".translate(_LETTERS) + "a" * (number % 900) for number in range(letters // 450)),
        "digits": "1" * letters,
        "hours": "1h" * (letters // 2),
    }
    return event(1, name="invoice.paid", data=data, previous={"total": 7, "long": "ba" * (letters // 2)})


SMALL: Final = document(2, 20, 1)
LARGE: Final = document(1000, 100_000, 300)
HUGE: Final = document(20_000, 4_000_000, 900)


class Held(NamedTuple):
    """The longest time that a filter took its thread.  ``what``: the word for how it ended."""

    seconds: float
    what: str
    text: str


def filters(seed: int, count: int) -> Iterator[str]:
    source = Filters(seed)
    for number in range(count):
        yield source.attack() if number % 3 == 0 else source.any()


def held(text: str, events: Sequence[Event]) -> Held:
    """The longest of: make a condition of it; judge one of ``events``; judge it as the filter of an endpoint."""
    seconds, found = _timed(lambda: _made(text))
    if isinstance(found, str):
        return Held(seconds, found, text)
    stored = StoredCondition(Filtered("ep_1", text))
    outcome = "evaluated"
    for each in events:
        took, judgement = _timed(lambda of=each: found.judge(of))  # type: ignore[misc]  # a default binds it
        again, _ = _timed(lambda of=each: stored.holds(of))  # type: ignore[misc]  # likewise
        seconds = max(seconds, took, again)
        if judgement.exceeded:
            outcome = "exceeded"
    return Held(seconds, outcome, text)


def _made(text: str) -> Condition | str:
    try:
        return Condition(text)
    except FilterLimit:
        return "too large"
    except UsageError:
        return "refused"


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    before = time.thread_time()
    result = work()
    return time.thread_time() - before, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()  # as `cdc run` does: the documents are not looked through at each collection
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = [held(text, (SMALL, LARGE, HUGE)) for text in filters(given.seed, given.count)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    slowest = sorted(found, reverse=True)[:3]
    print(f"{given.count} filters: " + ", ".join(f"{n} {what}" for what, n in Counter(h.what for h in found).items()))
    print(f"longest hold {slowest[0].seconds * 1000:.1f} ms, memory +{memory / 1024:.0f} MB")
    for each in slowest:
        print(f"{each.seconds * 1000:8.1f} ms  {each.what}: {each.text[:150]}")
    return int(slowest[0].seconds > MOST_SECONDS or memory > MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
