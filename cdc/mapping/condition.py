"""What a rule can ask of one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdc.mapping.html import decode
from cdc.model.change import Value

_FORMS = (
    "a value, a list of values, { not = value }, { at_least = number }, { less_than = number }, "
    "or { set = true } / { set = false } (null or empty)"
)


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """``values``: any of them; ``negated``: none of them.  ``present`` (when not None) asks for set / not set.

    ``at_least`` and ``less_than`` (when not None) hold of numbers only.
    """

    values: tuple[Value, ...] = ()
    negated: bool = False
    present: bool | None = None
    at_least: float | None = None
    less_than: float | None = None

    def holds(self, value: Value) -> bool:
        if self.present is not None:
            return (value is not None and value != "") is self.present
        if self.at_least is not None or self.less_than is not None:
            return self._in_range(value)
        return (decode(value) in self.values) is not self.negated

    def _in_range(self, value: Value) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.less_than is None or value < self.less_than)

    def example(self) -> Value:
        """A value that satisfies the condition (for example payloads)."""
        if self.present is not None:
            return "2026-11-24" if self.present else None
        if self.at_least is not None:
            return self.at_least
        if self.less_than is not None:
            return self.less_than - 1
        first = self.values[0]
        if not self.negated:
            return first
        return (not first) if isinstance(first, bool) else None


def parse_condition(raw: Any) -> ValueCondition:
    """From what TOML holds.  Raises ValueError."""
    if isinstance(raw, dict):
        return _parse_table(raw)
    values = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, bool | int | float | str) for value in values):
        raise ValueError(f"a condition is {_FORMS}")
    return ValueCondition(values=tuple(values))


def _parse_table(raw: dict[str, Any]) -> ValueCondition:
    if list(raw) == ["set"] and isinstance(raw["set"], bool):
        return ValueCondition(present=raw["set"])
    if list(raw) == ["not"] and not isinstance(raw["not"], dict):
        return ValueCondition(values=parse_condition(raw["not"]).values, negated=True)
    if raw and raw.keys() <= {"at_least", "less_than"} and all(_is_number(bound) for bound in raw.values()):
        return ValueCondition(at_least=raw.get("at_least"), less_than=raw.get("less_than"))
    raise ValueError(f"a condition is {_FORMS}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
