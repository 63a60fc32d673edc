"""Authentication of the API: tokens, their rate limits, and requests that are executed once however often they are
sent."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from cdc.access import model as nouns
from cdc.access.base import AccessStore
from cdc.access.model import ApiToken, Claim, ClaimState
from cdc.access.sign_in import SignIn
from cdc.admin.principal import Principal
from cdc.api.operation import ANSWERED, Caller, Problem
from cdc.model.clock import Clock
from cdc.model.errors import AccessRefused, LimitReached
from cdc.model.quota import RETRY_AFTER, InUse, Limited, quotas

_MOST: Final = 10_000


class RateLimit:
    """``rate``: requests a second; ``burst``: as many at once after a quiet time.  ``name``: of the policy in
    headers."""

    def __init__(self, rate: float, burst: float, name: str = "") -> None:
        assert rate > 0
        assert burst >= 1
        self._rate = rate
        self._burst = burst
        self._name = name
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # those used last at the end

    def reserve(self, key: str, now: float) -> float:
        """Return 0.0, and count the request; or the seconds after which it may be made, and do not count it.  ``now``:
        monotonic seconds."""
        level, since = self._buckets.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._buckets[key] = (level if wait else level - 1, now)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return wait

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of draft-ietf-httpapi-ratelimit-headers: the policy, and after `reserve` what is left of
        it, with the seconds until it is whole again."""
        level, _ = self._buckets[key]
        whole, left = math.ceil(self._burst / self._rate), math.ceil((self._burst - level) / self._rate)
        policy = {"RateLimit-Policy": f'"{self._name}";q={self._burst:g};w={whole}'}
        return policy | {"RateLimit": f'"{self._name}";r={math.floor(level)};t={left}'}


#: Requests a second of one token, and at once after a quiet time; an address without a token has less.
TOKEN_RATE, TOKEN_BURST = 20.0, 100.0
ADDRESS_RATE, ADDRESS_BURST = 1.0, 20.0
#: Streams that are open at once, of all tokens.
ALL_STREAMS = 100
_BEARER = "bearer "
_LONGEST_KEY = 255
_LONGEST_ANSWER = 64 * 1024


