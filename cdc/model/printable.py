"""Foreign text as a terminal may show it.

Control characters move the cursor, retitle the window or hide what follows; direction marks change the order in which a
text is shown.  Both become ``\\uXXXX``, which in JSON means the same character.
"""

from __future__ import annotations

import re
from typing import Final

_DIRECTIONS: Final = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_HALVES: Final = "\ud800-\udfff"  # no stream can encode them
_CONTROLS: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTIONS}{_HALVES}]")
_BREAKS: Final = re.compile(f"[\x00-\x1f\x7f-\x9f{_DIRECTIONS}{_HALVES}]")


def printable(text: str) -> str:
    """Escape control characters, except tabs and line feeds, and direction marks.  JSON stays the same JSON."""
    return _CONTROLS.sub(_escaped, text)


def printable_line(text: str) -> str:
    """`printable`, with tabs and line feeds escaped too: a value cannot pretend to be the next line."""
    return _BREAKS.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
