"""Readers of row images, generated for a table's columns: the hot path of the log.  Pure.

A reader's source text consists of numbers and of words from this module and `cdc.capture.binlog.column_codec`, never
of anything that the log says.  Fixed-width columns that stand together, and the length of the text behind them, are
read by one `Struct`; columns that are NULL cost nothing, since there is a reader for each set of NULL columns that
comes often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from struct import Struct
from typing import Any

from cdc.capture.binlog.column_codec import ColumnCodec
from cdc.model.change import Value
from cdc.model.errors import MalformedEvent

#: A row's values in normal form, in the order of the layout's names.
Image = tuple[Value, ...]
#: (event's body, where the values begin) → the image, and where it ends.
Read = Callable[[bytes, int], tuple[Image, int]]
#: The same for any set of NULL columns, given as a number with a bit for each.
ReadAny = Callable[[bytes, int, int], tuple[Image, int]]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an image. ``wanted``: its value is part of what a reader gives; otherwise it is skipped."""

    form: ColumnCodec
    nullable: bool
    wanted: bool


@cache
def _unpack_from(codes: str) -> Any:
    return Struct(codes).unpack_from


@dataclass(slots=True)
class _Text:
    """The source text of a reader as it grows, and what its names mean."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def take(self, codes: Sequence[str], targets: Sequence[str]) -> None:
        self.codes += codes
        self.targets += targets

    def unpack(self, indent: str) -> int:
        """Write the statement that reads what was taken since the last one; its bytes."""
        codes, targets = self.codes, self.targets
        self.codes, self.targets = [], []
        if not codes:
            return 0
        if codes == ["B"]:
            self.lines.append(f"{indent}{targets[0]} = b[p]")
            return 1
        name = f"s{len(self.names)}"
        self.names[name] = _unpack_from("<" + "".join(codes))
        self.lines.append(f"{indent}{', '.join(targets)}, = {name}(b, p)")
        return Struct("<" + "".join(codes)).size

    def read_bytes(self, length: str, indent: str) -> str:
        """Read up to a length and step over its bytes; their expression."""
        size = self.unpack(indent)
        self.lines.append(f"{indent}q = p + {size}")
        self.lines.append(f"{indent}p = q + {length}")
        return "b[q:p]"

    def step(self, indent: str) -> None:
        size = self.unpack(indent)
        if size:
            self.lines.append(f"{indent}p += {size}")

    def value(self, number: int, form: ColumnCodec, indent: str) -> str:
        """Take the codes of the column, and its bytes if it has some behind; the expression of its value."""
        targets = [f"a{number}_{part}" for part in range(len(form.codes))]
        self.take(form.codes, targets)
        sources = [self.read_bytes(form.length.format(*targets), indent)] if form.length else targets
        helper = f"h{number}"
        if form.helper is not None:
            self.names[helper] = form.helper
        expression = form.expression.format(*sources, h=helper)
        if not form.length:
            return expression
        self.lines.append(f"{indent}v{number} = {expression}")
        return f"v{number}"

    def compiled(self, parameters: str, values: Sequence[str]) -> Any:
        size = self.unpack("    ")
        end = f"p + {size}" if size else "p"
        body = "\n".join([*self.lines, f"    return ({''.join(value + ', ' for value in values)}), {end}"])
        space = dict(self.names)
        exec(compile(f"def read({parameters}):\n{body}\n", "<row reader>", "exec"), space)  # noqa: S102 - the text consists of constants of this package and numbers; names and values of a database come as arguments only
        return space["read"]


def reader(fields: Sequence[Field], nulls: int) -> Read:
    """Return the reader of an image whose columns with their bit in ``nulls`` are NULL."""
    text = _Text()
    values = []
    for number, column in enumerate(fields):
        value = "None" if nulls >> number & 1 else text.value(number, column.form, "    ")
        if column.wanted:
            values.append(value)
    read: Read = text.compiled("b, p", values)
    return read


def any_reader(fields: Sequence[Field]) -> ReadAny:
    """Return a reader for any set of NULL columns."""
    text = _Text()
    values = []
    for number, column in enumerate(fields):
        if column.nullable:
            value = f"v{number}"
            text.step("    ")
            text.lines += [f"    if n & {1 << number}:", f"        {value} = None", "    else:"]
            expression = text.value(number, column.form, "        ")
            text.step("        ")
            if expression != value:
                text.lines.append(f"        {value} = {expression}")
        else:
            value = text.value(number, column.form, "    ")
        if column.wanted:
            values.append(value)
    read: ReadAny = text.compiled("b, p, n", values)
    return read


class Readers(dict[bytes, Read]):
    """NULL bitmap → reader.  A bitmap that comes often gets a reader of its own; the others share one, which is about
    half as fast, but making readers costs as much as reading hundreds of rows."""

    __slots__ = ("_any", "_fields", "_never", "_seen", "width")
    OFTEN = 16
    #: Bitmaps with readers of their own, and bitmaps that are counted.
    MOST = 256
    MOST_COUNTED = 4096

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        self._fields = fields
        self._any: ReadAny | None = None
        self._seen: dict[bytes, int] = {}
        self._never = sum(1 << number for number, column in enumerate(fields) if not column.nullable)
        self.width = (len(fields) + 7) // 8

    def __missing__(self, bitmap: bytes) -> Read:
        if len(bitmap) != self.width:
            raise MalformedEvent("A row in the log ends before its values do.")
        nulls = int.from_bytes(bitmap, "little")
        if nulls & self._never:
            raise MalformedEvent("A row in the log has no value in a column that is NOT NULL.")
        seen = self._seen[bitmap] = self._seen.get(bitmap, 0) + 1
        if seen < self.OFTEN or len(self) >= self.MOST:
            if len(self._seen) > self.MOST_COUNTED:
                self._seen.clear()
            if self._any is None:
                self._any = any_reader(self._fields)
            return partial(self._read_any, nulls)
        self[bitmap] = read = reader(self._fields, nulls)
        return read

    def _read_any(self, nulls: int, body: bytes, position: int) -> tuple[Image, int]:
        assert self._any is not None
        return self._any(body, position, nulls)
