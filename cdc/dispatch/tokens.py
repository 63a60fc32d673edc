"""Access tokens of OAuth2 (client credentials, RFC 6749 section 4.4): fetched when one is needed, kept until shortly
before they expire, and fetched again once when the receiver answers 401.

A request for a token goes the way of a delivery: the same guard of addresses, proxy and time limit.  Parallel requests
of an endpoint wait for one fetch, each no longer than its own timeout.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from cdc.dispatch.request import USER_AGENT, WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.endpoint import TokenGrant, authentication_of, origin_of

#: The most bytes of a token endpoint's answer.
ANSWER_BYTES: Final = 64 * 1024
#: The most characters of an access token: servers refuse longer headers.
_LONGEST_TOKEN: Final = 16 * 1024
#: A token is renewed so many seconds before it expires, or a tenth of its life where that is less.
_MARGIN: Final = 30.0
#: How long a token is kept: at most, and where its expiry is not given (seconds).
_LONGEST, _UNKNOWN = 86_400.0, 300.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
#: Codes of RFC 6749 section 5.2.  Any other text of the answer stays out of the log.
_CODES: Final = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
) | {"invalid_scope"}

#: Sends a request and reads up to so many bytes of the answer.
Fetch = Callable[[WebhookRequest, int, float], Coroutine[Any, Any, Answer]]


class TokenNotGiven(Exception):
    """``reason``: one sentence, without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Kept(NamedTuple):
    token: str
    until: float


class AccessTokens:
    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: dict[TokenGrant, _Kept] = {}
        self._fetching: dict[TokenGrant, asyncio.Task[str]] = {}

    async def close(self) -> None:
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def send(
        self, request: WebhookRequest, send: Callable[[WebhookRequest], Coroutine[Any, Any, Answer]]
    ) -> Answer:
        """Send a request with an access token; once more with a new one where the receiver answers 401.  All of it
        takes no longer than the request's timeout."""
        now = asyncio.get_running_loop().time
        started = now()

        def carrying(token: str) -> WebhookRequest:
            left = max(round(request.timeout - (now() - started), 3), 0.001)
            return authorized(request, token)._replace(timeout=left)

        try:
            token = await self.token(request)
            answer = await send(carrying(token))
            if answer.status == HTTPStatus.UNAUTHORIZED:
                answer = await send(carrying(await self.token(request, refused=token)))
        except TokenNotGiven as failed:
            return Answer(None, now() - started, error=failed.reason)
        return answer._replace(duration=now() - started)

    async def token(self, request: WebhookRequest, refused: str = "") -> str:
        """Return an access token for the request.  ``refused``: one that the receiver did not accept.  Raises
        `TokenNotGiven`."""
        grant = request.grant
        assert grant is not None, "only requests that need a token come here"
        kept = self._kept.get(grant)
        if kept is not None and kept.token != refused and kept.until > asyncio.get_running_loop().time():
            return kept.token
        task = self._fetching.get(grant)
        if task is None:
            task = self._fetching[grant] = asyncio.create_task(self._fetched(grant, request))
            task.add_done_callback(lambda done: self._ended(grant, done))
        try:
            async with asyncio.timeout(request.timeout):
                return await asyncio.shield(task)
        except TimeoutError:
            where = urlsplit(_token_url(grant)).netloc
            raise TokenNotGiven(f"No access token: {where} did not answer within {request.timeout:g} s.") from None

    def _ended(self, grant: TokenGrant, task: asyncio.Task[str]) -> None:
        self._fetching.pop(grant, None)
        if not task.cancelled():
            task.exception()  # those that waited have got it, or are gone

    async def _fetched(self, grant: TokenGrant, request: WebhookRequest) -> str:
        answer = await self._fetch(token_request(grant, request), ANSWER_BYTES, request.timeout)
        token, lifetime = _parsed(answer, urlsplit(_token_url(grant)).netloc)
        now = asyncio.get_running_loop().time()
        until = now + lifetime - min(_MARGIN, lifetime / 10)
        self._kept = {each: kept for each, kept in self._kept.items() if kept.until > now} | {
            grant: _Kept(token, until)
        }
        return token


def authorized(request: WebhookRequest, token: str) -> WebhookRequest:
    return request._replace(headers={**request.headers, "Authorization": f"Bearer {token}"}, grant=None)


def _token_url(grant: TokenGrant) -> str:
    settings = authentication_of(grant.settings)
    assert settings is not None, "a grant has settings"
    return settings.token_url


def token_request(grant: TokenGrant, request: WebhookRequest) -> WebhookRequest:
    """Return the request for a token.  It goes by the endpoint's proxy; its client certificate, which belongs to the
    endpoint's origin, is shown there only."""
    settings = authentication_of(grant.settings)
    assert settings is not None, "a grant has settings"
    form = {"grant_type": "client_credentials", **settings.parameters}
    form |= {name: value for name in ("scope", "audience") if (value := getattr(settings, name))}
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    if settings.client_authentication == "basic":
        account = f"{quote_plus(settings.client_id)}:{quote_plus(grant.secret)}"
        headers["Authorization"] = f"Basic {b64encode(account.encode()).decode()}"
    else:
        form |= {"client_id": settings.client_id, "client_secret": grant.secret}
    same = origin_of(settings.token_url) == origin_of(request.url)
    certificate = request.client_certificate if same else ""
    url, body = settings.token_url, urlencode(form).encode()
    return WebhookRequest(url, headers, body, request.timeout, request.proxy, certificate)


def _parsed(answer: Answer, where: str) -> tuple[str, float]:
    """Return the access token and its lifetime in seconds.  Raises `TokenNotGiven`."""
    if answer.status is None:
        raise TokenNotGiven(f"No access token: {answer.error}")
    given = _json(answer.body)
    if answer.status != HTTPStatus.OK:
        code = given.get("error")
        said = f" {code}" if code in _CODES else ""
        raise TokenNotGiven(f"No access token: {where} answered {answer.status}{said}.")
    token, kind = given.get("access_token"), given.get("token_type", "bearer")
    usable = isinstance(token, str) and len(token) <= _LONGEST_TOKEN and _TOKEN.fullmatch(token)
    if not usable or not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenNotGiven(f"No access token: the answer of {where} holds no bearer token.")
    lifetime = _seconds(given.get("expires_in"))
    if lifetime is None:
        raise TokenNotGiven(f"No access token: the answer of {where} has an expires_in that is no time to come.")
    return str(token), lifetime


def _json(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:  # or it was cut off
        return {}
    return given if isinstance(given, dict) else {}


def _seconds(given: object) -> float | None:
    """Return ``expires_in``, within bounds; None for one that is not usable.  Some servers write it as text."""
    if given is None:
        return _UNKNOWN
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= len("9999999999"):
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        return None
    return min(float(given), _LONGEST)
