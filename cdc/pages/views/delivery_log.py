"""Events and deliveries: their listings and filters, one of them, sending again, the catalogue, news for open pages.

Records are named by code, customer and amount in place of the key, for those who see payloads.  An open page is
notified of news at most once a second, and then asks for its rows again: of 500 events a second it shows the newest.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from difflib import get_close_matches
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

import orjson
from aiohttp import web

from cdc.access.model import Role
from cdc.admin.deliveries import MOST_HURRIED
from cdc.api.application import DOCUMENTS
from cdc.dispatch.message import record_title
from cdc.dispatch.request import build_request
from cdc.dispatch.transform import TransformFailed
from cdc.model.broker import scheme_of
from cdc.model.delivery import TEXT_EVENTS, DeliveryFilter, DeliveryState, DeliveryView, EventFilter, LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointFilter, authentication_of, shown_url
from cdc.model.errors import NotFound, UsageError
from cdc.model.event import Label, Labels, check_pattern
from cdc.model.quota import Limited
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.pages.language import language
from cdc.pages.page import Page, Refused, Route

#: The fields of events, and those that deliveries have besides.
EVENT_FIELDS: Final = ("event", "record", "since", "until")
FIELDS: Final = (*EVENT_FIELDS, "endpoint", "state")
_EVENT_ID = "evt_"
#: Endpoints, or sources, that a field offers at most; where there are more, it takes a text.
MOST_OFFERED: Final = 50
#: Endpoints that are suggested for a text.
_MEANT: Final = 10


def event_filter(page: Page, given: Mapping[str, str]) -> EventFilter:
    """``given``: each of `EVENT_FIELDS`, empty where it does not narrow; ``text`` may be there.  Raises `UsageError`,
    and `Refused` where a viewer searches for a text."""
    event, text = given["event"], given.get("text")
    if text and not page.manages:  # the results would reveal the content of payloads
        raise Refused(HTTPStatus.FORBIDDEN, "For managers only.")
    is_id = event.startswith(_EVENT_ID)
    return EventFilter(
        event_id=event if is_id else None,
        event_pattern=check_pattern(event) if event and not is_id else None,
        record=given["record"] or None,
        since=time_of(page, given["since"]),
        until=time_of(page, given["until"]),
        text=text or None,
    )


def delivery_filter(page: Page, given: Mapping[str, str]) -> DeliveryFilter:
    """Return a filter like `event_filter`, with ``given`` for each of `FIELDS`."""
    state = given["state"]
    if state and state not in list(DeliveryState):
        raise UsageError(page.language.text("There is no such state."))
    events = event_filter(page, given)
    return DeliveryFilter(
        **{each.name: getattr(events, each.name) for each in fields(events)},
        endpoint_id=given["endpoint"] or None,
        state=DeliveryState(state) if state else None,
    )


@dataclass(frozen=True, slots=True)
class EndpointChoice:
    """The field for an endpoint.  ``chosen``: an id, or the text that was entered; ``offered``: the first endpoints;
    ``complete``: these are all, so a list is enough.  ``known``: those offered, and those that the page names."""

    chosen: str
    offered: Sequence[Endpoint]
    complete: bool
    known: Mapping[str, Endpoint]


async def endpoint_choice(page: Page, entered: str, named: Iterable[str | None] = ()) -> EndpointChoice:
    """``entered``: an id, or where not all endpoints are offered the text of one.  ``named``: ids on the page."""
    admin, text = page.admin.endpoints, entered
    first = await admin.search(EndpointFilter(), MOST_OFFERED)
    offered = {each.id: each for each in first.found}
    known = await admin.by_ids(each for each in (entered, *named) if each not in offered)
    if entered and first.further is not None and entered not in offered and entered not in known:
        found = (await admin.search(EndpointFilter(entered), 2)).found
        known |= {each.id: each for each in found}
        text = found[0].id if len(found) == 1 else entered
    return EndpointChoice(text, first.found, first.further is None, offered | known)


async def meant(page: Page, given: Mapping[str, str], choice: EndpointChoice) -> list[tuple[str, str]]:
    """Suggestions for a search that found nothing: text → path."""
    return [*events_meant(page, "deliveries", given), *await choices_meant(page, ("deliveries",), given, choice)]


async def choices_meant(
    page: Page, path: Sequence[str], given: Mapping[str, str], choice: EndpointChoice
) -> list[tuple[str, str]]:
    """Suggestions for an endpoint that is none: name → path."""
    near = await endpoints_meant(page, choice.chosen) if choice.chosen not in choice.known else []
    return [(name, page.link(*path, **{**given, "endpoint": each})) for each, name in near]


def events_meant(page: Page, section: str, given: Mapping[str, str]) -> list[tuple[str, str]]:
    event = given["event"]
    if not event or event.startswith(_EVENT_ID):
        return []
    return [(each, _search(page, section, given, event=each)) for each in page.admin.events.meant(event)]


async def endpoints_meant(page: Page, wanted: str) -> list[tuple[str, str]]:
    """Id and name of endpoints whose id or name is like this, or has this in it."""
    if not wanted:
        return []
    search = page.admin.endpoints.search
    first, found = await search(EndpointFilter(), MOST_OFFERED), await search(EndpointFilter(wanted), _MEANT)
    names = {each.id: each.description or shown_url(each) for each in (*first.found, *found.found)}
    words = {word.lower(): each for each, name in names.items() for word in (each, name)}
    near = [words[word] for word in get_close_matches(wanted.lower(), words)]
    return [(each, names[each]) for each in dict.fromkeys([*near, *(each.id for each in found.found)])]


def _search(page: Page, section: str, given: Mapping[str, str], **changed: str) -> str:
    return page.link(section, **{**given, **changed})


def time_of(page: Page, text: str) -> datetime | None:
    """Parse a time as a browser's field for date and time sends it, in the time zone of the page."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(page.language.text("That is not a time.")) from None
    return time if time.tzinfo else time.replace(tzinfo=page.language.zone)


