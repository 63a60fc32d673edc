"""Random filters: of the kinds that people write, mistyped ones, and attacks on time and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

_NUMBERS: Final = ("0", "1", "-1", "2", "7", "1.5", "0.0", "-2.25", "1e3", "3u", "9223372036854775807", "0x1F")
_TEXTS: Final = (
    '""',
    '"A"',
    "'Peña'",
    '"2026-11-24"',
    '"12"',
    '"-1.5"',
    'r"a\\d"',
    '"""x"y"""',
    '"1h30m"',
    "'\\u00f1'",
)
_TIMES: Final = (
    "timestamp(timestamp)",
    'timestamp("2026-11-24T21:48:00Z")',
    'timestamp("2026-01-31T23:59:59.5+02:00")',
    'duration("90s")',
    'duration("-1h2m3.5s")',
    'duration("1500ms")',
)
_FIELDS: Final = ("total", "text", "nothing", "paid", "lines", "numbers", "missing", "unsigned", "nested", "long")
_LOOPS: Final = ("all", "exists", "exists_one", "map", "filter")
_PARTS: Final = ("getFullYear", "getMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes", "getMilliseconds")
_CONVERSIONS: Final = ("string", "int", "uint", "double", "bytes", "size", "timestamp", "duration", "dyn", "type")
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")
_PATTERNS: Final = ('"^[A-Z]-[0-9]+$"', 'r"\\w+\\d"', '"a|ñ"', '"(?i)peña"', '"."')


class Filters:
    """A source of filters; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._bound: list[str] = []

    def any(self, depth: int = 4) -> str:
        """An expression, mostly one that is true or false."""
        return self._condition(depth) if self._random.random() < 0.9 else self._value(depth)

    def attack(self) -> str:
        """An expression that was made to take time or memory."""
        return self._one(_ATTACKS)(self._random)

    def _one(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def _condition(self, depth: int) -> str:
        if depth <= 0:
            return self._one(("true", "false", "data.paid", "has(data.total)", "has(data.missing)", "inferred"))
        kinds: tuple[Callable[[int], str], ...] = (
            *(self._compared, self._compared, self._joined, self._negated),
            *(self._looped, self._searched, self._chosen),
        )
        return self._one(kinds)(depth - 1)

    def _value(self, depth: int) -> str:
        simple: tuple[Callable[[], str], ...] = (
            *(lambda: self._one(_NUMBERS), lambda: self._one(_TEXTS), lambda: self._one(_TIMES), self._field),
            lambda: self._one(("null", "true", "event", "timestamp", "data", "key", 'b"\\xff"', "int", "[]", "{}")),
        )
        if depth <= 0 or self._random.random() < 0.4:
            return self._one(simple)()
        one, other = self._value(depth - 1), self._value(depth - 1)
        return self._one(
            (
                f"({one} {self._one('+-*/%')} {other})",
                f"{self._one(_CONVERSIONS)}({one})",
                f"[{one}, {other}]",
                f'{{"a": {one}, "b": {other}}}',
                f"{self._one(_TIMES)}.{self._one(_PARTS)}()",
                f"{one}.size()",
                f"[{one}, {other}][{self._one(('0', '1', '2', '-1', '0u'))}]",
                f"-{self._field()}",
                self._looped(depth - 1),
                f"({self._condition(depth - 1)} ? {one} : {other})",
            )
        )

    def _field(self) -> str:
        row = self._one(("data", "data", "previous", *self._bound))
        name = self._one(_FIELDS)
        return self._one((f"{row}.{name}", f'{row}["{name}"]', row, f"{row}.{name}"))

    def _compared(self, depth: int) -> str:
        return f"{self._value(depth)} {self._one(_COMPARISONS)} {self._value(depth)}"

    def _joined(self, depth: int) -> str:
        sign = self._one((" && ", " || "))
        return "(" + sign.join(self._condition(depth) for _ in range(self._random.randint(2, 4))) + ")"

    def _negated(self, depth: int) -> str:
        return f"{self._one(('!', '!!'))}({self._condition(depth)})"

    def _chosen(self, depth: int) -> str:
        return f"({self._condition(depth)} ? {self._condition(depth)} : {self._condition(depth)})"

    def _searched(self, depth: int) -> str:
        if self._random.random() < 0.3:
            return f"{self._value(depth)}.matches({self._one(_PATTERNS)})"
        return f"{self._value(depth)}.{self._one(('contains', 'startsWith', 'endsWith'))}({self._value(0)})"

    def _looped(self, depth: int) -> str:
        values = self._one(("data.lines", "data.numbers", "[1, 2, 3]", '["a", 1, null]', "data.nested", self._value(0)))
        name = self._one(("x", "y", "line"))
        self._bound.append(name)
        body = self._condition(depth)
        self._bound.pop()
        return f"{values}.{self._one(_LOOPS)}({name}, {body})"


def _literals(random: Random) -> str:
    return "[" + ",".join("1" for _ in range(random.randint(20, 62))) + "]"


def _nested(random: Random) -> str:
    values = _literals(random)
    kinds = [random.choice(_LOOPS) for _ in range(random.randint(2, 4))]
    text = random.choice(("true", "1 == 1", "[1] == [1]", "size([1, 2]) == 2"))
    for number, kind in enumerate(kinds):
        text = f"{values}.{kind}(v{number}, {text})"
    return text


def _disguised(random: Random) -> str:
    """Loops within each other, with strings and comments that hide parentheses from a search in the text."""
    opening = random.choice(("r'\\'", '"""a"b(("""', "'\\'('", 'r"\\"', "// (\n"))
    opening = f"size({opening}) > 0 && " if not opening.startswith("//") else opening
    return opening + _nested(random)


