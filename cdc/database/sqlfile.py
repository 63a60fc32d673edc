"""Reads the SQL files of the ``sql/`` folder (installed as the package ``cdc.sql``)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template


@cache
def load(name: str) -> str:
    """The text of ``sql/<name>``, for example ``load("postgres/claim.sql")``, or the part of a file after a line
    ``-- name: drop``: ``load("postgres/slot.sql#drop")``."""
    file, _, part = name.partition("#")
    return parts(file)[part] if part else (files("cdc.sql") / file).read_text(encoding="utf-8")


@cache
def parts(file: str) -> Mapping[str, str]:
    """The parts of a file by name, each after a line ``-- name: drop``, with its comments.  A name is used once."""
    _, *found = re.split(r"^-- name: (\w+)\n", load(file), flags=re.MULTILINE)
    assert len(found[::2]) == len(set(found[::2])), f"a name is used twice in {file}"
    return {name: text.rstrip("\n") + "\n" for name, text in zip(found[::2], found[1::2], strict=True)}


def names(folder: str) -> list[str]:
    """The files of a folder, as `load` names them."""
    return sorted(
        f"{folder}/{each.name}" for each in (files("cdc.sql") / folder).iterdir() if each.name.endswith(".sql")
    )


def load_all() -> None:
    """Read every file now, so that a process without free file descriptors still has its statements."""
    root = files("cdc.sql")
    for folder, _, names in os.walk(str(root)):
        for name in names:
            if name.endswith(".sql"):
                load(str(Path(folder, name).relative_to(str(root))))


def render(name: str, **identifiers: str) -> str:
    """`load` with ``$name`` placeholders replaced.  Only for identifiers and SQL that the caller has quoted or built:
    values go to the driver as parameters."""
    return Template(load(name)).substitute(identifiers)
