"""Where in a catalogue file something stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cdc.model.toml_lines import TomlLines, TomlPath


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A line of a file (0: none in particular); ``user`` tells the user's file from the one that ships with the
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
