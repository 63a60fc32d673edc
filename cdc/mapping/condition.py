"""What a rule can ask of one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdc.change import Value
from cdc.mapping.html import decode

_FORMS = "a value, a list of values, { not = value }, or { set = true } / { set = false } (null or empty)"


@dataclass(frozen=True, slots=True)
class Condition:
    """``values``: any of them; ``negated``: none of them.  ``present`` (when not None) asks for set / not set."""

    values: tuple[Value, ...] = ()
    negated: bool = False
    present: bool | None = None

    def holds(self, value: Value) -> bool:
        if self.present is not None:
            return (value is not None and value != "") is self.present
        return (decode(value) in self.values) is not self.negated

    def example(self) -> Value:
        """A value that satisfies the condition (for example payloads)."""
        if self.present is not None:
            return "2026-11-24" if self.present else None
        first = self.values[0]
        if not self.negated:
            return first
        return (not first) if isinstance(first, bool) else None


def parse_condition(raw: Any) -> Condition:
    """From what TOML holds.  Raises ValueError."""
    if isinstance(raw, Condition):
        return raw
    if isinstance(raw, dict):
        return _parse_table(raw)
    values = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, bool | int | float | str) for value in values):
        raise ValueError(f"a condition is {_FORMS}")
    return Condition(values=tuple(values))


def _parse_table(raw: dict[str, Any]) -> Condition:
    match raw:
        case {"set": bool(present), **rest} if not rest:
            return Condition(present=present)
        case {"not": value, **rest} if not rest and not isinstance(value, dict):
            return Condition(values=parse_condition(value).values, negated=True)
    raise ValueError(f"a condition is {_FORMS}")