class TokenAuth:
    """Authentication of requests by a token.  ``address``: returns the client's."""

    def __init__(
        self,
        store: AccessStore,
        sign_in: SignIn,
        clock: Clock,
        address: Callable[[web.Request], str],
        in_use: InUse,
    ) -> None:
        self._in_use = in_use
        self.store = store
        self._sign_in = sign_in
        self._clock = clock
        self._address = address
        self._tokens = RateLimit(TOKEN_RATE, TOKEN_BURST, "token")
        self.addresses = RateLimit(ADDRESS_RATE, ADDRESS_BURST, "address")
        self._streams = 0  # open ones

    async def caller(self, request: web.Request) -> Caller:
        """Raises `Problem` (401, 429) when it is nobody, or asks too often."""
        caller = await self.known(request)
        if caller is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "Missing or unknown API token.",
                "Send Authorization: Bearer cdct_…; cdc token add makes one.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return caller

    async def known(self, request: web.Request) -> Caller | None:
        """Return the caller; None without a valid token.  Raises `Problem` (403, 429) when it may not ask from
        this address, or asks too often."""
        try:
            token = await self._token(request)
        except AccessRefused as error:
            self._limit(self.addresses, self._address(request))
            raise Problem(HTTPStatus.FORBIDDEN, error.message, error.hint) from None
        if token is None:
            self._limit(self.addresses, self._address(request))
            return None
        self._limit(self._tokens, token.id)
        return Caller(token.id, token.scope, Principal(f"token:{token.name}", token.sources, token.allowed))

    async def _token(self, request: web.Request) -> ApiToken | None:
        given = request.headers.get("Authorization", "")
        if not given.lower().startswith(_BEARER):
            return None
        return await self._sign_in.token(given[len(_BEARER) :].strip(), address=self._address(request))

    async def admitted(self, request: web.Request) -> bool:
        """Return whether the token of a long request is still valid."""
        try:
            return await self._token(request) is not None
        except AccessRefused:
            return False

    @contextmanager
    def streaming(self, caller: Caller) -> Iterator[None]:
        """Count a stream while it is open.  Raises `LimitReached`, and `Problem` (429) for too many of all tokens."""
        if self._streams >= ALL_STREAMS:
            retry = {"Retry-After": str(RETRY_AFTER)}
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many streams are open.", headers=retry)
        with self._in_use.counted(Limited.STREAMS, caller.principal.sources, caller.principal.name):
            self._streams += 1
            try:
                yield
            finally:
                self._streams -= 1

    def _limit(self, bucket: RateLimit, key: str) -> None:
        wait = bucket.reserve(key, self._clock.monotonic())
        ANSWERED.get()[1].update(bucket.headers(key))
        if wait:
            retry = {"Retry-After": str(math.ceil(wait))}
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", kind="rate-limited", headers=retry)

    async def once(
        self, request: web.Request, caller: Caller, body: bytes, work: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The answer of ``work``, or of the same request that was made before with the same ``Idempotency-Key``.
        Raises `Problem` (400, 409) when the key is no key, is another request's, or its request is being made."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return await work()
        if not 1 <= len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise Problem(HTTPStatus.BAD_REQUEST, "The Idempotency-Key is not 1 to 255 printable characters.")
        most = self._in_use.limits.for_kind(Limited.IDEMPOTENCY_KEYS)[1]
        within = quotas(self._in_use.limits, Limited.IDEMPOTENCY_KEYS, caller.principal.sources, "")
        fingerprint = hashlib.sha256(orjson.dumps([request.method, request.path_qs]) + body).hexdigest()
        claim = await self.store.claim(caller.id, key, fingerprint, self._clock.now(), most=most, within=within)
        if claim.state is ClaimState.OTHER:
            raise Problem(HTTPStatus.CONFLICT, "This Idempotency-Key was used for another request.")
        if claim.state is ClaimState.RUNNING:
            raise Problem(HTTPStatus.CONFLICT, "The request with this Idempotency-Key is being made; ask again.")
        if claim.state is ClaimState.FULL:
            left = claim.started_at + nouns.IDEMPOTENCY_KEPT - self._clock.now()
            raise LimitReached(
                "This token has used too many Idempotency-Keys in the last 24 hours.",
                f"At most {most} (idempotency_keys_per_principal under [limits]), with "
                f"{nouns.MOST_ANSWERED // 1_000_000} MB of answers. Wait, or send the request without a key.",
                limit=Limited.IDEMPOTENCY_KEYS,
                retry_after=max(1, math.ceil(left.total_seconds())),
            )
        if claim.state is ClaimState.ANSWERED:
            return _again(claim)
        return await self._make(caller, key, claim, work)

    async def _make(
        self, caller: Caller, key: str, claim: Claim, work: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer: nouns.IdempotentResponse | None = None
        try:
            response = await work()
            if isinstance(response, web.Response) and response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                answer = _storable_answer(response)
            return response
        finally:  # a request that failed may be made again with the same key
            await self.store.answer(caller.id, key, claim, answer)


def _storable_answer(response: web.Response) -> nouns.IdempotentResponse | None:
    """Return what is stored of a response; None for one that is too long, as events that were fetched may be: then the
    key is free, and the request may be made again."""
    body = response.text or ""
    if len(body) > _LONGEST_ANSWER:
        return None
    return nouns.IdempotentResponse(response.status, response.content_type, body, response.headers.get("Location"))


def _again(claim: Claim) -> web.Response:
    assert claim.answer is not None, "an answered request has an answer"
    headers = {"Idempotency-Replayed": "true", "Cache-Control": "no-store"}
    if claim.answer.location is not None:
        headers["Location"] = claim.answer.location
    return web.Response(
        text=claim.answer.body, status=claim.answer.status, content_type=claim.answer.content_type, headers=headers
    )
