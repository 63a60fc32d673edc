"""``all``, ``exists``, ``map`` and ``filter``: each round spends as many steps as its body has nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cdc.model.filter.operators import true_or_false
from cdc.model.filter.values import METER, Env, Run, mistyped

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


LOOPS: Final[Mapping[str, Loop]] = {
    "all": _all,
    "exists": _exists,
    "exists_one": _exists_one,
    "existsOne": _exists_one,
    "filter": _filter,
    "map": _map,
}
