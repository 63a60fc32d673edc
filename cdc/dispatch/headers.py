"""Headers that are sent beside those that every delivery has."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cdc.model.endpoint import Header
from cdc.model.errors import UsageError

#: The most headers of an endpoint, and the most characters of them all.
_MOST_HEADERS, _LONGEST_HEADERS = 50, 8000

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")
#: What a delivery says itself, and what belongs to the connection.
_TAKEN = frozenset(
    {
        *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"),
        *("connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-authorization", "proxy-connection"),
    }
)
_TAKEN_PREFIXES = ("webhook-", "x-webhook-")


def check_headers(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The headers themselves, each name once: of several the last.  Raises `UsageError`, which names no value."""
    kept = {name.lower(): (name, value) for name, value in map(_checked, headers)}
    if len(kept) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in kept.values()) > _LONGEST_HEADERS:
        most = f"At most {_MOST_HEADERS}, and {_LONGEST_HEADERS} characters in all."
        raise UsageError("The endpoint has too many headers.", most)
    return tuple(kept.values())


def _checked(header: Header) -> Header:
    name, value = header
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a header.", "Write Name: value, such as X-Tenant: 42.")
    if name.lower() in _TAKEN or name.lower().startswith(_TAKEN_PREFIXES):
        raise UsageError(f"The header {name} is set by every delivery itself.", "Choose another name.")
    if not _VALUE.fullmatch(value):
        raise UsageError(
            f"The value of the header {name} is empty, begins or ends with a space, or has a line break or characters "
            "beyond ASCII.",
            "Only printable ASCII goes into a header; encode the rest.",
        )
    return header
