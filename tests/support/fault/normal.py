"""The documented normal form of a row, computed from the values that a plain driver returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

#: Type code of TINYINT in a MySQL result; FacturaScripts stores booleans in it, and nothing else.
TINY = 1
_ENTITY = re.compile(r"&(#39|#039|quot|amp|lt|gt);")
_CHARACTERS = {"#39": "'", "#039": "'", "quot": '"', "amp": "&", "lt": "<", "gt": ">"}


def normal_row(
    description: Sequence[Any], values: Sequence[Any], secret: Mapping[str, Any] | frozenset[str]
) -> dict[str, Any]:
    """``description``: of the cursor (DB-API).  Secret columns are left out."""
    columns = [(str(column[0]), column[1]) for column in description]
    return {
        name: bool(value) if code == TINY and isinstance(value, int) else normal_value(value)
        for (name, code), value in zip(columns, values, strict=True)
        if name not in secret
    }


def normal_value(value: Any) -> Any:
    if isinstance(value, str):
        return _ENTITY.sub(lambda match: _CHARACTERS[match[1]], value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, timedelta):
        return (datetime.combine(date.min, time.min) + value).time().isoformat(timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    return value
