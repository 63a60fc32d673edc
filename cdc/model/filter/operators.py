"""The operators of the language, as functions of an evaluation's variables."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from cdc.model.filter.functions import Function, Method
from cdc.model.filter.functions import replaced as replaced_text
from cdc.model.filter.parser import Index, Literal, Name, Node, Select
from cdc.model.filter.regex import computed
from cdc.model.filter.values import (
    ERRORS,
    METER,
    NUMBERS,
    OPERATIONS,
    Env,
    Meter,
    Run,
    contained,
    element,
    equal,
    field,
    is_key,
    mistyped,
    negated,
    ordered,
)
from cdc.model.normal import decimal_of

#: Steps of an error.
_RAISING: Final = 20
Operation = Callable[[Any, Any, Meter], Any]


def _ordering(order: Callable[[Any, Any], bool]) -> Operation:
    def compare(one: Any, other: Any, meter: Meter) -> bool:
        if type(one) not in NUMBERS or type(other) not in NUMBERS:
            return order(*ordered(one, other, meter))
        holds = order(one, other)
        if not holds and (math.isnan(one) or math.isnan(other)):
            raise mistyped()  # not a number is neither less nor more
        return holds

    return compare


def _unequal(one: Any, other: Any, meter: Meter) -> bool:
    return not equal(one, other, meter)


_OPERATIONS: Final[dict[str, Operation]] = {
    **OPERATIONS,
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
    "==": equal,
    "!=": _unequal,
    "in": contained,
}


_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
#: As databases print a decimal: neither ``007`` nor ``+1`` nor ``1e3``.
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
#: Characters of the longest one: as many as a column of PostgreSQL can be declared for, and a few more.
_LONGEST_DECIMAL: Final = 1100
#: Steps to read one.
_DECIMAL_STEPS: Final = 15


def operation(sign: str, left: Node | None, right: Node) -> Operation:
    """Return the operation for these operands; ``left``: None for a result.

    A field of an event is compared by number with a number, or with another field, where it is the text of a decimal:
    the column's type is not known here.  Texts that the expression itself has are texts."""
    fields = [isinstance(node, Select | Index | Name) for node in (left, right)]
    texts = any(isinstance(node, Literal) and isinstance(node.value, str) for node in (left, right))
    if sign == "in" and fields[0]:
        return _contained_by_number
    if sign not in _COMPARED or texts or not any(fields):
        return _OPERATIONS[sign]
    return _by_number(sign, _reader(left), _reader(right))


def _by_number(sign: str, left: Callable[[Any], Decimal | None], right: Callable[[Any], Decimal | None]) -> Operation:
    plain, compare = _OPERATIONS[sign], _COMPARED[sign]

    def compared(one: Any, other: Any, meter: Meter) -> Any:
        if type(one) is not str and type(other) is not str:
            return plain(one, other, meter)
        meter.spend(_DECIMAL_STEPS)
        number = left(one)
        against = None if number is None else right(other)
        return plain(one, other, meter) if against is None else compare(number, against)

    return compared


def _reader(node: Node | None) -> Callable[[Any], Decimal | None]:
    """Return the function from an operand's value to its number."""
    if isinstance(node, Literal) and node.text and math.isfinite(node.value):
        exact = Decimal(node.text)
        return lambda _: exact
    if isinstance(node, Select | Index | Name):
        return lambda value: _written(value) if type(value) is str else decimal_of(value)
    return lambda value: decimal_of(value) if type(value) in NUMBERS else None


def _written(text: str) -> Decimal | None:
    return Decimal(text) if len(text) <= _LONGEST_DECIMAL and _DECIMAL.fullmatch(text) else None


def _contained_by_number(value: Any, values: Any, meter: Meter) -> bool:
    if contained(value, values, meter):
        return True
    number = _written(value) if type(value) is str and type(values) is list else None
    if number is None:
        return False
    meter.spend(_DECIMAL_STEPS * (1 + len(values)))
    return any(number == decimal_of(each) for each in values if type(each) in NUMBERS)


def chain(first: Run, steps: Sequence[tuple[Operation, Run]]) -> Run:
    """``first sign second sign third``, from left to right."""
    if len(steps) == 1:
        ((apply, second),) = steps
        return lambda env: apply(first(env), second(env), env[METER])

    def run(env: Env) -> Any:
        value, meter = first(env), env[METER]
        for apply, operand in steps:
            value = apply(value, operand(env), meter)
        return value

    return run


