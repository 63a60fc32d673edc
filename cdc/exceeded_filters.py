"""Filters of endpoints that exceeded a limit in this process, until their endpoints are disabled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ExceededFilters:
    """``reasons``: by the text of the filter, a sentence each."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._listeners: list[Callable[[], object]] = []

    def add(self, text: str, reason: str) -> None:
        """From any thread."""
        self.reasons[text] = reason
        for listener in self._listeners:
            listener()

    def forget(self, text: str) -> None:
        self.reasons.pop(text, None)

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call it whenever a filter is added, in the thread that adds it."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
