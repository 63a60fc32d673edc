"""Requests to FacturaScripts' API v3: within the budget, their errors as sentences, admitted by a guard that keeps the
API from banning this address.

FacturaScripts bans an address that made five refused calls within 600 s, whichever program made them, until the oldest
of the five is 600 s old.  Invariant: a call that may be refused is reserved in the memory that all processes of the
installation share before it is made, and removed from it once it was given what it asked for; so refused calls and
calls without an answer are never more than `_SILENT`, also when processes are killed.  Resources that the API gave
before are asked for without that while no call is refused: of each process that reads, one such call may be refused.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from yarl import URL

from cdc.model.change import RefusalStore
from cdc.model.clock import Clock
from cdc.model.errors import ApiError, SourceError, SourceUnavailable

#: Seconds for which a refused call counts; a minute more than in FacturaScripts, whose clock is another one.
BAN_SECONDS: Final = 660.0
#: Counted calls after which only resources that the API has given are asked for, and after which none is.
_CAREFUL: Final = 2
_SILENT: Final = 3
#: Seconds for which a ban lasts at most, and between two requests during it: they do not prolong it.
_LONGEST_BAN: Final = 600.0
_BAN_PAUSE: Final = 60.0
#: Seconds for which a call is under way at most; between two looks whether calls of others were answered, and in all.
_LONGEST_CALL: Final = 70.0
_LOOK: Final = 0.25
_ANSWER: Final = 10.0
#: Statuses below 500 that FacturaScripts gives without counting a refused call.
_UNCOUNTED: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})


class Withheld(ApiError):
    """A request was not made.  ``until``: when it may be; ``wholly``: no other request may be made before.
    ``answers_expected``: only because of calls of others that are under way."""

    def __init__(self, message: str, until: datetime, *, wholly: bool) -> None:
        hint = "Five refused calls within ten minutes ban this address. Check token and rights: cdc doctor."
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, message, hint)
        self.until = until
        self.wholly = wholly
        self.answers_expected = False


class RefusedCall(NamedTuple):
    """A call that counts towards a ban.  ``at``: seconds since 1970.  ``status``: of the refusal; 0 while there is no
    answer.  ``permit``: its number."""

    at: float
    status: int
    resource: str
    permit: str


@dataclass(frozen=True, slots=True)
class GuardState:
    """The state that all processes share: calls that count, a ban, and what the API gave.  ``calls``: those that
    count, oldest first.  ``banned``: when a ban was noticed first and last.  ``given``: the resources that the API
    gave when they were asked for last; empty: the list of resources."""

    calls: tuple[RefusedCall, ...] = ()
    banned: tuple[float, float] | None = None
    given: frozenset[str] = frozenset()

    @classmethod
    def load(cls, text: str, now: float) -> GuardState:
        """Return the stored state without calls that no longer count.  A time to come, left by a clock that was set
        back, counts from now on."""
        kept = orjson.loads(text) if text else {"calls": [], "banned": None, "given": []}
        calls = [RefusedCall(*each) for each in kept["calls"]]
        calls = [each._replace(at=min(each.at, now)) for each in calls if each.at > now - BAN_SECONDS]
        memory = cls(tuple(sorted(calls)), given=frozenset(kept["given"]))
        if kept["banned"] is None or min(kept["banned"]) <= now - _LONGEST_BAN:
            return memory
        first, last = kept["banned"]
        return replace(memory, banned=(min(first, now), min(last, now)))

    def dump(self) -> str:
        fields = {"calls": [list(each) for each in self.calls], "banned": self.banned, "given": sorted(self.given)}
        return orjson.dumps(fields).decode()

    def free_at(self, now: float, *, given: bool) -> float | None:
        """Return when the next call may be made; None: now.  ``given``: its resource is one of `given`."""
        if self.banned is not None and now < self.banned[1] + _BAN_PAUSE:
            return self.banned[1] + _BAN_PAUSE
        most = _SILENT if given else _CAREFUL
        return None if len(self.calls) < most else self.calls[-most].at + BAN_SECONDS


class BanGuard:
    """Admits calls so that the API does not ban this address.  ``api``: its address, by which processes know that they
    ask the same one.  Raises `OutboxError` where the memory can neither be read nor written: no request is made
    then."""

    def __init__(self, api: str, store: RefusalStore, clock: Clock) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._waited = 0.0

    async def enter(self, resource: str) -> str:
        """Return a permit for `leave`.  Raises `Withheld`."""
        memory = await self.memory()
        if resource in memory.given and not memory.calls and memory.free_at(self._now(), given=True) is None:
            return ""
        permit = secrets.token_hex(8)
        withheld = await self._reserve(resource, permit)
        while withheld is not None and withheld.answers_expected and self._waited < _ANSWER:
            self._waited += _LOOK
            await self._clock.wait(asyncio.Event(), _LOOK)
            withheld = await self._reserve(resource, permit)
        if withheld is not None:
            raise withheld
        self._waited = 0.0
        return permit

    async def _reserve(self, resource: str, permit: str) -> Withheld | None:
        now = self._now()
        withheld: list[Withheld] = []

        def reserve(text: str) -> str:
            memory = GuardState.load(text, now)
            given = resource in memory.given
            until = memory.free_at(now, given=given)
            if until is None:
                return replace(memory, calls=(*memory.calls, RefusedCall(now, 0, resource, permit))).dump()
            error = self._withheld(memory, until, now)
            # without calls whose answer may still arrive
            calls = tuple(each for each in memory.calls if each.status or each.at <= now - _LONGEST_CALL)
            error.answers_expected = replace(memory, calls=calls).free_at(now, given=given) is None
            withheld.append(error)
            return memory.dump()

        await self._store.change_refusals(self._api, reserve)
        return withheld[0] if withheld else None

    async def leave(self, permit: str, resource: str, status: int | None, *, banned: bool = False) -> None:
        """Note the answer of a call, and give its permit back.  ``status``: of the answer; None: there was none.
        ``banned``: it says that this address is banned."""
        counted = status is not None and is_refusal(status)
        if not (permit or counted or banned):
            return
        now = self._now()

        def note(text: str) -> str:
            memory = GuardState.load(text, now)
            calls = tuple(each for each in memory.calls if each.permit != permit)
            given, ban = memory.given, memory.banned
            if counted:
                calls = (*calls, RefusedCall(now, status or 0, resource, permit or secrets.token_hex(8)))
                # a token that is not accepted is given nothing
                given -= given if status == HTTPStatus.UNAUTHORIZED else {resource}
            if status == HTTPStatus.OK:
                given |= {resource}
            if banned:
                ban = (ban[0] if ban else now, now)
            return GuardState(calls, ban, given).dump()

        await self._store.change_refusals(self._api, note)

    async def add(self, times: tuple[float, ...]) -> None:
        """Add refusals that a former version noted elsewhere."""
        now = self._now()

        def note(text: str) -> str:
            memory = GuardState.load(text, now)
            known = {each.permit for each in memory.calls}
            calls = [RefusedCall(at, HTTPStatus.FORBIDDEN, "", f"{at}") for at in times if f"{at}" not in known]
            return GuardState.load(replace(memory, calls=(*memory.calls, *calls)).dump(), now).dump()

        await self._store.change_refusals(self._api, note)

    async def memory(self) -> GuardState:
        return GuardState.load(await self._store.refusals(self._api), self._now())

    async def free_at(self, resource: str) -> datetime | None:
        """Return when the resource may be requested; None: now."""
        memory = await self.memory()
        until = memory.free_at(self._now(), given=resource in memory.given)
        return None if until is None else _moment(until)

    async def ban(self) -> Withheld:
        """Return the error of a call during a ban, which was noted."""
        memory, now = await self.memory(), self._now()
        return self._withheld(memory, now + _BAN_PAUSE, now)

    def _withheld(self, memory: GuardState, until: float, now: float) -> Withheld:
        wholly = memory.free_at(now, given=True) is not None
        if memory.banned is not None:
            ends = _moment(memory.banned[0] + _LONGEST_BAN)
            return Withheld(
                f"The API at {self._api} has banned this address, until {ends:%H:%M:%S} UTC at the latest.",
                _moment(until),
                wholly=True,
            )
        calls = ", ".join(
            f"{'the token' if each.status == HTTPStatus.UNAUTHORIZED else each.resource or 'the list of resources'} "
            f"at {_moment(each.at):%H:%M}"
            for each in memory.calls
        )
        rest = "nothing is" if wholly else "only what it gave before is"
        return Withheld(
            f"The API at {self._api} refused {len(memory.calls)} calls within eleven minutes ({calls}): {rest} asked "
            f"for before {_moment(until):%H:%M:%S} UTC.",
            _moment(until),
            wholly=wholly,
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()


def is_refusal(status: int) -> bool:
    """Return whether FacturaScripts counts such an answer towards a ban."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _UNCOUNTED


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


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
        while True:
            now = self._clock.monotonic()
            self._tokens = min(self._tokens + (now - self._counted_at) * self._rate, self._burst)
            self._counted_at = now
            missing = 1 - self._tokens if self._tokens < 1 - 1e-9 else 0.0
            if (seconds := max(missing / self._rate, self.held)) <= 0:
                break
            await self._clock.wait(asyncio.Event(), max(seconds, 0.001))
        self._tokens -= 1

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long: the server asks for it."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)


