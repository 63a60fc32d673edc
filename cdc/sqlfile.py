"""Reads the SQL files of the ``sql/`` folder (installed as the package ``cdc.sql``)."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template


@cache
def load(name: str) -> str:
    """The text of ``sql/<name>``, for example ``load("postgres/claim.sql")``, or the part of a file after a line
    ``-- name: drop``: ``load("postgres/slot.sql#drop")``."""
    file, _, part = name.partition("#")
    if not part:
        return (files("cdc.sql") / file).read_text(encoding="utf-8")
    return _parts(file)[part].rstrip("\n") + "\n"


def _parts(file: str) -> dict[str, str]:
    _, *parts = re.split(r"^-- name: (\w+)\n", load(file), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def load_all() -> None:
    """Read every file now, so that a process without free file descriptors still has its statements."""
    root = files("cdc.sql")
    for folder, _, names in os.walk(str(root)):
        for name in names:
            if name.endswith(".sql"):
                load(str(Path(folder, name).relative_to(str(root))))


def load_named(folder: str) -> dict[str, str]:
    """The statements of all files of a folder, by name.  Each begins behind a line ``-- name: NAME``; its comments are
    for readers of the file only.  A name is used once."""
    found: dict[str, str] = {}
    for file in sorted(entry.name for entry in (files("cdc.sql") / folder).iterdir() if entry.name.endswith(".sql")):
        for name, text in _parts(f"{folder}/{file}").items():
            assert name not in found, f"two statements {name} in {folder}"
            found[name] = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).strip()
    return found


def render(name: str, **identifiers: str) -> str:
    """`load` with ``$name`` placeholders replaced.  Only for identifiers and SQL that the caller has quoted or built:
    values go to the driver as parameters."""
    return Template(load(name)).substitute(identifiers)
