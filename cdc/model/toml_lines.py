"""The lines of the keys in a TOML text: ``tomllib`` reads the values but forgets the lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import Any

#: Names of tables and keys, and positions (from 0) in arrays of tables: ``("event", 2, "becomes", "pagada")``.
TomlPath = tuple[str | int, ...]


class TomlLines:
    """The lines (from 1) of every table header and key of one valid TOML text.

    A statement is the shortest run of lines that parses by itself, so strings and arrays over several lines need no
    grammar of our own.  Keys inside an inline table get the line on which the inline table begins.
    """

    def __init__(self, text: str) -> None:
        self._text = text.split("\n")
        self.lines = _scan(text)

    def of(self, path: TomlPath) -> int | None:
        """The line of ``path``, or of the nearest thing around it that the text names."""
        around = (path[:length] for length in range(len(path), 0, -1))
        return next((self.lines[found] for found in around if found in self.lines), None)

    def of_word(self, path: TomlPath, word: str) -> int | None:
        """The line of ``word`` within the value of ``path``; `of` the path when it does not stand there."""
        start = self.of(path)
        if start is None:
            return None
        end = min((line for line in self.lines.values() if line > start), default=len(self._text) + 1)
        whole_word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        value = range(start, end)
        return next((line for line in value if whole_word.search(self._text[line - 1].partition("#")[0])), start)


def _scan(text: str) -> dict[TomlPath, int]:
    """Return the lines of keys; the first one of a key that occurs more than once, such as an array of tables."""
    lines: dict[TomlPath, int] = {}
    counts: dict[TomlPath, int] = {}
    table: TomlPath = ()
    for line, statement, content in _statements(text):
        if statement.startswith("["):
            table = _table(list(_names(content)), counts, is_array=statement.startswith("[["))
            paths = [table[:length] for length in range(1, len(table) + 1)]
        else:
            paths = [table + path for path in _paths(content)]
        for path in paths:
            lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line, text and content of each; those without content (blank lines and comments) are left out."""
    lines = list(StringIO(text))  # splits at line feeds only, as TOML does
    start = 0
    while start < len(lines):
        end = start + 1
        while (content := _parsed("".join(lines[start:end]))) is None and end < len(lines):
            end += 1
        if content:
            yield start + 1, "".join(lines[start:end]).lstrip(), content
        start = end


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _names(header: Any) -> Iterator[str]:
    """``{"a": {"b": {}}}`` (from ``[a.b]``), or ``{"a": {"b": [{}]}}`` (from ``[[a.b]]``) → ``a``, ``b``."""
    while header and isinstance(header, Mapping):
        name = next(iter(header))
        yield name
        header = header[name]


def _table(names: list[str], counts: dict[TomlPath, int], *, is_array: bool) -> TomlPath:
    """The path of a header; a name on its way that is an array of tables means the array's last table."""
    path: TomlPath = ()
    for position, name in enumerate(names, start=1):
        path += (name,)
        if is_array and position == len(names):
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path += (counts[path] - 1,)
    return path


def _paths(content: Mapping[str, Any]) -> Iterator[TomlPath]:
    for name, value in content.items():
        yield (name,)
        if isinstance(value, Mapping):
            for path in _paths(value):
                yield (name, *path)


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A line of a file (0: none in particular); ``user``: it is the user's file, not the one that ships with the
    package."""

    path: str
    line: int
    user: bool

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else self.path


@dataclass(frozen=True)
class Places:
    """Finds the line of a key in one text, e.g. ``("event", 2, "becomes")``, below ``section``."""

    path: str
    text: str
    user: bool
    section: tuple[str, ...] = ()

    def of(self, path: TomlPath, word: str | None = None) -> FilePlace:
        """The line of the longest known beginning of ``path``; ``word``: of this text within its value, if found."""
        path = (*self.section, *path)
        line = self._lines.of(path) if word is None else self._lines.of_word(path, word)
        return FilePlace(self.path, line or 1, self.user)

    @cached_property
    def _lines(self) -> TomlLines:
        """Read when first asked for: the text may be no TOML at all, which parsing it says."""
        return TomlLines(self.text)
