"""Events and deliveries in listings: the filters that they and replays have in common, and records by their names (the
code, the customer and the amount in place of the key), for those who see payloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Final

from cdc.dispatch.message import record_title
from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
from cdc.model.endpoint import Endpoint, EndpointFilter, shown_url
from cdc.model.errors import UsageError
from cdc.model.event import Label, check_pattern
from cdc.outbox.base import StoredEvent
from cdc.pages.page import Page, Refused

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
    known = await admin.of(each for each in (entered, *named) if each not in offered)
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
