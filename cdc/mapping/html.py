"""FacturaScripts stores text HTML-escaped (``O&#39;Brien &amp; Sons``); receivers get what the user typed."""

from __future__ import annotations

import re

from cdc.change import Row, Value

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
    for value in row.values():
        if value.__class__ is str and "&" in value:
            return {column: decode(value) for column, value in row.items()}
    return row


def as_is(row: Row) -> Row:
    """For ``html = "raw"``."""
    return row
