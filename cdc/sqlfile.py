"""Reads the named SQL files of the ``sql/`` folder (installed as the package ``cdc.sql``)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template


@cache
def load(name: str) -> str:
    """The text of ``sql/<name>``, for example ``load("postgres/claim.sql")``."""
    return (files("cdc.sql") / name).read_text(encoding="utf-8")


def render(name: str, **identifiers: str) -> str:
    """`load` with ``$name`` placeholders replaced.  Only for identifiers and SQL that the caller has quoted or built:
    values go to the driver as parameters."""
    return Template(load(name)).substitute(identifiers)
