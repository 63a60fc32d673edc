"""FacturaScripts stores text HTML-escaped (``O&#39;Brien &amp; Sons``); receivers get what the user typed."""

from __future__ import annotations

import re

from cdc.model.change import Row, Value

#: Exactly the entities that FacturaScripts writes; anything else in the text was typed by somebody.
_CHARACTERS = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_ENTITY = re.compile("|".join(_CHARACTERS))


def _character(match: re.Match[str]) -> str:
    return _CHARACTERS[match.group()]


def decode(value: Value) -> Value:
    """The value with its entities decoded in one pass: ``&amp;lt;`` becomes ``&lt;``, not ``<``."""
    if value.__class__ is str and "&" in value:
        return _ENTITY.sub(_character, value)
    return value


def decode_row(row: Row) -> Row:
    """The row itself when there is nothing to decode."""
    decoded: dict[str, Value] | None = None
    for column, value in row.items():
        if value.__class__ is str and "&" in value:
            if decoded is None:
                decoded = dict(row)
            decoded[column] = _ENTITY.sub(_character, value)
    return row if decoded is None else decoded


def as_is(row: Row) -> Row:
    """Return the row unchanged, for ``html = "raw"``."""
    return row
