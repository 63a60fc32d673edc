"""Tells a person of event names that nothing will ever have."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from cdc import service
from cdc.cli.output import say
from cdc.config import Config
from cdc.pattern import matches


def warn_of_unknown_events(config: Config, patterns: Iterable[str]) -> None:
    """No error: the pattern may be meant for a rule that is added later."""
    names = [kind.name for kind in service.event_types(config)]
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in names):
            near = get_close_matches(pattern, names, n=1)
            hint = f"did you mean {near[0]}?" if near else "cdc event list shows all."
            say(f"Warning: no event is called {pattern} at present; {hint}")
