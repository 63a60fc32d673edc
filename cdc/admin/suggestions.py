"""Events that were probably meant by a name or pattern that fits none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from cdc.model.pattern import matches

_MOST: Final = 3


def near_events(wanted: str, names: Sequence[str], tables: Mapping[str, str]) -> list[str]:
    """Return names and patterns like ``wanted``, the nearest first.  ``names``: of all events.  ``tables``: table →
    entity; an entity, or the name of its table, alone means all of its events."""
    wanted = wanted.strip().lower()
    entity, dot, what = wanted.rpartition(".")
    if not dot:
        entity, what = wanted, "*"
    entities = {name.rpartition(".")[0] for name in names}
    known = {**tables, **{each: each for each in entities}}
    near = [known[entity]] if entity in known else [known[each] for each in get_close_matches(entity, known)]
    found = [each for owner in near for each in _of_entity(owner, what, names)]
    return list(dict.fromkeys(found or get_close_matches(wanted, names)))[:_MOST]


def _of_entity(entity: str, what: str, names: Sequence[str]) -> list[str]:
    own = [name for name in names if name.rpartition(".")[0] == entity]
    if "*" in what:
        return [f"{entity}.{what}"] if matches_any(f"{entity}.{what}", own) else [f"{entity}.*"]
    return get_close_matches(f"{entity}.{what}", own) or [f"{entity}.*"]


def matches_any(pattern: str, names: Sequence[str]) -> bool:
    return any(matches(name, (pattern,)) for name in names)
