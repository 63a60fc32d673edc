"""Rows in which null counts as missing, as in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cdc.model.filter.limits import Meter

#: Steps for each element of a list.
_EACH: Final = 5


class WithoutNulls(Mapping[Any, Any]):
    """A row, and those in it, without what is null; made as far as it is asked for."""

    __slots__ = ("_meter", "_row", "_seen")

    def __init__(self, row: Mapping[Any, Any], meter: Meter) -> None:
        self._row = row
        self._meter = meter
        self._seen: dict[Any, Any] | None = None

    def __getitem__(self, name: Any) -> Any:
        value = self._row[name]
        if value is None:
            raise KeyError(name)
        if type(value) not in (dict, list):
            return value
        if self._seen is None:
            self._seen = {}
        if name not in self._seen:
            self._seen[name] = without_nulls(value, self._meter)
        return self._seen[name]

    def __iter__(self) -> Iterator[Any]:
        return (name for name, value in self._row.items() if value is not None)

    def __len__(self) -> int:
        return sum(value is not None for value in self._row.values())


def without_nulls(value: Any, meter: Meter) -> Any:
    if isinstance(value, Mapping):
        return WithoutNulls(value, meter)
    if type(value) is not list:
        return value
    meter.spend(_EACH * len(value))
    return [WithoutNulls(each, meter) if type(each) is dict else without_nulls(each, meter) for each in value]
