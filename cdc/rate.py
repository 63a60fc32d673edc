"""Rates that somebody may ask for: requests, deliveries or rows a second, 0 for any."""

from __future__ import annotations

from typing import Final

from cdc.errors import UsageError

#: Once in a quarter of an hour.  What is rarer is asked for by mistake, and its pauses are no times any more.
SLOWEST: Final = 0.001
FASTEST: Final = 100_000.0


def check_rate(rate: float, what: str) -> None:
    """Raise `UsageError` for one that is neither 0 nor between the slowest and the fastest."""
    if rate != 0 and not SLOWEST <= rate <= FASTEST:  # nan compares with nothing
        raise UsageError(
            f"A rate of {rate:g} {what} a second is not possible.",
            f"Between {SLOWEST:g} and {FASTEST:g}; 0 is for any rate.",
        )


def usable_rate(rate: float) -> float:
    """Return a rate that an older version may have stored, as a pause can be made of."""
    return min(max(rate, SLOWEST), FASTEST) if rate else 0.0
