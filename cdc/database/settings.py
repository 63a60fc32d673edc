"""FacturaScripts' own settings: a table with a JSON text for each group of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import orjson

SETTINGS: Final = "settings"
_GENERAL: Final = "default"


def site_url(settings: Iterable[tuple[object, ...]]) -> str:
    """Return the address at which FacturaScripts knows itself.  ``settings``: name and properties of each group; empty
    where none is a plain address."""
    for name, properties in settings:
        if name == _GENERAL and isinstance(properties, str):
            try:
                found = orjson.loads(properties).get("site_url")
                parts = urlsplit(found if isinstance(found, str) else "")
            except (ValueError, AttributeError):
                return ""
            plain = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.query
            return str(found).rstrip("/") if plain and str(found).isprintable() and " " not in str(found) else ""
    return ""
