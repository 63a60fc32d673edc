"""Endpoints that are e-mail addresses: ``mailto:ops@example.com,other@example.com``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from cdc.model.errors import UsageError

SCHEME: Final = "mailto:"
MOST_RECIPIENTS: Final = 20
_LONGEST = 254  # characters, as of SMTP
# Neither what a header gives a meaning to (comma, angle brackets, quotes, spaces, line breaks) nor what a URL does.
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$&'*+=^_`{|}~-]+(\.[A-Za-z0-9!#$&'*+=^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_HINT: Final = "Write mailto:ops@example.com or mailto:ops@example.com,other@example.com."


@lru_cache(maxsize=1024)  # asked for each request
def is_mail(url: str) -> bool:
    """Return whether what goes there is mail."""
    return url[: len(SCHEME)].lower() == SCHEME


def is_address(text: str) -> bool:
    return len(text) <= _LONGEST and _ADDRESS.fullmatch(text) is not None


def recipients(url: str) -> tuple[str, ...]:
    """The addresses of a ``mailto:`` URL.  Raises `UsageError`."""
    addresses = tuple(url[len(SCHEME) :].split(","))
    for address in addresses:
        if not is_address(address):
            raise UsageError(f"{address!r} is not an e-mail address to send to.", _HINT)
    if len(addresses) > MOST_RECIPIENTS:
        raise UsageError(
            f"{len(addresses)} addresses are too many for one endpoint.", f"It has up to {MOST_RECIPIENTS} of them."
        )
    return addresses
