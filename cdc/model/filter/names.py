"""Names that a filter may use."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

from cdc.model.errors import UsageError
from cdc.model.filter.functions import FUNCTIONS, METHODS, PROPERTIES

#: Names that mean a type, in ``type(data.total) == double``.
TYPES: Final = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_MACROS: Final = ("has", "all", "exists", "exists_one", "map", "filter")
_CALLED: Final = tuple(dict.fromkeys((*FUNCTIONS, *PROPERTIES, *METHODS, "matches", *_MACROS)))


def unknown_name(name: str, variables: Collection[str]) -> UsageError:
    return UsageError(f"The filter asks for {name}, which events do not have.", _near(name, variables))


def unknown_function(name: str) -> UsageError:
    if name in _CALLED:
        return UsageError(f"The filter calls {name}() with other arguments than it takes.", _USES.get(name, ""))
    return UsageError(f"The filter calls {name}(), which there is not.", _near(name, _CALLED))


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


_USES: Final = (
    {name: f"It is used so: {name}(value)" for name in FUNCTIONS}
    | {name: f"It is used so: value.{name}()" for name in PROPERTIES}
    | {name: f'It is used so: text.{name}("text")' for name in (*METHODS, "matches")}
    | {name: f"It is used so: rows.{name}(row, row.total > 0.0)" for name in _MACROS}
    | {"has": "It is used so: has(data.total)", "size": "It is used so: size(value)"}
)
