"""A receiver of webhooks that verifies signatures: for ``cdc listen``, the demo and tests, and to copy from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from cdc.dispatch.signing import Verification, verify
from cdc.model.clock import Clock, SystemClock

_LARGEST_BODY = 64 * 1024 * 1024  # a document with very many lines is one event


@dataclass(frozen=True, slots=True)
class Received:
    """``event``: the body, parsed; empty when it is no JSON object.  ``reason``: why it is not verified, one sentence.
    ``received_at``: aware UTC, taken before the body was read.  ``answered``: the status sent back.  ``batch``: the
    events of a body that is an array."""

    event: Mapping[str, Any]
    headers: Mapping[str, str]
    received_at: datetime
    verified: bool
    reason: str
    body: bytes
    answered: int
    batch: tuple[Mapping[str, Any], ...] = ()


Callback = Callable[[Received], Awaitable[None]]
#: Returns the secret of the endpoint with this URL, if there is one.
Secret = Callable[[URL], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """Answer ``status`` to the first ``count`` verified requests, with these headers: to see retries.

    ``events``: only to requests with one of these event names (empty: with any)."""

    count: int = 0
    status: int = 503
    headers: Mapping[str, str] | None = None
    events: tuple[str, ...] = ()

    def concern(self, events: Iterable[Mapping[str, Any]]) -> bool:
        return not self.events or any(event.get("event") in self.events for event in events)


def receiver_app(
    secret: str | Secret | None, callback: Callback, refusals: Refusals | None = None, clock: Clock | None = None
) -> web.Application:
    """An application that takes POSTs on any path, verifies both signatures, calls back, and answers 204 (401 when a
    signature is wrong).  ``secret``: to verify with, or what returns it for each request.  Without one nothing can be
    verified, and everything is taken."""
    refusals = refusals or Refusals()
    clock = clock or SystemClock()
    left = refusals.count

    async def receive(request: web.Request) -> web.Response:
        nonlocal left
        received_at = clock.now()
        body = await request.read()
        known = await secret(request.url) if callable(secret) else secret
        if known is None:
            verification = Verification(False, "No secret was given to verify with.")
        else:
            verification = verify(known, request.headers, body, received_at)
        event, batch = _parse(body)
        accepted = verification.verified or known is None
        refused = accepted and left > 0 and refusals.concern((event, *batch))
        left -= refused
        status = refusals.status if refused else 204 if accepted else 401
        await callback(
            Received(
                event, request.headers, received_at, verification.verified, verification.reason, body, status, batch
            )
        )
        return web.Response(status=status, headers=refusals.headers if refused else None)

    app = web.Application(client_max_size=_LARGEST_BODY)
    app.router.add_post("/{path:.*}", receive)
    return app


def _parse(body: bytes) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """The event that the body is, and those of the batch that it is: one of them is empty."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}, ()
    if isinstance(parsed, list):
        return {}, tuple(each for each in parsed if isinstance(each, dict))
    return parsed if isinstance(parsed, dict) else {}, ()
