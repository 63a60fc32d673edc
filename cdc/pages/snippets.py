"""Code that verifies our signatures, in the languages of receivers; docs/signing.md shows the same."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

#: Title → file of ``snippets``, in the order shown.
_FILES = {
    "PHP": "verify.php",
    "Python": "verify.py.txt",
    "Node.js": "verify.mjs",
    "Go": "verify.go",
    "C#": "Verify.cs",
    "n8n": "n8n.js",
}


class Snippet(NamedTuple):
    title: str
    code: str


@cache
def snippets() -> tuple[Snippet, ...]:
    folder = files("cdc.pages") / "snippets"
    return tuple(Snippet(title, (folder / name).read_text("utf-8")) for title, name in _FILES.items())
