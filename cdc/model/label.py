"""Columns by which people know a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc.model.delivery import searched


@dataclass(frozen=True, slots=True)
class Label:
    """The columns by which people know a record: its code, whose it is, its amount of money; empty: there is none."""

    code: str = ""
    name: str = ""
    total: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.code, self.name, self.total)))

    def searched(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Code and name as searches compare them."""
        return _searched(data.get(self.code)), _searched(data.get(self.name))


def _searched(value: object) -> str:
    return searched(value) if isinstance(value, str) else ""


#: Source and event → the columns of the event's record.
Labels = Callable[[str, str], Label]


def no_labels(_source: str, _event: str) -> Label:
    return Label()
