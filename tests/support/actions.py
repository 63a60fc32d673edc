"""Reads files of user actions: SQL statements under a heading, with the expected events beside them.

::

    -- ## title of the action
    UPDATE …;
    -- => customer.updated(nombre)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(r"'(?:[^'\\]|\\.|'')*'|`[^`]*`|--[^\n]*|/\*.*?\*/|;|[^'`;/-]+|.", re.DOTALL)


def statements(script: str) -> Iterator[str]:
    """The statements of a script; strings with semicolons and MySQL's backslash escapes are respected."""
    current: list[str] = []
    for token in _TOKEN.findall(script):
        if token == ";":
            if text := "".join(current).strip():
                yield text
            current = []
        elif not token.startswith("--"):
            current.append(token)
    if text := "".join(current).strip():
        yield text


@dataclass(frozen=True, slots=True)
class Action:
    """``expected``: one line a transaction, in the notation of `support.notation`."""

    title: str
    statements: tuple[str, ...]
    expected: tuple[str, ...]


def load_actions(path: Path) -> list[Action]:
    """The actions of one file, in order."""
    parts = re.split(r"^-- ## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [_action(part) for part in parts]


def _action(part: str) -> Action:
    title, _, body = part.partition("\n")
    expected = re.findall(r"^-- => (.*)$", body, flags=re.MULTILINE)
    return Action(title.strip(), tuple(statements(body)), tuple(expected))
