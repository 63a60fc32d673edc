"""An OAuth2 token server and a receiver behind it, on loopback: aiohttp applications that note what they get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import BasicAuth, web

from support.http_servers import served

CLIENT, SECRET = "cdc client", "planted:secret/é"
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Gateway:
    """``token_url``, ``url``: of the token server and of the receiver.  ``asked``: the forms of requests for tokens,
    with the account of Basic as ``basic``.  ``delivered``: heads of what the receiver accepted; ``refused``: how often
    it did not.  ``answer``: what the token server answers in place of a token.  ``arrived``: a token was asked for;
    ``gate``: unset, tokens wait."""

    token_url: str = ""
    url: str = ""
    expires_in: Any = 3600
    asked: list[dict[str, str]] = field(default_factory=list)
    delivered: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    valid: set[str] = field(default_factory=set)
    answer: Answering | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Any = field(default_factory=lambda: count(1))

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if "Authorization" in request.headers:
            form["basic"] = BasicAuth.decode(request.headers["Authorization"]).login
        self.asked.append(form)
        self.arrived.set()
        await self.gate.wait()
        if self.answer is not None:
            return await self.answer(request)
        token = f"token-{next(self.numbers)}"
        self.valid.add(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in})

    async def receive(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid:
            self.refused += 1
            return web.Response(status=401)
        self.delivered.append(dict(request.headers))
        return web.Response(status=204)

    def expire(self) -> None:
        """The receiver accepts no token of before."""
        self.valid.clear()


@asynccontextmanager
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    made.gate.set()
    tokens, receiver = web.Application(), web.Application()
    tokens.router.add_post("/{path:.*}", made.token)
    receiver.router.add_route("*", "/{path:.*}", made.receive)
    async with served(tokens) as made.token_url, served(receiver) as made.url:
        yield made
