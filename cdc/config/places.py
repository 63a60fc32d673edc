"""Where each key of a TOML text stands: tomllib reads the values but forgets the lines."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of every table header and key of a valid TOML text, by its full path.

    A statement is the shortest run of lines that parses by itself, so strings and arrays over several lines need no
    grammar of our own.  Keys inside an inline table get the line on which the inline table begins.
    """
    places: dict[Path, int] = {}
    table: Path = ()
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        is_header = statement.lstrip().startswith("[")
        if is_header:
            table = _only_path(content)
            for length in range(1, len(table) + 1):
                places.setdefault(table[:length], line)
        else:
            for path in _paths(content):
                places.setdefault(table + path, line)
    return places


def line_of(places: Mapping[Path, int], path: Path) -> int | None:
    """The line of ``path``, or of the nearest thing around it that the file names."""
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    lines = text.splitlines(keepends=True)
    start = 0
    while start < len(lines):
        end = start + 1
        while end < len(lines) and not _parses("".join(lines[start:end])):
            end += 1
        statement = "".join(lines[start:end])
        if _parses(statement) and statement.strip() and not statement.lstrip().startswith("#"):
            yield start + 1, statement
        start = end


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _only_path(content: Mapping[str, Any]) -> Path:
    """``{"a": {"b": {}}}`` (from ``[a.b]``) → ``("a", "b")``; an array of tables counts as its table."""
    path: Path = ()
    node: Any = content
    while node:
        if isinstance(node, list):
            node = node[0]
            continue
        name = next(iter(node))
        path += (name,)
        node = node[name]
    return path


def _paths(content: Mapping[str, Any]) -> Iterator[Path]:
    for name, value in content.items():
        yield (name,)
        if isinstance(value, Mapping):
            for path in _paths(value):
                yield (name, *path)
