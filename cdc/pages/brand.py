"""The host's name and colours on the pages of portals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cdc.model.colour import lightened

#: The lightest surface of the dark theme of ``page.css`` that links are on.
_DARK_SURFACE: Final = "#2a2f35"
_PROGRAM: Final = "facturascripts-cdc"


@dataclass(frozen=True, slots=True)
class Brand:
    """``accent``: ``#rrggbb``, readable on light surfaces; empty: the program's.  ``logo``: its content type and bytes;
    None: there is none."""

    name: str = _PROGRAM
    accent: str = ""
    logo: tuple[str, bytes] | None = None

    @property
    def style(self) -> str:
        """Return the stylesheet that goes after ``page.css``; empty where the colour is the program's."""
        if not self.accent:
            return ""
        dark = f"{{ --accent: {lightened(self.accent, _DARK_SURFACE)}; --accent-ink: #10151a; }}"
        return (
            f":root {{ --accent: {self.accent}; --accent-ink: #ffffff; }}\n"
            f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {dark} }}\n'
            f':root[data-theme="dark"] {dark}\n'
        )
