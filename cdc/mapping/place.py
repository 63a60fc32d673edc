"""Where in a TOML text something stands: ``tomllib`` gives no line numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

_ARRAY_HEADER = re.compile(r"\s*\[\[\s*(?P<name>[^\]]+?)\s*\]\]")
_HEADER = re.compile(r"\s*\[\s*(?P<name>[^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(r"""\s*(?P<name>(?:[\w\-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w\-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w\-]+|"[^"]*"|'[^']*'""")
_TOKEN = re.compile(r"""#.*|\"\"\"|'''|"(?:\\.|[^"\\])*"|'[^']*'|[\[\]{}]""")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; ``user`` tells the user's file from the one that ships with the package."""

    path: str
    line: int
    user: bool

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass(slots=True)
class Places:
    """Finds the line of a key in one text, e.g. ``("event", 2, "becomes")``, below ``section``."""

    path: str
    text: str
    user: bool
    section: tuple[str, ...] = ()
    _lines: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lines = _scan(self.text)

    def of(self, path: Path, word: str | None = None) -> Place:
        """The line of the longest known beginning of ``path``; ``word``: of this text within its value, if found."""
        line = 1
        path = (*self.section, *path)
        for end in range(len(path), 0, -1):
            if path[:end] in self._lines:
                line = self._lines[path[:end]]
                break
        return Place(self.path, line if word is None else self._word(line, word), self.user)

    def _word(self, line: int, word: str) -> int:
        following = min((other for other in self._lines.values() if other > line), default=None)
        for number, text in enumerate(self.text.splitlines()[line - 1 : following and following - 1], start=line):
            if re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", text.partition("#")[0]):
                return number
        return line


def _parts(name: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(name))


def _scan(text: str) -> dict[Path, int]:
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    nesting = _Nesting()
    for number, line in enumerate(text.splitlines(), start=1):
        if nesting.open:
            nesting.read(line)
        elif header := _ARRAY_HEADER.match(line):
            name = _parts(header["name"])
            table = (*name, counts.get(name, 0))
            counts[name] = counts.get(name, 0) + 1
            lines.setdefault(name, number)
            lines[table] = number
        elif header := _HEADER.match(line):
            table = _parts(header["name"])
            lines[table] = number
        elif key := _KEY.match(line):
            lines[table + _parts(key["name"])] = number
            nesting.read(line[key.end() :])
    return lines


class _Nesting:
    """Whether a value goes on in the next line: inside brackets or a multi-line string."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""

    @property
    def open(self) -> bool:
        return self._depth > 0 or self._quote != ""

    def read(self, text: str) -> None:
        if self._quote:
            _, end, text = text.partition(self._quote)
            if not end:
                return
            self._quote = ""
        for token in _TOKEN.finditer(text):
            word = token.group()
            if word in ('"""', "'''"):
                self._quote = word
                self.read(text[token.end() :])
                return
            if word[0] in "[{":
                self._depth += 1
            elif word[0] in "]}":
                self._depth -= 1
