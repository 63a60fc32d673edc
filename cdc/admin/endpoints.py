"""Endpoints: add, change, test and remove one, its secret, and previews of its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from cdc.admin.base import UseCases
from cdc.admin.endpoint_checks import (
    GREETING,
    Previewed,
    PreviewShape,
    Sample,
    check_fields,
    check_patterns,
    check_together,
    moved_credentials,
    new_endpoint,
    preview,
    sample,
    send_test,
    try_out,
    with_bodies,
)
from cdc.config.rules import label
from cdc.dispatch.signing import Signature, check_secret, new_secret, signature_of
from cdc.model.delivery import Attempt, DeliveryState
from cdc.model.endpoint import (
    OPTIONS,
    Endpoint,
    EndpointChange,
    EndpointFilter,
    EndpointState,
    is_pull,
    public_url,
    shown_url,
)
from cdc.model.errors import UsageError, about
from cdc.model.event import OPERATIONS
from cdc.model.quota import Limited, Quota
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import Subscriber, no_endpoint, subscriber_of
from cdc.outbox.slices import SearchPage, TimeBudget

T = TypeVar("T")

#: How long a former secret signs too, unless it is said.
OVERLAP = timedelta(hours=24)
#: Unfinished deliveries of an endpoint that page and API count: a page must not wait for the rest.
MOST_COUNTED: Final = 10_000
#: Endpoints that an overview checks, and as many again of each state that needs attention.
_CHECKED: Final = 100


def unfinished(counts: Mapping[DeliveryState, int]) -> int:
    return sum(number for state, number in counts.items() if not state.final)


def cut(counts: Mapping[DeliveryState, int]) -> bool:
    """Return whether an endpoint may have more unfinished deliveries than page and API count."""
    return unfinished(counts) >= MOST_COUNTED


def _words(endpoint: Endpoint) -> str:
    """Return what a search for a text reads of an endpoint, in small letters."""
    return f"{endpoint.id}\n{endpoint.description}\n{public_url(endpoint.url)}".lower()


def _limited(url: str) -> Limited:
    return Limited.CONSUMERS if is_pull(url) else Limited.ENDPOINTS


class Endpoints(UseCases):
    async def all(self) -> list[Endpoint]:
        return [each for each in await self._store.endpoints() if self._principal.owns(each.sources)]

    async def search(self, which: EndpointFilter, limit: int, after: int = 0) -> SearchPage[Endpoint]:
        """Return a page of endpoints, in the order in which they were added; no text is searched in paths and queries
        of URLs, which a search could guess letter by letter.  ``after``: where the page before ended."""
        budget = TimeBudget(self._clock.monotonic)
        theirs = replace(which, sources=tuple(sorted(self._principal.sources)))
        text = which.text.lower()
        return await self._store.search_endpoints(theirs, limit, budget, after, fits=lambda each: text in _words(each))

    async def by_ids(self, endpoint_ids: Iterable[str | None]) -> dict[str, Endpoint]:
        """Return those of these endpoints that there are, by id."""
        wanted = [each for each in dict.fromkeys(endpoint_ids) if each]
        found = await self._store.endpoints_of(wanted) if wanted else []
        return {each.id: each for each in found if self._principal.owns(each.sources)}

    async def checked(self) -> tuple[list[Endpoint], bool]:
        """Return the endpoints that an overview checks, and whether these are all: the first ones, and of the others
        some that are disabled or failing, or have dead letters."""
        first = await self.search(EndpointFilter(), _CHECKED)
        found = {each.id: each for each in first.found}
        for state in (EndpointState.DISABLED, EndpointState.FAILING, EndpointState.DEAD) if first.further else ():
            others = await self.search(EndpointFilter(state=state), _CHECKED)
            found |= {each.id: each for each in others.found}
        return list(found.values()), first.further is None

    async def waiting(self, counts: Mapping[str, Mapping[DeliveryState, int]], *, complete: bool) -> tuple[int, bool]:
        """Return how many deliveries of all endpoints are not finished, and whether there may be more.  ``counts``: of
        those `checked`."""
        number = sum(map(unfinished, counts.values()))
        if complete or self._principal.sources:
            return number, not complete or any(map(cut, counts.values()))
        number = await self._store.unfinished(None, MOST_COUNTED)
        return number, number >= MOST_COUNTED

    async def last_failures(self, endpoint_ids: Sequence[str]) -> Mapping[str, Attempt]:
        """Return an attempt of each of these endpoints of the principal that shows why it fails, where one is known."""
        return await self._store.last_failures(endpoint_ids) if endpoint_ids else {}

    async def removed(self, endpoint_ids: Iterable[str | None]) -> Mapping[str, str]:
        """Id → name of those of these that were removed; a principal of some sources sees no deliveries of them."""
        wanted = [each for each in dict.fromkeys(endpoint_ids) if each]
        if self._principal.sources or not wanted:
            return {}
        found = await self._store.removed_endpoints(wanted)
        return {each: name or url for each, (name, url) in found.items()}

    async def counts(
        self, most: int | None = None, endpoint_ids: Sequence[str] | None = None
    ) -> dict[str, dict[DeliveryState, int]]:
        """Return how many deliveries each has by state; a state that has none is absent.  ``most``: about so many
        unfinished ones of each are counted; None: all.  ``endpoint_ids``: some of the principal's; None: all of them.
        """
        counts = await self._store.counts(most, endpoint_ids)
        if endpoint_ids is not None:
            return counts
        theirs = {each.id for each in await self.all()} if self._principal.sources else counts.keys()
        return {endpoint_id: counts[endpoint_id] for endpoint_id in counts if endpoint_id in theirs}

    async def get(self, endpoint_id: str) -> Endpoint:
        """Raises `NotFound`."""
        found = await self._store.endpoint(endpoint_id)
        if found is None or not self._principal.owns(found.sources):
            raise no_endpoint(endpoint_id)
        return found

    async def due(self, endpoint: Endpoint) -> datetime | None:
        """Return when the first of its waiting deliveries is due, or since when it is; None: none waits."""
        return await self._store.due_of(endpoint.id)

    # -- a new one --------------------------------------------------------------------------------------------------

    def new(self, fields: Mapping[str, Any], secret: str | None = None, signature: str | None = None) -> Endpoint:
        """Return a new endpoint of these fields (of `Endpoint`), to be added, with a secret of this kind unless one is
        given.  A principal of some sources gets one of all these, unless some are named.  Raises `UsageError`."""
        principal, wanted = self._principal, moved_credentials(fields)
        if principal.sources:
            wanted["sources"] = tuple(wanted.get("sources") or sorted(principal.sources))
        principal.check_fields(wanted)
        wanted |= principal.credentials_of(wanted)
        wanted["added_by"] = principal.name
        wanted.setdefault("timeout", min(OPTIONS["timeout"].default, self._config.dispatch.max_timeout_seconds))
        made = new_endpoint(wanted, self._secret(secret, signature, Signature.V1), self._clock.now())
        self._check(made, {"url", "events", "credential", *OPTIONS})
        return made

    async def add(self, made: Endpoint) -> Endpoint:
        """Store an endpoint of `new`.  Raises `LimitReached`."""
        within = self._quotas(_limited(made.url), made.sources)
        await self._store.add_endpoint(made, self._note("endpoint.add", made.id, within=within))
        return made

    # -- changes ----------------------------------------------------------------------------------------------------

    def changed(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> Endpoint:
        """Return the endpoint with these fields (of `EndpointChange`).  Raises `UsageError`."""
        self._principal.check_touchable(endpoint)
        fields = moved_credentials(fields, endpoint.headers)
        self._principal.check_fields(fields)
        changed = EndpointChange(**fields).applied_to(endpoint)
        self._check(changed, fields)
        return changed

    async def change(
        self, endpoint: Endpoint, fields: Mapping[str, Any], agreed: Mapping[str, Any] | None = None
    ) -> Endpoint:
        """``agreed``: further fields, as the endpoint itself wants them.  Raises `UsageError`."""
        self.changed(endpoint, fields)
        fields = moved_credentials(fields, endpoint.headers)
        credentials = self._principal.credentials_of(fields, endpoint)
        change = EndpointChange(**{**fields, **(agreed or {}), **credentials})
        url, sources = fields.get("url", endpoint.url), fields.get("sources", endpoint.sources)
        moved = _limited(url) is not _limited(endpoint.url)
        new = [each for each in sources or [""] if moved or each not in (endpoint.sources or [""])]
        within = self._quotas(_limited(url), new) if new else ()
        return await self._change(endpoint.id, change, "endpoint.update", within)

    async def enable(self, endpoint_id: str) -> Endpoint:
        change = EndpointChange(enabled=True, disabled_reason="")
        return await self._change(endpoint_id, change, "endpoint.enable")

    async def disable(self, endpoint_id: str, reason: str) -> Endpoint:
        change = EndpointChange(enabled=False, disabled_reason=reason)
        return await self._change(endpoint_id, change, "endpoint.disable")

    async def rotate_secret(
        self, endpoint_id: str, secret: str | None = None, signature: str | None = None, overlap: timedelta = OVERLAP
    ) -> Endpoint:
        """``secret``: None has one made, of this kind, or of the kind that the endpoint has.  ``overlap``: how long the
        former one signs too.  Raises `UsageError`."""
        present = await self.get(endpoint_id)
        chosen = self._secret(secret, signature, signature_of(present.secret))
        change = EndpointChange(secret=chosen, former_secret_until=self._clock.now() + overlap)
        return await self._change(endpoint_id, change, "endpoint.rotate-secret")

    async def _change(
        self, endpoint_id: str, change: EndpointChange, action: str, within: Sequence[Quota] = ()
    ) -> Endpoint:
        if self._principal.sources:
            await self.get(endpoint_id)
            change.guard = self._principal.check_touchable
        return await self._store.change_endpoint(endpoint_id, change, self._note(action, endpoint_id, within=within))

    async def remove(self, endpoint_id: str) -> None:
        await self._check_touchable(endpoint_id)
        await self._store.remove_endpoint(endpoint_id, self._clock.now(), self._note("endpoint.remove", endpoint_id))

    async def _check_touchable(self, endpoint_id: str) -> None:
        if self._principal.sources:
            self._principal.check_touchable(await self.get(endpoint_id))

    # -- trying one -------------------------------------------------------------------------------------------------

    async def send_test(self, endpoint_id: str, event_name: str = GREETING) -> Attempt:
        """Send an example of this event, marked as a test; what came of it.  Raises `UsageError`."""
        await self._check_touchable(endpoint_id)
        example = None if event_name == GREETING else self._example(event_name)
        note = self._note("endpoint.test", endpoint_id)
        return await send_test(self._config, self._store, endpoint_id, event_name, note, example=example)

    async def try_out(self, endpoint: Endpoint, event_name: str = GREETING) -> Attempt:
        """Send a test as `send_test` does to an endpoint of `new` or `changed`, which is not stored.  It needs the room
        of one more where it is new.  Raises `LimitReached`, `UsageError`."""
        if is_pull(endpoint.url):
            message = "A consumer fetches its events: nothing can be sent to it."
            raise UsageError(message, "Add it, and fetch a test.", field="url")
        principal = self._principal
        example = None if event_name == GREETING else self._example(event_name)
        stored = await self._store.endpoint(endpoint.id)
        if stored is not None:
            await self._check_touchable(endpoint.id)
        within = [] if stored else self._quotas(_limited(endpoint.url), endpoint.sources)
        room = [each._replace(following=1) for each in within]
        subject = endpoint.id if stored else shown_url(endpoint)
        with self._service.in_use.counted(Limited.PREVIEWS, principal.sources, principal.name):
            await self._store.record(self._note("endpoint.test", subject[:200], within=room))
            return await try_out(self._config, endpoint, event_name, example)

    async def sample(
        self, fields: Mapping[str, Any], present: Endpoint | None, fitting: Sequence[Previewed]
    ) -> Sample | None:
        """Return what an endpoint with these fields, of which not all need to be right, would get of the last of these
        events; of an example without any.  ``present``: the endpoint that they change.  Raises `UsageError`."""
        now = self._clock.now()
        base = present or new_endpoint({"url": "", "events": ()}, new_secret(Signature.V1), now)
        stored = fitting[-1].event if fitting else None
        return await self._aside(sample, self._config, replace(base, **fields), stored, now)

    def testable(self, endpoint: Endpoint) -> list[str]:
        """Events of which an example can be sent: those that the endpoint selects first, the greeting last."""
        chosen = subscriber_of(endpoint)
        source = endpoint.sources[0] if endpoint.sources else ""
        known = [(kind.name, source if kind.table else OPERATIONS) for kind in self.event_types()]
        selected = [name for name, origin in known if chosen.names(name, origin)]
        return [*dict.fromkeys([*selected, *(name for name, _ in known)]), GREETING]

    def _example(self, event_name: str) -> Mapping[str, Any]:
        for kind in self.event_types():
            if kind.name == event_name:
                return kind.example
        check_patterns(self._config, (event_name,))
        raise UsageError(f"There is no example of {event_name}.", "cdc event kinds shows the events.")

    async def fitting(
        self, wanted: Mapping[str, Any], events: Sequence[StoredEvent], shape: PreviewShape | None = None
    ) -> list[Previewed]:
        """Return those that an endpoint would get with these ``events``, ``sources`` and ``condition``; with their
        bodies where it has a transform.  Raises `UsageError`."""
        patterns = check_patterns(self._config, wanted["events"])
        subscriber = Subscriber(0, patterns, wanted["sources"], condition=wanted["condition"])
        delivered = [each for each in await self._aside(preview, subscriber, events) if each.delivered]
        if shape is None or not shape.transform:
            return delivered
        return await self._aside(with_bodies, delivered, shape, partial(label, self._config))

    async def _aside(self, work: Callable[..., T], *given: Any) -> T:
        principal = self._principal
        with self._service.in_use.counted(Limited.PREVIEWS, principal.sources, principal.name):
            async with self._service.previewing:  # expressions may take their time, and threads share the interpreter
                return await asyncio.to_thread(work, *given)

    # -- checks -----------------------------------------------------------------------------------------------------

    def _check(self, endpoint: Endpoint, given: Collection[str]) -> None:
        """Raise `UsageError` for the first field that is wrong, with the others' errors."""
        errors: list[UsageError] = []
        tested = endpoint
        for name in dict.fromkeys(("events", "sources", "timeout", "url", *OPTIONS, "credential")):
            try:
                if name in given:
                    self._check_field(tested, name)
            except UsageError as error:
                errors.append(error)
                if name == "url":  # the other fields are then checked as for any
                    tested = replace(endpoint, url="https://example.com/")
        try:
            check_together(tested)
        except UsageError as error:
            errors.append(error)
        if errors:
            first, *first.others = {error.message: error for error in errors}.values()
            raise first

    def _check_field(self, endpoint: Endpoint, given: str) -> None:
        if given == "events":
            with about("events"):
                check_patterns(self._config, endpoint.events)
        with about("sources"):
            self._config.known_sources(endpoint.sources if given == "sources" else ())
        most = self._config.dispatch.max_timeout_seconds
        check_fields(self._config, endpoint, {given})
        if given == "timeout" and not 0 < endpoint.timeout <= most:
            option = ", the max_timeout_seconds under [dispatch]" if self._principal.operator else ""
            raise UsageError(
                f"The timeout cannot be {endpoint.timeout:g} s.",
                f"It is more than 0 and at most {most:g} s{option}.",
                field="timeout",
            )

    def _secret(self, secret: str | None, signature: str | None, otherwise: Signature) -> str:
        wanted = None if signature is None else Signature(signature)
        if secret is None:
            return new_secret(wanted or otherwise)
        check_secret(secret)
        if wanted is not None and signature_of(secret) is not wanted:
            or_none = "; or leave one out" if self._principal.operator else ""
            raise UsageError(
                f"The secret does not fit the signature {wanted}.",
                f"whsec_ is for v1, whsk_ for v1a{or_none}.",
            )
        return secret
