"""The parsed form of a filter, and its parser: tokens → tree."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cdc.model.filter.values import LARGEST_INT, LARGEST_UINT, NESTED, UInt


@dataclass(frozen=True, slots=True)
class Literal:
    """``text``: of a number with a fraction, which may have more digits than its value."""

    value: Any
    text: str = ""

    def children(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Name:
    name: str

    def children(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.first.second``.  ``test``: within ``has()``, which asks for the last of the fields."""

    operand: Node
    fields: tuple[str, ...]
    test: bool = False

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index:
    operand: Node
    key: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand, self.key)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of its arguments; ``target``: the value before the point, None without one."""

    name: str
    target: Node | None
    arguments: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(frozen=True, slots=True)
class Unary:
    """``sign``: ``!`` or ``-``."""

    sign: str
    operand: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Chain:
    """``first sign second sign third …``, of signs of the same precedence, from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]

    def children(self) -> tuple[Node, ...]:
        return (self.first, *(each for _, each in self.rest))


@dataclass(frozen=True, slots=True)
class Logical:
    """Operands of ``&&`` (``every``) or ``||``."""

    every: bool
    operands: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.operands


@dataclass(frozen=True, slots=True)
class Choice:
    condition: Node
    then: Node
    otherwise: Node

    def children(self) -> tuple[Node, ...]:
        return (self.condition, self.then, self.otherwise)


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.items


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[Node, Node], ...]

    def children(self) -> tuple[Node, ...]:
        return tuple(each for entry in self.entries for each in entry)


@dataclass(frozen=True, slots=True)
class Loop:
    """``values.kind(variable, …)``; ``body``: the arguments after the variable."""

    kind: str
    values: Node
    variable: str
    body: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return (self.values, *self.body)


Node = Literal | Name | Select | Index | Call | Unary | Chain | Logical | Choice | ListOf | MapOf | Loop


def size(node: Node) -> int:
    """The nodes of a tree."""
    return 1 + sum(size(each) for each in node.children())


def loops(node: Node) -> int:
    """Return how deep the bodies of loops are nested."""
    if isinstance(node, Loop):
        return max(loops(node.values), 1 + max(map(loops, node.body)))
    return max(map(loops, node.children()), default=0)


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
    """Return the meaning of an escape, bytes where it gives one, and its end."""
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


#: Signs by precedence, those that bind least first.
_LEVELS: Final = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_PRECEDENCE: Final = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_RESERVED: Final = frozenset(
    (
        *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"),
        *("package", "namespace", "return", "var", "void", "while"),
    )
)
_LOOPS: Final = {"all": (2,), "exists": (2,), "exists_one": (2,), "existsOne": (2,), "filter": (2,), "map": (2, 3)}
_NOT_FIELDS: Final = frozenset(("true", "false", "null", "in"))
_ENDS: Final = "it ends where more is needed"


class NestedTooDeep(Exception):
    """The expression has more than `NESTED` levels."""


def parse(text: str) -> Node:
    """Raises `NotAnExpression` and `NestedTooDeep`."""
    return _Parser(text).parsed()


