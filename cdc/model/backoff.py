"""Growing pauses between tries."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubles from ``first`` to ``most`` seconds; each pause is shortened by up to a quarter at random, so that many
    clients of one server do not come back together."""

    def __init__(self, first: float, most: float, rand: Callable[[], float] = random.random) -> None:
        self._first = first
        self._most = most
        self._rand = rand
        self._next = first

    def next(self) -> float:
        pause = self._next
        self._next = min(pause * 2, self._most)
        return pause * (1 - self._rand() / 4)

    def reset(self) -> None:
        self._next = self._first
