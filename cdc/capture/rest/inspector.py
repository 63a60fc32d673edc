"""Checks of `cdc doctor` for a source that is read through the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from yarl import URL

from cdc.capture.rest.client import ALLOW, ApiClient, RefusedCall, Withheld
from cdc.capture.rest.reader import Resource, ResourceReader
from cdc.model.errors import ApiError, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity

#: Until a server that is restarted may answer.
_AGAIN_SECONDS: Final = 1.0
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ApiInspector:
    """``per_minute``: the budget of requests; ``page_size``: rows of one."""

    def __init__(self, client: ApiClient, url: str, per_minute: int, page_size: int) -> None:
        self._client = client
        self._url = URL(url)
        self._per_minute = per_minute
        self._page_size = page_size

    async def findings(self, polled: Sequence[Resource], lookups: Sequence[Resource]) -> list[Finding]:
        """``lookups``: resources whose rows are only asked for where events need them."""
        try:
            return [each async for each in self._findings(polled, lookups)]
        finally:
            await self._client.close()

    async def _findings(self, polled: Sequence[Resource], lookups: Sequence[Resource]) -> AsyncIterator[Finding]:
        yield self._encryption()
        try:
            await self._greeted()
        except SourceError as error:
            yield Finding("API", Severity.WRONG, error.message, error.hint)
            return
        yield Finding("API", Severity.OK, f"enabled at {self._client.place}; the token is accepted")
        async for finding in self._rights(list(dict.fromkeys((*polled, *lookups)))):
            yield finding
        yield self._budget(polled)

    async def _greeted(self) -> None:
        """Ask for the list of resources; once more, a second later, where nothing answers, or a failing server.  Raises
        `SourceError`."""
        try:
            await self._client.get()
        except (SourceUnavailable, ApiError) as error:
            if isinstance(error, ApiError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            await asyncio.sleep(_AGAIN_SECONDS)
            await self._client.get()

    def _encryption(self) -> Finding:
        if self._url.scheme == "https":
            return Finding("encryption", Severity.OK, "https")
        if self._url.host in _LOCAL:
            return Finding("encryption", Severity.OK, "http, on this machine")
        detail = "The token and all rows travel unencrypted (http)."
        return Finding("encryption", Severity.WARNING, detail, "Write https:// in [source.….rest] url.")

    async def _rights(self, resources: Sequence[Resource]) -> AsyncIterator[Finding]:
        """Refusals count towards a ban: soon nothing more is asked."""
        reader = ResourceReader(self._client, self._page_size)
        allowed = 0
        withheld: dict[Resource, Withheld] = {}
        for resource in resources:
            try:
                await reader.table(resource)
            except Withheld as error:
                withheld[resource] = error
            except SourceUnavailable as error:
                yield Finding("rights", Severity.WRONG, error.message, error.hint)
                break  # each of the others would take as long
            except SourceError as error:
                missing = isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND
                severity = Severity.WARNING if missing else Severity.WRONG
                yield Finding("rights", severity, error.message, error.hint)
            else:
                allowed += 1
        refused = {each.resource: each for each in (await self._client.guard.memory()).calls if each.status}
        for resource in [each for each in withheld if each.path in refused]:
            yield _refused(refused[resource.path], withheld.pop(resource))
        if withheld:
            yield _not_asked(withheld)
        if allowed:
            yield Finding("rights", Severity.OK, f"{allowed} of {len(resources)} resources can be read")

    def _budget(self, resources: Sequence[Resource]) -> Finding:
        """The least that the intervals need: a page for each comparison."""
        needed = sum(60 / each.compare + (60 / each.interval if each.numbered else 0) for each in resources)
        least = f"the intervals need {needed:.0f}, and more where a comparison takes more than one page"
        if needed > self._per_minute:
            detail = f"{self._per_minute} requests a minute are allowed, and {least}: changes are reported late."
            fix = "Raise requests_per_minute, or the intervals, in [source.….rest]."
            return Finding("budget", Severity.WARNING, detail, fix)
        return Finding("budget", Severity.OK, f"{self._per_minute} requests a minute are allowed; {least}")


def _refused(call: RefusedCall, error: Withheld) -> Finding:
    time = datetime.fromtimestamp(call.at, UTC)
    detail = f"{call.resource} was refused at {time:%H:%M:%S} UTC, and was not asked for again."
    return Finding("rights", Severity.WRONG, detail, f"{ALLOW} It is asked for again after {error.until:%H:%M:%S} UTC.")


def _not_asked(resources: Mapping[Resource, Withheld]) -> Finding:
    names = ", ".join(each.path for each in resources)
    error = next(iter(resources.values()))
    detail = f"{len(resources)} resources were not asked for: {names}. {error.message}"
    return Finding("rights", Severity.WARNING, detail, f"Run cdc doctor again after {error.until:%H:%M:%S} UTC.")
