"""From the text of a filter to its tokens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from cdc.model.filter.values import LARGEST_INT, LARGEST_UINT, UInt

_TOKEN: Final = re.compile(
    r"""
    (?P<space>(?:[ \t\n\f\r]|//[^\n]*)+)
  | (?P<string>(?:[bB]?[rR]?)(?:\"{3}|'{3}|\"|'))
  | (?P<double>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?))
  | (?P<whole>(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv"'`\\?])|(?P<hex>[xX][0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"""
    r"""|(?P<code>u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))"""
)
_SURROGATES: Final = range(0xD800, 0xE000)
#: Digits, zeros before it included.
_LONGEST_NUMBER: Final = 40
_PLAIN_ESCAPES: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class Token(NamedTuple):
    """``kind``: ``literal``, ``name``, ``sign`` or ``end``."""

    kind: str
    text: str
    place: int
    value: Any = None


class NotAnExpression(Exception):
    """``place``: the index of the character; ``what``: the reason."""

    def __init__(self, what: str, place: int) -> None:
        super().__init__(what)
        self.what = what
        self.place = place


def tokens(text: str) -> Iterator[Token]:
    """The tokens, and one of kind ``end``.  Raises `NotAnExpression`."""
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise NotAnExpression(f"unexpected {text[place]!r}", place)
        kind, shown, end = found.lastgroup, found.group(), found.end()
        if kind == "string":
            value, end = _string(text, place, end, shown)
            yield Token("literal", text[place:end], place, value)
        elif kind == "double":
            yield Token("literal", shown, place, float(shown))
        elif kind == "whole":
            yield Token("literal", shown, place, _whole(shown, place))
        elif kind != "space":
            yield Token(str(kind), shown, place)
        place = end
    yield Token("end", "", place)


def _whole(shown: str, place: int) -> int:
    digits = shown.rstrip("uU")
    value = int(digits, 16 if digits.startswith("0x") else 10) if len(digits) <= _LONGEST_NUMBER else LARGEST_UINT + 1
    unsigned = digits != shown
    # One more than the largest: the parser takes it with a minus before it.
    if value > (LARGEST_UINT if unsigned else LARGEST_INT + 1):
        raise NotAnExpression(f"the number {shown} is too large", place)
    return UInt(value) if unsigned else value


def _string(text: str, start: int, inside: int, opening: str) -> tuple[str | bytes, int]:
    """The value of the string that begins at ``start``, and where it ends."""
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    parts: list[str | bytes] = []
    place = inside
    while not text.startswith(quote, place):
        if place >= len(text) or (len(quote) == 1 and text[place] in "\r\n"):
            raise NotAnExpression("a text in quotes does not end", start)
        if text[place] == "\\" and "r" not in prefix:
            part, place = _escaped(text, place, binary="b" in prefix)
            parts.append(part)
        else:
            parts.append(text[place])
            place += 1
    end = place + len(quote)
    if "b" in prefix:
        return b"".join(part if isinstance(part, bytes) else part.encode() for part in parts), end
    return "".join(map(str, parts)), end


def _escaped(text: str, place: int, *, binary: bool) -> tuple[str | bytes, int]:
    """What an escape means, bytes where it gives one, and where it ends."""
    found = _ESCAPE.match(text, place)
    if found is None or (binary and found["code"]):
        raise NotAnExpression(f"unknown escape {text[place : place + 2]}", place)
    if found["plain"]:
        return _PLAIN_ESCAPES.get(found["plain"], found["plain"]), found.end()
    number = int(found["octal"], 8) if found["octal"] else int((found["hex"] or found["code"])[1:], 16)
    if binary:
        return bytes([number]), found.end()
    if number > sys.maxunicode or number in _SURROGATES:
        raise NotAnExpression(f"there is no character {found.group()}", place)
    return chr(number), found.end()
