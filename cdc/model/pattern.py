"""Event patterns: ``invoice.paid``, ``invoice.*``, ``*.paid``, ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cdc.model.errors import UsageError

#: Last parts of the names of events of rows that nobody changed: sent by a backfill, and read again after a gap.
UNCHANGED: Final = frozenset({"existing", "read"})
_PATTERN = re.compile(r"[a-z0-9_*]+(\.[a-z0-9_*]+)*\Z")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether an event name fits any of the patterns; ``*`` stands for any characters, dots included."""
    return any(_compiled(pattern).fullmatch(name) is not None for pattern in patterns)


def names_last(patterns: Iterable[str], what: str) -> tuple[str, ...]:
    """Those of the patterns that write out the last part of names, ``what``: ``*.existing``, ``invoice.existing``; not
    ``invoice.*``."""
    return tuple(pattern for pattern in patterns if pattern.rpartition(".")[2] == what)


def selects(name: str, patterns: Iterable[str]) -> bool:
    """As `matches`; but events of rows that nobody changed are selected only where their last part is written out."""
    last = name.rpartition(".")[2]
    return matches(name, names_last(patterns, last) if last in UNCHANGED else patterns)


def check_pattern(pattern: str) -> str:
    """The pattern itself, or `UsageError`."""
    if not _PATTERN.match(pattern):
        raise UsageError(
            f"{pattern!r} is not an event pattern.",
            "Write an event name such as invoice.paid, with * for any part: invoice.*, *.paid or *.",
        )
    return pattern
