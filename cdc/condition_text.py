"""What the text of a condition tells before it is evaluated: whether it can be one, and which columns it looks at.

The text is searched, not parsed.  What is only guessed at errs to the safe side: rather a column too many.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from cdc.errors import UsageError

_TYPES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("string", "bytes", "int", "uint", "double", "timestamp", "duration", "type", "dyn"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
_NAME = r"[A-Za-z_]\w*"
_ASKING = r"(?:all|exists|exists_one|existsOne)"
#: ``rows.exists(row, …)`` makes a variable ``row``.
_BOUND = re.compile(rf"\.\s*(?:{_ASKING}|map|filter)\s*(\()\s*({_NAME})\s*,")
_MAKING = re.compile(r"\.\s*(?:map|filter)\s*\(")
_STRING = re.compile(r"""\"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_PARSE_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): ((?:Syntax error: )?)(.*?)(?: expecting .*)?$", re.MULTILINE)


def syntax_sentence(told: str) -> str:
    """For what the parser says; of several places, the one that it calls a syntax error."""
    found = sorted(_PARSE_ERROR.findall(told), key=lambda place: not place[2])
    if not found:
        return "The filter is no expression."
    line, column, _, what = found[0]
    what = what.replace("mismatched input '<EOF>'", "it ends where more is needed").rstrip(".")
    return f"The filter is no expression: {what} (line {line}, character {column})."


def check_names(text: str, used: Iterable[str], called: Iterable[str], variables: Collection[str]) -> None:
    """``used``, ``called``: names of variables and functions in the text.  Raises `UsageError` for unknown ones."""
    known = {*variables, *_TYPES, *(name for _, name in _BOUND.findall(text))}
    for name in used:
        if name not in known:
            raise UsageError(f"The filter asks for {name}, which events do not have.", _near(name, variables))
    for name in called:
        if name.isidentifier() and not name.startswith("_") and name not in _FUNCTIONS:  # operators have names, too
            raise UsageError(f"The filter calls {name}(), which there is not.", _near(name, _FUNCTIONS))


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


def depth(text: str) -> int:
    """How deep ``exists`` and the like are nested."""
    bare = _STRING.sub("''", text)
    binding = {found.start(1) for found in _BOUND.finditer(bare)}
    opened: list[bool] = []
    deepest = 0
    for place, character in enumerate(bare):
        if character == "(":
            opened.append(place in binding)
            deepest = max(deepest, sum(opened))
        elif character == ")" and opened:
            opened.pop()
    return deepest


def columns_of(row: str, text: str) -> frozenset[str] | None:
    """The columns of ``data`` (…) that the text asks for; None when it may ask for others (``size(data)``)."""
    columns = re.findall(rf"\b{row}\.({_NAME})\b(?!\s*\()", text)
    return frozenset(columns) if len(columns) == len(re.findall(rf"\b{row}\b", text)) else None


def fields_of_lines(row: str, column: str, text: str) -> frozenset[str] | None:
    """Of rows in a column (``data.lines``): names among which are all that the text asks of them; None when it may ask
    for others, as where it compares whole rows."""
    place = rf"\b{row}\.{column}\b"
    asked = len(re.findall(rf"{place}\s*\.\s*(?:{_ASKING}|size)\s*\(|\bsize\s*\(\s*{place}\s*\)", text))
    if asked != len(re.findall(place, text)) or _MAKING.search(text):
        return None
    for _, name in _BOUND.findall(text):
        plain = len(re.findall(rf"\b{name}\.{_NAME}\b(?!\s*\()|\(\s*{name}\s*,", text))
        if plain != len(re.findall(rf"\b{name}\b", text)):
            return None
    return frozenset(re.findall(r"\w+", text))