Query = Sequence[tuple[str, str]]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10)
#: Bytes of an answer beyond which it is given up: whatever it is, it is no page of rows.
_LONGEST: Final = 64 << 20
#: The header that says how many rows the filters let through.
_TOTAL: Final = "X-Total-Count"
ALLOW: Final = "Allow it to read the resource: FacturaScripts, Control panel, API keys."


class ResourceAnswer(NamedTuple):
    """An answer of the API.  ``content``: its JSON.  ``total``: how many rows the filters let through; None where the
    API does not say."""

    content: Any
    total: int | None


class _Raw(NamedTuple):
    status: int
    body: bytes
    total: int | None
    banned: bool


class ApiClient:
    """A client of FacturaScripts' API within its budget and guard.  ``url``: where FacturaScripts is, without
    ``/api/3``.  ``patience``: seconds to wait at most where the server asks for it; `ask` raises otherwise."""

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
            if self._session is None:
                self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
            async with self._session.get(url.with_query(query), allow_redirects=False) as answer:
                pause = _pause(answer)
                if pause:
                    self._budget.hold(pause)
                total = answer.headers.get(_TOTAL, "")
                banned = answer.status == HTTPStatus.TOO_MANY_REQUESTS and pause is None
                body = bytearray()
                async for part in answer.content.iter_chunked(1 << 16):
                    body += part
                    if len(body) > _LONGEST:
                        most = f"answers more than {_LONGEST >> 20} MB"
                        raise SourceError(f"The API at {self.place} {most}.", "Lower page_size.")
                return _Raw(answer.status, bytes(body), int(total) if total.isdecimal() else None, banned)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise SourceUnavailable(f"The API at {self.place} does not answer ({why}).") from error

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