def _growing(random: Random) -> str:
    """Lists of lists of lists, or texts that double."""
    values = _literals(random)
    if random.random() < 0.5:
        return values + f".map(x, {values})" * random.randint(2, 12) + ".size() == 1"
    return '["a"]' + ".map(x, x + x)" * random.randint(20, 90) + ".size() == 1"


def _doubling(random: Random) -> str:
    """A text of the event, put together with itself again and again."""
    text = "data.long"
    for _ in range(random.randint(3, 7)):
        text = f"({text} + {text})"
    return f"{text}.contains(data.long + 'b')"


def _expressions(random: Random) -> str:
    classes = ("\\pL", "\\w", ".", "[^a]", "[a-z]", "\\PL", "(?i)[à-ž]", "\\p{Greek}", "(a?b?)", "(|a|ñ)", "(a?)?")
    inner = f"{random.choice(classes)}{{{random.choice((3, 20, 200, 1000))}}}"
    pattern = random.choice(
        (
            *(f"({inner}){{20}}", inner, f"[ab]*a{inner}c", f"({inner}|b)*", f"a{inner}b{inner}[^ab]"),
            *(
                f"\\b{inner}",
                f"{inner}\\B[^ab]",
                f"(?-u:\\b){inner}[^ab]",
                f"a{inner}a{{{random.choice((9, 900))}}}[^ab]",
            ),
        )
    )
    text = random.choice(("data.long", "data.text", "'a'", "data.random", "data.foreign"))
    count = random.randint(1, 50)
    asked = f'{text}.matches(r"{pattern}")'
    return random.choice(
        (" || ".join([asked] * count), f"data.lines.exists(x, {asked})", f"{text}.matches(data.pattern)")
    )


def _parentheses(random: Random) -> str:
    signs = random.choice((("(", ")"), ("[", "]"), ("size([", "])"), ("!(", ")"), ("-(", ")")))
    count = random.randint(30, 300)
    return signs[0] * count + "1" + signs[1] * count


def _readings(random: Random) -> str:
    """A long text as a number, a time or a duration."""
    text, kind = random.choice(("data.digits", "data.hours", "data.long")), random.choice(_CONVERSIONS)
    return f"data.lines.exists(x, {kind}({text}) == {kind}({text})) || {kind}({text}) == {kind}({text})"


_ATTACKS: Final[tuple[Callable[[Random], str], ...]] = (
    *(_nested, _disguised, _growing, _doubling, _expressions, _parentheses, _readings),
)