def names(page: Page, events: Iterable[StoredEvent]) -> dict[str, str]:
    """Event id → the name of its record; events without one are absent, for viewers all are."""
    if not page.manages:
        return {}
    found: dict[str, str] = {}
    labels: dict[tuple[str, str], Label] = {}  # rules may be a file
    for event in events:
        kind = event.source, event.name
        if kind not in labels:
            labels[kind] = page.admin.events.label(*kind)
        name = record_title(labels[kind], event.payload.get("data") or {}, page.language.code, event.record)
        if name:
            found[event.id] = name
    return found


async def names_of(page: Page, event_ids: Iterable[str]) -> dict[str, str]:
    """`names` of these events."""
    if not page.manages:
        return {}
    return names(page, await page.site.store.events_of(list(dict.fromkeys(event_ids))))


async def names_of_records(page: Page, records: Iterable[str | None]) -> dict[str, str]:
    """Record → its name, as its newest event has it."""
    newest = await page.admin.events.newest_of(list(dict.fromkeys(filter(None, records))))
    named = names(page, newest)
    return {event.record: named[event.id] for event in newest if event.id in named}


_HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class ShownRequest:
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def command(self) -> str:
        """Return the request as a shell command with curl."""
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        parts = [f"curl -X POST {shlex.quote(self.url)}", *headers, f"--data-raw {shlex.quote(self.body)}"]
        return " \\\n  ".join(parts)


def request_of(
    view: DeliveryView, event: StoredEvent, endpoint: Endpoint, at: datetime, labels: Labels
) -> ShownRequest | None:
    """Return the delivery's request as it is sent ``at`` that time; None where it is no request of HTTP, or its
    transform fails."""
    if scheme_of(endpoint.url) not in ("http", "https"):
        return None
    leased = LeasedDelivery(
        id=view.id,
        endpoint_id=endpoint.id,
        event_id=event.id,
        event_name=event.name,
        record=event.record,
        attempt=view.attempts,
        lease_until=at,
        body_event=orjson.dumps(event.payload),
    )
    settings = authentication_of(endpoint.authentication)
    hidden = [*(name for name, _ in endpoint.headers), *([settings.header] if settings else [])]
    shown = replace(endpoint, headers=tuple((name, _HIDDEN) for name in hidden), authentication="")
    try:
        request = build_request(leased, shown, at, labels)
    except TransformFailed:
        return None  # the attempts say why
    return ShownRequest(endpoint.url, request.headers, request.body.decode())


