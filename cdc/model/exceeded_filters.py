"""Filters of endpoints that exceeded a limit in this process, until their endpoints are disabled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Filtered(NamedTuple):
    """An endpoint with its filter; another one with the same filter gets other events."""

    endpoint: str
    filter: str


class ExceededFilters:
    """``reasons``: a sentence each."""

    def __init__(self) -> None:
        self.reasons: dict[Filtered, str] = {}
        self._listeners: list[Callable[[], object]] = []

    def add(self, which: Filtered, reason: str) -> None:
        """From any thread."""
        self.reasons[which] = reason
        for listener in self._listeners:
            listener()

    def forget(self, which: Filtered) -> None:
        self.reasons.pop(which, None)

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call it whenever a filter is added, in the thread that adds it."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
