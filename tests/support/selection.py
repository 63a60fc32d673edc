"""The tests of a short run, `make test`: all of units, contracts and golden files; others once per engine or file."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

#: Folders of tests that take seconds each: a short run has the first test of each file.
LONG = frozenset({"acceptance", "browser", "fault"})
#: Folders whose tests on real servers a short run has once per engine, with the first of their parameters.
ON_SERVERS = frozenset({"integration", "security", "upgrade"})
_ENGINE = re.compile(r"mariadb|mysql|postgres")


def short_run(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of a short run, and those left out."""
    names: set[tuple[str, ...]] = set()
    selected: list[pytest.Item] = []
    rest: list[pytest.Item] = []
    for item in items:
        name = _name(item)
        (rest if name in names else selected).append(item)
        names.add(name)
    return selected, rest


def _name(item: pytest.Item) -> tuple[str, ...]:
    """Return the name under which a short run has only one test."""
    function, _, parameters = item.nodeid.partition("[")
    if not LONG.isdisjoint(item.path.parts):
        return (str(item.path),)
    if not ON_SERVERS.isdisjoint(item.path.parts):
        return function, *_ENGINE.findall(parameters)[:1]
    return (item.nodeid,)