_PAGE = 50
_FILTERS = (*FIELDS, "text")
#: Parameters with the result of a bulk retry: how many are sent, and how many are not.
_RESULT: Final = ("sent", "refused")


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """``changed``: the column is among the previous values."""

    column: str
    before: str
    after: str
    changed: bool


async def deliveries(page: Page) -> web.StreamResponse:
    given = {name: page.query(name) for name in _FILTERS}
    choice = await endpoint_choice(page, given["endpoint"])
    given, problem = {**given, "endpoint": choice.chosen}, ""
    try:
        searched = await page.admin.deliveries.search(delivery_filter(page, given), _PAGE, page.query("before") or None)
    except UsageError as error:
        searched, problem = SearchPage([], None), page.language.error(error)
    named = [each.endpoint_id for each in searched.found]
    return page.render(
        "deliveries.html",
        deliveries=searched.found,
        names=await names_of(page, (each.event_id for each in searched.found)),
        removed=await page.admin.endpoints.removed([given["endpoint"], *named]),
        endpoints={
            **choice.known,
            **await page.admin.endpoints.by_ids(each for each in named if each not in choice.known),
        },
        choice=choice,
        given=given,
        states=list(DeliveryState),
        older=page.link("deliveries", **given, before=searched.further) if searched.further else "",
        looked=await oldest_scanned_at(page, searched),
        newest=page.link("deliveries", **given) if page.query("before") else "",
        problem=problem,
        again="" if problem else _again(page, given),
        later=await page.admin.deliveries.later(given["endpoint"]) if page.manages and given["endpoint"] else 0,
        most_hurried=MOST_HURRIED,
        done=_retried(page),
        before=page.query("before"),
        text_events=TEXT_EVENTS,
        suggestions=[] if searched.found else await meant(page, given, choice),
    )


async def oldest_scanned_at(page: Page, searched: SearchPage[Any]) -> datetime | None:
    """The time of the oldest event that a search looked at, when it ended there with more behind it."""
    if searched.looked is None:
        return None
    oldest = await page.site.store.events(1, after=searched.looked - 1)
    return oldest[0].time if oldest else None


def _again(page: Page, given: Mapping[str, str]) -> str:
    """Return the link to the replay of everything that fits; empty when there is none: a replay cannot search for a
    text, and unfinished deliveries are not sent again."""
    unfinished = [state for state in DeliveryState if not state.final]
    if not page.manages or given["text"] or given["state"] in unfinished or not any(given.values()):
        return ""
    return page.link("replays", "new", **given, count="1")


async def delivery(page: Page) -> web.StreamResponse:
    store, delivery_id = page.site.store, page.path("id")
    view = await page.admin.deliveries.get(delivery_id)
    event = await store.event(view.event_id)
    endpoint = await store.endpoint(view.endpoint_id)
    shown = event if page.manages else None
    now = page.site.clock.now()
    request = request_of(view, event, endpoint, now, page.admin.events.label) if shown and endpoint and event else None
    return page.render(
        "delivery.html",
        delivery=view,
        endpoint=endpoint,
        attempts=await store.attempts(delivery_id),
        event=shown,
        removed=await page.admin.endpoints.removed([view.endpoint_id]),
        names=names(page, [event] if event else []),
        payload=pretty(event.payload) if shown and event else "",
        differences=differences(event) if shown and event else [],
        request=request,
    )


def _retried(page: Page) -> str:
    """Return the result of `retry_chosen`, as a sentence."""
    sent, refused = (int(page.query(name)) if _SEQUENCE.fullmatch(page.query(name)) else 0 for name in _RESULT)
    plural = page.language.plural
    parts = (
        [plural("%(number)s delivery is sent again.", "%(number)s deliveries are sent again.", sent)] if sent else []
    )
    if refused:
        parts.append(
            plural(
                "%(number)s is not: it is being sent, waits for an earlier one, or cannot be sent again.",
                "%(number)s are not: they are being sent, wait for earlier ones, or cannot be sent again.",
                refused,
            )
        )
    return " ".join(parts)


