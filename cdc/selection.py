"""Conditions on events, in the Common Expression Language: which of the events that an endpoint names it gets."""

from __future__ import annotations

from functools import lru_cache

from cdc.event import Event


class Condition:
    def __init__(self, text: str) -> None:
        self.text = text

    def holds(self, event: Event) -> bool:
        raise NotImplementedError


@lru_cache(maxsize=1024)
def compiled(text: str) -> Condition:
    """Raises `UsageError` when it is no condition."""
    return Condition(text)