def logical(operands: Sequence[Run], *, every: bool) -> Run:
    """``&&`` (``every``) or ``||``: an operand that decides absorbs the errors of the others."""
    decides = not every

    def run(env: Env) -> bool:
        error: Exception | None = None
        mixed = False
        for operand in operands:
            try:
                value: object = operand(env)
            except ERRORS as failed:
                env[METER].spend(_RAISING)
                error = failed  # the last one counts, as in other implementations
                continue
            if value is decides:
                return decides
            mixed = mixed or value is not every
        if error is not None:
            raise error
        if mixed:
            raise mistyped()
        return every

    return run


def choice(condition: Run, then: Run, otherwise: Run) -> Run:
    return lambda env: then(env) if true_or_false(condition(env)) else otherwise(env)


def true_or_false(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise mistyped()


def unary(sign: str, operand: Run) -> Run:
    if sign == "!":
        return lambda env: not true_or_false(operand(env))
    return lambda env: negated(operand(env))


def select(operand: Run, fields: Sequence[str], *, test: bool) -> Run:
    if test:
        *path, last = fields

        def has(env: Env) -> bool:
            row = operand(env)
            for name in path:
                row = field(row, name)
            try:
                field(row, last)
            except KeyError:
                return False
            return True

        return has
    if len(fields) == 1:
        (only,) = fields
        return lambda env: field(operand(env), only)

    def selected(env: Env) -> Any:
        row = operand(env)
        for name in fields:
            row = field(row, name)
        return row

    return selected


def index(operand: Run, key: Run) -> Run:
    return lambda env: element(operand(env), key(env))


def applied(function: Function, argument: Run) -> Run:
    return lambda env: function(argument(env), env[METER])


def method(apply: Method, target: Run, argument: Run) -> Run:
    """``target.method(argument)``; the argument is evaluated first, as other implementations do."""

    def run(env: Env) -> Any:
        value = argument(env)
        return apply(target(env), value, env[METER])

    return run


def replaced(target: Run, old: Run, new: Run) -> Run:
    return lambda env: replaced_text(target(env), old(env), new(env), env[METER])


def matched(text: Any, pattern: Any, meter: Meter) -> bool:
    """Return whether a text matches a computed pattern."""
    if type(text) is not str or type(pattern) is not str:
        raise ValueError
    return computed(pattern, meter).found_in(text, meter)


def map_of(entries: Sequence[tuple[Run, Run]]) -> Run:
    def run(env: Env) -> dict[Any, Any]:
        made = {}
        for key, value in entries:
            name = key(env)
            if not is_key(name):
                raise mistyped()
            made[name] = value(env)
        return made

    return run


#: Steps of a round beside its body.
ROUND: Final = 3
#: The values, the variable, the body, the steps of a round.
Loop = Callable[[Run, str, Sequence[Run], int], Run]


def _rounds(values: Run, variable: str, steps: int, env: Env) -> Iterator[Env]:
    """The variables of each round: one dictionary, changed from round to round."""
    found = values(env)
    if type(found) is not list and not isinstance(found, Mapping):
        raise mistyped()
    inner, meter = dict(env), env[METER]
    for value in found:
        meter.spend(steps)
        inner[variable] = value
        yield inner


def _all(values: Run, variable: str, body: Sequence[Run], steps: int) -> Run:
    (holds,) = body
    return lambda env: all(true_or_false(holds(each)) for each in _rounds(values, variable, steps, env))


def _exists(values: Run, variable: str, body: Sequence[Run], steps: int) -> Run:
    (holds,) = body
    return lambda env: any(true_or_false(holds(each)) for each in _rounds(values, variable, steps, env))


def _exists_one(values: Run, variable: str, body: Sequence[Run], steps: int) -> Run:
    (holds,) = body
    return lambda env: sum(true_or_false(holds(each)) for each in _rounds(values, variable, steps, env)) == 1


def _filter(values: Run, variable: str, body: Sequence[Run], steps: int) -> Run:
    (holds,) = body

    def run(env: Env) -> list[Any]:
        rounds = _rounds(values, variable, steps, env)
        return [each[variable] for each in rounds if true_or_false(holds(each))]

    return run


def _map(values: Run, variable: str, body: Sequence[Run], steps: int) -> Run:
    *holds, value = body

    def run(env: Env) -> list[Any]:
        rounds = _rounds(values, variable, steps, env)
        return [value(each) for each in rounds if all(true_or_false(one(each)) for one in holds)]

    return run


LOOP_KINDS: Final[Mapping[str, Loop]] = {
    "all": _all,
    "exists": _exists,
    "exists_one": _exists_one,
    "existsOne": _exists_one,
    "filter": _filter,
    "map": _map,
}
