"""Events in the short notation that golden files use: ``receipt.updated(fechapago,pagado) ; receipt.paid``.

Changed columns (in brackets, sorted) leave out noise and secret columns; between records the order is free.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.model.event import Event

NONE = "(none)"

_TIMES = re.compile("(?P<event>.*?)\\s*\N{MULTIPLICATION SIGN}(?P<times>\\d+)\\Z")
_ROW_EVENT = re.compile(r"\.(created|updated|deleted|read|truncated)\Z")


def notation(event: Event, catalogue: Catalogue | None = None) -> str:
    if not event.name.endswith(".updated"):
        return event.name
    noise = (catalogue or load_catalogue()).noise_of(event.table)
    return f"{event.name}({','.join(sorted(set(event.previous or ()) - noise))})"


def describe(events: Sequence[Event], catalogue: Catalogue | None = None) -> str:
    """The events of one transaction on one line, in the order given; ``(none)`` when there are none."""
    catalogue = catalogue or load_catalogue()
    return " ; ".join(notation(event, catalogue) for event in events) or NONE


def parts(line: str) -> Counter[str]:
    """The events that a line in this notation names, whatever their order.

    A times sign and a number repeat one; ``[cascade]`` is a remark (see `without_cascades`).
    """
    counted: Counter[str] = Counter()
    for part in line.replace("[cascade]", "").split(" ; "):
        event = part.strip()
        times = _TIMES.match(event)
        if event and event != NONE:
            counted[times["event"] if times else event] += int(times["times"]) if times else 1
    return counted


def without_cascades(lines: Sequence[str]) -> list[str]:
    """Return the transactions on these lines without the changes by foreign keys, which follow ``[cascade]``."""
    seen = [line.partition("[cascade]")[0].strip(" ;") for line in lines]
    return [line for line in seen if line]


def assert_same(expected: str, events: Sequence[Event], catalogue: Catalogue | None = None) -> None:
    """The same events, and for each record created/updated/deleted before its transitions."""
    described = describe(events, catalogue)
    assert parts(described) == parts(expected), f"expected {expected}\n     got {described}"
    begun: set[str] = set()
    for event in events:
        assert not (_ROW_EVENT.search(event.name) and event.record in begun), f"{event.name} after its transitions"
        begun.add(event.record)
