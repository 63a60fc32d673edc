"""Work of milliseconds that keeps nobody waiting on a small machine.

The ERP's database may run on the same cores.  Each of its commits is a few wakings for some microseconds of work, and a
thread that is busy meanwhile keeps its core for as long as the system's scheduler lets it: a millisecond or three.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

#: Rows between two occasions, at least: about a tenth of a millisecond.
_ROWS: Final = 8
#: Occasions at most: on a machine that never rests, each may cost as long as the others like.
_OCCASIONS: Final = 8


def giving_way(rows: Iterable[T], count: int) -> Iterator[T]:
    """The same ``count`` rows; between some of them this thread leaves its core to whoever waits for one."""
    between = max(_ROWS, -(-count // _OCCASIONS))
    for number, row in enumerate(rows, 1):
        yield row
        if not number % between:
            os.sched_yield()
