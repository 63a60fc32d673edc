"""Requests to FacturaScripts' API v3: within the budget, never near a ban, their errors as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from cdc.clock import Clock
from cdc.errors import ApiError, SourceError, SourceUnavailable
from cdc.source.rest.budget import BAN_SECONDS, BanGuard, Budget

Query = Sequence[tuple[str, str]]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10)
#: Bytes of an answer beyond which it is given up: whatever it is, it is no page of rows.
_LONGEST: Final = 64 << 20
#: Statuses that FacturaScripts gives without counting a bad call.
_UNCOUNTED: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
_ALLOW: Final = "Allow it to read the resource: FacturaScripts, Control panel, API keys."


class ApiClient:
    """``url``: where FacturaScripts is, without ``/api/3``.  ``guard`` may be shared with a former client's."""

    def __init__(self, url: str, token: str, budget: Budget, guard: BanGuard, clock: Clock) -> None:
        self._url = URL(url.rstrip("/").removesuffix("/api/3"))
        self._headers = {"Token": token, "X-Auth-Token": token, "Accept": "application/json"}
        self._budget = budget
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._answered: set[str] = set()
        self.guard = guard

    @property
    def place(self) -> str:
        """For people; without what may be secret in the address."""
        return str(self._url.with_user(None).with_query(None).with_fragment(None))

    def may_ask(self, resource: str) -> bool:
        """Whether the guard lets a request for this resource through now."""
        allowed = resource in self._answered
        return self.guard.free_at(self._clock.now(), allowed_before=allowed) is None

    async def get(self, resource: str = "", query: Query = (), *, below: str = "") -> Any:
        """The answer's JSON.  ``resource`` empty: the list of resources; ``below``: what of it, such as ``schema``.

        Raises `SourceUnavailable` without an answer, `ApiError` for one that is an error, `SourceError` for one that is
        not JSON."""
        free_at = self.guard.free_at(self._clock.now(), allowed_before=resource in self._answered)
        if free_at is not None:
            raise ApiError(
                HTTPStatus.UNAUTHORIZED,
                f"The API at {self.place} refused several calls, and is not asked again before {free_at:%H:%M} UTC.",
                "Five refusals within ten minutes would ban this address. Check token and rights: cdc doctor.",
            )
        await self._budget.take()
        status, body = await self._request(resource, query, below)
        if status != HTTPStatus.OK:
            raise self._error(status, resource)
        self._answered.add(resource)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise SourceError(
                f"{self._what(resource)} answers something that is not JSON.",
                "Check the url: it is FacturaScripts' own, without /api/3.",
            ) from None

    async def _request(self, resource: str, query: Query, below: str) -> tuple[int, bytes]:
        url = self._url / "api/3" / resource / below if below else self._url / "api/3" / resource
        try:
            async with self._open_session().get(url.with_query(query), allow_redirects=False) as answer:
                if answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                    self._budget.hold(_pause(answer))
                return answer.status, await self._body(answer)
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
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _UNCOUNTED:
            self.guard.note(self._clock.now())
            self._answered.discard(resource)
        match status:
            case HTTPStatus.UNAUTHORIZED:
                self._answered.clear()
                message, hint = "does not accept the token", "Make a key in Control panel, API keys, that is enabled."
            case HTTPStatus.FORBIDDEN:
                message, hint = "does not give it to this token", _ALLOW
            case HTTPStatus.NOT_FOUND:
                message, hint = "has no such resource", "Check the name, and whether its plugin is enabled."
            case HTTPStatus.CONFLICT:
                message, hint = "is switched off", "Control panel, Default settings: enable the API (enable_api)."
            case HTTPStatus.TOO_MANY_REQUESTS:
                message, hint = (
                    "wants no requests now (429)",
                    "It bans an address for ten minutes after five bad calls.",
                )
            case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                message, hint = f"sends elsewhere ({status})", "Write the address that it sends to as the url."
            case _:
                message, hint = f"answers with an error ({status})", "FacturaScripts' own log says more."
        return ApiError(status, f"{self._what(resource)} {message}.", hint)


def _pause(answer: aiohttp.ClientResponse) -> float:
    """Seconds that the server asks to wait; a ban does not say it."""
    asked = answer.headers.get("Retry-After", "")
    if asked.isdecimal():
        return min(float(asked), 3600.0)
    return BAN_SECONDS if answer.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0
