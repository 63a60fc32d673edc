"""Limits of configurable rates: requests, deliveries or rows a second; 0 means unlimited."""

from __future__ import annotations

from typing import Final

from cdc.model.errors import UsageError

#: Once in about 17 minutes.  Lower rates are mistakes, and their pauses overflow.
SLOWEST: Final = 0.001
FASTEST: Final = 100_000.0


def check_rate(rate: float) -> None:
    """Raise `UsageError` unless the rate is 0 or between the slowest and the fastest."""
    if rate != 0 and not SLOWEST <= rate <= FASTEST:  # nan compares with nothing
        raise UsageError(
            f"A rate of {rate:g} a second is not possible.",
            f"Between {SLOWEST:g} and {FASTEST:g}; 0 means unlimited.",
        )


def usable_rate(rate: float) -> float:
    """Return a stored rate within the limits: older versions accepted any."""
    return min(max(rate, SLOWEST), FASTEST) if rate else 0.0