async def retry_chosen(page: Page) -> web.StreamResponse:
    """Send the chosen deliveries again, and go back to the list."""
    form = await page.form()
    chosen = list(dict.fromkeys(form.getall("id", [])))
    refused = await page.admin.deliveries.retry_all(chosen)
    back = {name: form.get(name, "") for name in (*_FILTERS, "before")}
    result = dict(zip(_RESULT, (str(len(chosen) - len(refused)), str(len(refused))), strict=True))
    return page.see(page.link("deliveries", **back, **result))


async def retry_endpoint(page: Page) -> web.StreamResponse:
    """Send what waits for its next attempt at an endpoint, and go back to its page or its deliveries."""
    endpoint_id = page.path("id")
    await page.admin.deliveries.hurry(endpoint_id)
    if (await page.form()).get("to") == "deliveries":
        return page.see("/deliveries", notice="retried", endpoint=endpoint_id)
    return page.see(page.link("endpoints", endpoint_id), notice="retried")


async def resend(page: Page) -> web.StreamResponse:
    delivery_id = page.path("id")
    await page.admin.deliveries.retry(delivery_id)
    return page.see(page.link("deliveries", delivery_id), notice="resent")


def pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def differences(event: StoredEvent) -> list[ColumnDifference]:
    """Return each column of the record before and after; the changed ones first."""
    data: Mapping[str, Any] = event.payload.get("data") or {}
    previous: Mapping[str, Any] = event.payload.get("previous") or {}
    found = [
        ColumnDifference(name, value_text(previous.get(name, value)), value_text(value), name in previous)
        for name, value in data.items()
        if not isinstance(value, list)
    ]
    return sorted(found, key=lambda each: not each.changed)


def value_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_EVENT_FILTERS = (*EVENT_FIELDS, "text")
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_DELIVERIES = 200
#: Title → document; titles are names.
_FILES = (
    ("OpenAPI", "openapi.json"),
    ("AsyncAPI", "asyncapi.json"),
    ("JSON Schema", "schemas.json"),
    ("TypeScript", "events.d.ts"),
)


async def events(page: Page) -> web.StreamResponse:
    """The newest that fit, newest first."""
    given = {name: page.query(name) for name in _EVENT_FILTERS}
    before, problem = page.query("before"), ""
    try:
        searched = await _search_events(page, given, before)
    except UsageError as error:
        searched, problem = SearchPage([], None), page.language.error(error)
    return page.render(
        "events.html",
        events=searched.found,
        names=names(page, searched.found),
        older=page.link("events", **given, before=searched.further) if searched.further else "",
        looked=await oldest_scanned_at(page, searched),
        newest=page.link("events", **given) if before else "",
        given=given,
        problem=problem,
        text_events=TEXT_EVENTS,
        suggestions=[] if searched.found else events_meant(page, "events", given),
    )


async def _search_events(page: Page, given: Mapping[str, str], before: str) -> SearchPage[StoredEvent]:
    if before and not _SEQUENCE.fullmatch(before):
        raise UsageError(page.language.text("There is no such place in the log."))
    which = event_filter(page, given)
    return await page.admin.events.search(which, _PAGE, int(before) if before else None, oldest_first=False)


async def event(page: Page) -> web.StreamResponse:
    admin, event_id = page.admin, page.path("id")
    found = await admin.events.get(event_id)
    if found is None:
        raise NotFound(page.language.text("This event does not exist (any more)."))
    shown = page.manages
    deliveries = (await admin.deliveries.search(DeliveryFilter(event_id=event_id), _DELIVERIES)).found
    return page.render(
        "event.html",
        event=found,
        removed=await admin.endpoints.removed(each.endpoint_id for each in deliveries),
        names=names(page, [found]),
        deliveries=deliveries,
        endpoints=await admin.endpoints.by_ids(each.endpoint_id for each in deliveries),
        payload=pretty(found.payload) if shown else "",
        differences=differences(found) if shown else [],
    )