class _Parser:
    """Recursive descent, by precedence; chains of one sign take no level."""

    def __init__(self, text: str) -> None:
        self._tokens = list(tokens(text))
        self._next = 0
        self._depth = 0

    def parsed(self) -> Node:
        node = self._expression()
        if self._token.kind != "end":
            raise self._unexpected()
        return node

    # -- tokens -----------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _taken(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _take(self, sign: str) -> bool:
        """Take the next token when it is this sign; whether it is."""
        if self._token.kind != "sign" or self._token.text != sign:
            return False
        self._next += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unexpected()

    def _unexpected(self) -> NotAnExpression:
        token = self._token
        return NotAnExpression(_ENDS if token.kind == "end" else f"unexpected {token.text}", token.place)

    # -- expressions ------------------------------------------------------------------------------------------------

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > NESTED:
            raise NestedTooDeep
        node = self._operation(0)
        if self._take("?"):
            then = self._operation(0)
            self._need(":")
            node = Choice(node, then, self._expression())
        self._depth -= 1
        return node

    def _operation(self, level: int) -> Node:
        """An operand and the signs that bind at least as ``level``, with their operands."""
        node = self._unary()
        while (found := self._sign_level()) >= level:
            node = self._logical(node, found) if found <= 1 else self._chain(node, found)
        return node

    def _sign_level(self) -> int:
        """The precedence of the next token; -1 when it is no sign of an operation."""
        token = self._token
        return _PRECEDENCE.get(token.text, -1) if token.kind in ("sign", "name") else -1

    def _logical(self, first: Node, level: int) -> Node:
        operands = [first]
        while self._sign_level() == level:
            self._next += 1
            operands.append(self._operation(level + 1))
        return Logical(level == 1, tuple(operands))

    def _chain(self, first: Node, level: int) -> Node:
        rest = []
        while self._sign_level() == level:
            sign = self._taken().text
            rest.append((sign, self._operation(level + 1)))
        return Chain(first, tuple(rest))

    def _unary(self) -> Node:
        """Two signs are none, as other implementations have it."""
        if self._token.text == "!":
            odd = self._odd("!")
            node = self._number() or self._members(self._primary())
            return Unary("!", node) if odd else node
        if number := self._number():
            return number
        odd = self._odd("-")
        node = self._members(self._primary())
        return Unary("-", node) if odd else node

    def _odd(self, sign: str) -> bool:
        """Take this sign as often as it is there; whether that is an odd number."""
        odd = False
        while self._take(sign):
            odd = not odd
        return odd

    def _number(self) -> Node | None:
        """A number with a minus before it; only so can the smallest one be written."""
        sign = self._token
        if (sign.kind, sign.text) != ("sign", "-"):
            return None
        value = self._tokens[self._next + 1].value
        if type(value) not in (int, float):
            return None
        text = f"-{self._tokens[self._next + 1].text}" if type(value) is float else ""
        self._next += 2
        return self._members(Literal(-value, text))

    def _members(self, node: Node) -> Node:
        """``.field``, ``.function()`` and ``[key]`` after a value."""
        links = 0
        while True:
            if self._take("["):
                node = Index(node, self._expression())
                self._need("]")
            elif self._take("."):
                if self._token.kind != "name" or self._token.text in _NOT_FIELDS:
                    raise self._unexpected()
                name = self._taken().text
                if not self._take("("):
                    node = _selected(node, name)
                    continue
                node = self._called(name, node)
            else:
                return node
            links += 1
            if self._depth + links > NESTED:
                raise NestedTooDeep

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "literal":
            if type(token.value) is int and token.value > LARGEST_INT:
                raise NotAnExpression(f"the number {token.text} is too large", token.place)
            return Literal(self._taken().value, token.text if type(token.value) is float else "")
        if token.kind == "name":
            return self._named()
        if self._take("("):
            node = self._expression()
            self._need(")")
            return node
        if self._take("["):
            return ListOf(self._until("]"))
        if self._take("{"):
            return self._map()
        raise self._unexpected()

    def _named(self) -> Node:
        token = self._token
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[self._taken().text])
        if token.text in _RESERVED:
            raise self._unexpected()
        self._next += 1
        return self._called(token.text, None) if self._take("(") else Name(token.text)

    def _until(self, closing: str) -> tuple[Node, ...]:
        """Expressions up to a sign; of a list, the last may be followed by a comma."""
        found: list[Node] = []
        while not self._take(closing):
            if found:
                self._need(",")
                if closing == "]" and self._take(closing):
                    break
            found.append(self._expression())
        return tuple(found)

    def _map(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._take("}"):
            if entries:
                self._need(",")
                if self._take("}"):
                    break
            key = self._expression()
            self._need(":")
            entries.append((key, self._expression()))
        return MapOf(tuple(entries))

    def _called(self, name: str, target: Node | None) -> Node:
        place = self._token.place
        arguments = self._until(")")
        if name == "has" and target is None and len(arguments) == 1:
            (asked,) = arguments
            if not isinstance(asked, Select):
                raise NotAnExpression("has() asks for a field, such as has(data.total)", place)
            return Select(asked.operand, asked.fields, test=True)
        if target is not None and len(arguments) in _LOOPS.get(name, ()):
            variable, *body = arguments
            if not isinstance(variable, Name):
                raise NotAnExpression(f"the first argument of {name}() is no name", place)
            return Loop(name, target, variable.name, tuple(body))
        return Call(name, target, arguments)


def _selected(node: Node, field: str) -> Node:
    if isinstance(node, Select) and not node.test:
        return Select(node.operand, (*node.fields, field))
    return Select(node, (field,))
