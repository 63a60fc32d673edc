"""Requests to FacturaScripts' API v3: within the budget, admitted by the guard, their errors as sentences."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from yarl import URL

from cdc.capture.rest.guard import BanGuard
from cdc.model.clock import Clock
from cdc.model.errors import ApiError, SourceError, SourceUnavailable


class Budget:
    """A budget of requests: ``per_minute`` at most begin within any minute, a sixth at once, the others evenly."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._burst = max(per_minute // 6, 1)
        self._rate = (per_minute - self._burst) / 61  # a second: a minute is a little longer on other clocks
        self._tokens = float(self._burst)
        self._counted_at = self._held_until = clock.monotonic()

    @property
    def held(self) -> float:
        """Seconds for which no request may begin because the server asked for it."""
        return max(self._held_until - self._clock.monotonic(), 0.0)

    async def take(self) -> None:
        """Wait until a request may begin."""
        while (seconds := max(self._missing() / self._rate, self.held)) > 0:
            await self._clock.wait(asyncio.Event(), max(seconds, 0.001))
        self._tokens -= 1

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long: the server asks for it."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)

    def _missing(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self._rate, self._burst)
        self._counted_at = now
        return 1 - self._tokens if self._tokens < 1 - 1e-9 else 0.0


Query = Sequence[tuple[str, str]]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10)
#: Bytes of an answer beyond which it is given up: whatever it is, it is no page of rows.
_LONGEST: Final = 64 << 20
#: The header that says how many rows the filters let through.
_TOTAL: Final = "X-Total-Count"
ALLOW: Final = "Allow it to read the resource: FacturaScripts, Control panel, API keys."


class ResourceAnswer(NamedTuple):
    """``content``: its JSON.  ``total``: how many rows the filters let through; None where the API does not say."""

    content: Any
    total: int | None


class _Raw(NamedTuple):
    status: int
    body: bytes
    total: int | None
    banned: bool


class ApiClient:
    """``url``: where FacturaScripts is, without ``/api/3``.  ``patience``: seconds to wait at most where the
    server asks for it; `ask` raises otherwise."""

    def __init__(self, url: str, token: str, budget: Budget, guard: BanGuard, *, patience: float = math.inf) -> None:
        self._url = URL(url.rstrip("/").removesuffix("/api/3"))
        self._headers = {"Token": token, "X-Auth-Token": token, "Accept": "application/json"}
        self._budget = budget
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None
        self.guard = guard

    @property
    def address(self) -> str:
        """Return the address of FacturaScripts."""
        return str(self._url).rstrip("/")

    @property
    def place(self) -> str:
        return place_of(str(self._url))

    async def get(self, resource: str = "", query: Query = (), *, below: str = "") -> Any:
        """Return the content of `ask`."""
        return (await self.ask(resource, query, below=below)).content

    async def ask(self, resource: str = "", query: Query = (), *, below: str = "") -> ResourceAnswer:
        """Return the answer.  ``resource`` empty: the list of resources; ``below``: a part of it, such as ``schema``.

        Raises `Withheld` for a request that is not made, or during a ban, `SourceUnavailable` without an answer,
        `ApiError` for one that is an error, `SourceError` for one that is not JSON."""
        if (pause := self._budget.held) > self._patience:
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"The API at {self.place} asks not to be asked for {pause:.0f} s.",
                "Try again then.",
            )
        await self._budget.take()
        raw = await self._guarded(resource, query, below)
        if raw.status != HTTPStatus.OK:
            raise self._error(raw.status, resource)
        try:
            return ResourceAnswer(orjson.loads(raw.body), raw.total)
        except orjson.JSONDecodeError:
            raise SourceError(
                f"{self._what(resource)} answers something that is not JSON.",
                "Check the url: it is FacturaScripts' own, without /api/3.",
            ) from None

    async def _guarded(self, resource: str, query: Query, below: str) -> _Raw:
        permit = await self.guard.enter(resource)
        try:
            raw = await self._request(resource, query, below)
        except SourceError:
            await self.guard.leave(permit, resource, None)
            raise
        await self.guard.leave(permit, resource, raw.status, banned=raw.banned)
        if raw.banned:
            raise await self.guard.ban()
        return raw

    async def _request(self, resource: str, query: Query, below: str) -> _Raw:
        url = self._url / "api/3" / resource / below if below else self._url / "api/3" / resource
        try:
            async with self._open_session().get(url.with_query(query), allow_redirects=False) as answer:
                pause = _pause(answer)
                if pause:
                    self._budget.hold(pause)
                total = answer.headers.get(_TOTAL, "")
                banned = answer.status == HTTPStatus.TOO_MANY_REQUESTS and pause is None
                body = await self._body(answer)
                return _Raw(answer.status, body, int(total) if total.isdecimal() else None, banned)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise SourceUnavailable(f"The API at {self.place} does not answer ({why}).") from error

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in answer.content.iter_chunked(1 << 16):
            body += part
            if len(body) > _LONGEST:
                raise SourceError(f"The API at {self.place} answers more than {_LONGEST >> 20} MB.", "Lower page_size.")
        return bytes(body)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _what(self, resource: str) -> str:
        return f"The API at {self.place}" + (f", asked for {resource}," if resource else "")

    def _error(self, status: int, resource: str) -> ApiError:
        match status:
            case HTTPStatus.UNAUTHORIZED:
                message, hint = "does not accept the token", "Create an enabled key in Control panel, API keys."
            case HTTPStatus.FORBIDDEN:
                message, hint = "does not give it to this token", ALLOW
            case HTTPStatus.NOT_FOUND:
                message, hint = "has no such resource", "Check the name, and whether its plugin is enabled."
            case HTTPStatus.CONFLICT:
                message, hint = "is switched off", "Control panel, Default settings: enable the API (enable_api)."
            case HTTPStatus.TOO_MANY_REQUESTS:
                message, hint = (
                    "accepts no requests now (429)",
                    "It bans an address for at most ten minutes after five refused calls.",
                )
            case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                message, hint = f"redirects ({status})", "Write the address that it redirects to as the url."
            case _:
                message, hint = f"answers with an error ({status})", "FacturaScripts' own log says more."
        return ApiError(status, f"{self._what(resource)} {message}.", hint)


def _pause(answer: aiohttp.ClientResponse) -> float | None:
    """Seconds that the server asks to wait; None when it does not say: FacturaScripts bans without saying for how
    long."""
    if answer.status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return 0.0
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), 3600.0) if asked.isdecimal() else None


def place_of(url: str) -> str:
    """Return the address for people; without what may be secret in it."""
    plain = URL(url.rstrip("/").removesuffix("/api/3"))
    return str(plain.with_user(None).with_query(None).with_fragment(None))
