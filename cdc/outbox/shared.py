"""What every outbox does alike: who wants an event, a record's lane, delivery ids, sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from cdc.errors import UsageError
from cdc.event import Event
from cdc.pattern import matches

_DELIVERY_ID: Final = re.compile(r"dlv_([1-9][0-9]{0,17})")


def wants(patterns: Iterable[str], sources: tuple[str, ...], event: Event) -> bool:
    """Whether an endpoint with these patterns and sources (none: all) gets the event."""
    return (not sources or event.source in sources) and matches(event.name, patterns)


def lane_of(source: str, record: str) -> int:
    """The lane of a record that nothing was merged into: a signed 64-bit number, the same in every process."""
    digest = blake2b(f"{source}\0{record}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def delivery_id(number: int) -> str:
    return f"dlv_{number}"


def delivery_number(text: str) -> int | None:
    """The number behind a delivery's id; None when the text is no such id."""
    match = _DELIVERY_ID.fullmatch(text)
    return int(match[1]) if match else None


def no_delivery(text: str) -> UsageError:
    return UsageError(f"There is no delivery {text}.", "`cdc delivery list` shows the deliveries.")


def no_endpoint(text: str) -> UsageError:
    return UsageError(f"There is no endpoint {text}.", "`cdc endpoint list` shows the endpoints.")


def endpoint_exists(text: str) -> UsageError:
    return UsageError(f"There is, or was, an endpoint {text}.", "Choose another id.")


def event_exists(text: str) -> UsageError:
    return UsageError(f"The event {text} is stored already.", "A test needs an event of its own, with a new id.")


def endpoint_disabled(text: str) -> UsageError:
    return UsageError(f"The endpoint {text} is disabled.", f"cdc endpoint enable {text}")


def record_busy(text: str) -> UsageError:
    return UsageError(f"The endpoint has unfinished deliveries of {text}.", "A test needs a record of its own.")


def not_finished(text: str) -> UsageError:
    return UsageError(
        f"The delivery {text} is not finished.", "It is sent in its turn; only finished ones are retried."
    )


def endpoint_removed(text: str) -> UsageError:
    return UsageError(f"The endpoint of delivery {text} was removed.", "Add the endpoint again and replay the events.")
