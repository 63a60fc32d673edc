"""The interface of a broker's module: a function ``connect``, and errors with a sentence for the log."""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cdc.model.errors import UsageError


class Message(NamedTuple):
    """An event on its way.  ``place``: the parts of the URL's path, filled in.  ``key``: the record, whose events stay
    in order.  ``headers``: those of a request by HTTP, without what only HTTP needs.  ``replays``: gives how often the
    delivery was completed before."""

    place: tuple[str, ...]
    key: str
    id: str
    headers: Mapping[str, str]
    body: bytes
    replays: Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Target:
    """``address``: of ``host``, looked up and checked.  ``tls``: None for a connection that is not encrypted; its
    certificate is verified for ``host``.  ``place``: as of the URL.  ``seconds``: what one attempt may take.
    ``look_up``: gives the checked address of another host, which the broker names.  ``user`` and ``password``, or
    ``token``: empty for none."""

    host: str
    address: str
    port: int
    tls: ssl.SSLContext | None
    place: tuple[str, ...]
    seconds: float
    look_up: Callable[[str, int], Awaitable[str]]
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


class BrokerConnection(Protocol):
    @property
    def closed(self) -> bool:
        """Return whether it can send no more: another one is needed."""
        ...

    async def publish(self, message: Message) -> str:
        """Return the broker's confirmation that it has stored the message, for the log.

        Raises `BrokerRefused` where the broker does not take this message and the connection may stay; with any other
        error the connection is closed."""
        ...

    async def close(self) -> None:
        """Close at once; what waits for a confirmation fails."""
        ...


class BrokerRefused(Exception):
    """The broker answered that it does not take a message.  ``status``: the nearest one of HTTP.  ``reason``: one
    clause, in the broker's words.  ``elsewhere``: another server of the broker may take the message now.  ``final``:
    as the broker is set up, it never takes this message."""

    def __init__(self, status: int | None, reason: str, *, elsewhere: bool = False, final: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.elsewhere = elsewhere
        self.final = final


def too_large(reason: str) -> BrokerRefused:
    """Return the refusal of a message that has more bytes than the broker takes."""
    return BrokerRefused(413, reason, final=True)


class Credentials(NamedTuple):
    user: str = ""
    password: str = ""
    token: str = ""


def credentials(authorization: str) -> Credentials:
    """Parse the value of a header ``Authorization``; empty: none.  Raises `UsageError`, which does not repeat it."""
    kind, _, value = authorization.partition(" ")
    if not authorization:
        return Credentials()
    if kind.lower() == "bearer":
        return Credentials(token=value)
    try:
        if kind.lower() == "basic":
            user, _, password = b64decode(value, validate=True).decode().partition(":")
            return Credentials(user, password)
    except ValueError:
        pass  # neither base64 nor UTF-8: the sentence below
    raise UsageError("A broker takes user and password, or a token.", "Give them with --basic or --bearer.")