async def catalogue(page: Page) -> web.StreamResponse:
    words, lang, english = _folded(page.query("q")).split(), page.language, language("en", page.language.zone)
    kinds = []
    for each in page.admin.events.event_types():
        texts = lang.text(each.title), lang.text(each.when), lang.when(each.name), lang.event(each.name)
        text = _folded(" ".join((each.name, each.table, english.when(each.name), *texts)))
        if all(word in text for word in words):
            kinds.append(each)
    groups = [(entity, list(group)) for entity, group in groupby(kinds, key=lambda kind: kind.entity)]
    files = [(title, page.link("catalogue", "documents", file)) for title, file in _FILES]
    return page.render("catalogue.html", groups=groups, wanted=page.query("q"), files=files, english=english)


def _folded(text: str) -> str:
    """Return the text for a search without regard to case and accents."""
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(char))


async def kind(page: Page) -> web.StreamResponse:
    name = page.path("name")
    found = next((each for each in page.admin.events.event_types() if each.name == name), None)
    if found is None:
        meant = [each for each in page.admin.events.meant(name) if "*" not in each]
        links = [(each, page.link("catalogue", each)) for each in meant]
        return page.missing(page.language.text("There is no such event."), links)
    return page.render("event_kind.html", kind=found, example=pretty(found.example), schema=pretty(found.schema))


async def document(page: Page) -> web.StreamResponse:
    """Show the catalogue as a file for other programs."""
    name = page.path("file")
    if name not in DOCUMENTS:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    kind = "application/json" if name.endswith(".json") else "text/plain"
    body = page.admin.events.document(DOCUMENTS[name])
    return web.Response(body=body, content_type=kind, charset="utf-8")


#: Seconds between two looks.
_EVERY = 1.0
#: A page is notified at least this often (seconds): other processes may have done something.
_AT_LEAST = 5.0
#: Open pages that are notified, of all users.
_MOST = 100


class Live:
    def __init__(self) -> None:
        self._open = 0

    async def deliveries(self, page: Page) -> web.StreamResponse:
        return await self._serve(page, "attempts")

    async def events(self, page: Page) -> web.StreamResponse:
        return await self._serve(page, "events")

    async def _serve(self, page: Page, what: str) -> web.StreamResponse:
        if self._open >= _MOST:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many pages are open: reload this one by hand.")
        assert page.principal is not None, "a route with a role has a principal"
        with page.site.service.in_use.counted(Limited.LIVE_PAGES, page.principal.sources, page.actor):
            return await self._notify(page, what)

    async def _notify(self, page: Page, what: str) -> web.StreamResponse:
        self._open += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(page.request)
            with suppress(ConnectionError):  # the browser is gone: how nearly all of these end
                await _send_news(page, what, response)
            return response
        finally:
            self._open -= 1


async def _send_news(page: Page, what: str, response: web.StreamResponse) -> None:
    """Send news until the principal goes away, has signed out, or must set up a second factor."""
    never, quiet, before = asyncio.Event(), _AT_LEAST, page.site.process.progress()[what]
    while (principal := await page.site.auth.principal(page.request)) is not None and not principal.must_enrol:
        now = page.site.process.progress()[what]
        if now != before or quiet >= _AT_LEAST:
            # The count is of all sources, so users of some do not get it.
            number = 0 if page.principal is None or page.principal.sources else round((now - before) / _EVERY)
            await response.write(b"data: %s\n\n" % orjson.dumps({"number": number}))
            before, quiet = now, 0.0
        await page.site.clock.wait(never, _EVERY)
        quiet += _EVERY


def routes() -> tuple[Route, ...]:
    live = Live()
    return (
        Route("GET", "/deliveries", deliveries),
        Route("GET", "/deliveries/{id}", delivery),
        Route("POST", "/deliveries/retry", retry_chosen, Role.MANAGER),
        Route("POST", "/deliveries/{id}/resend", resend, Role.MANAGER),
        Route("POST", "/endpoints/{id}/retry", retry_endpoint, Role.MANAGER),
        Route("GET", "/events", events),
        Route("GET", "/events/{id}", event),
        Route("GET", "/catalogue", catalogue, catalogue=True),
        Route("GET", "/catalogue/{name}", kind, catalogue=True),
        Route("GET", "/catalogue/documents/{file}", document, catalogue=True),
        Route("GET", "/live/deliveries", live.deliveries),
        Route("GET", "/live/events", live.events),
    )
