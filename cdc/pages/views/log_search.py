"""Filters of events and deliveries: the fields that listings and replays have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Final

from cdc.dispatch.address import public_url
from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
from cdc.model.endpoint import Endpoint
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern
from cdc.pages.page import Page, Refused

#: The fields of events, and those that deliveries have besides.
EVENT_FIELDS: Final = ("event", "record", "since", "until")
FIELDS: Final = (*EVENT_FIELDS, "endpoint", "state")
_EVENT_ID = "evt_"


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
        since=_time(page, given["since"]),
        until=_time(page, given["until"]),
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


def meant(page: Page, given: Mapping[str, str], endpoints: Mapping[str, Endpoint]) -> list[tuple[str, str]]:
    """Suggestions for a search that found nothing: text → path."""
    wanted = given["endpoint"]
    near = [] if wanted in endpoints else endpoints_meant(wanted, endpoints)
    others = [(name, _search(page, "deliveries", given, endpoint=each)) for each, name in near]
    return [*events_meant(page, "deliveries", given), *others]


def events_meant(page: Page, section: str, given: Mapping[str, str]) -> list[tuple[str, str]]:
    event = given["event"]
    if not event or event.startswith(_EVENT_ID):
        return []
    return [(each, _search(page, section, given, event=each)) for each in page.admin.events.meant(event)]


def endpoints_meant(wanted: str, endpoints: Mapping[str, Endpoint]) -> list[tuple[str, str]]:
    """Id and name of endpoints whose id or name is like this."""
    names = {each.id: each.description or public_url(each.url) for each in endpoints.values()}
    words = {word.lower(): each for each, name in names.items() for word in (each, name)}
    found = dict.fromkeys(words[word] for word in get_close_matches(wanted.lower(), words))
    return [(each, names[each]) for each in found]


def _search(page: Page, section: str, given: Mapping[str, str], **changed: str) -> str:
    return page.link(section, **{**given, **changed})


def _time(page: Page, text: str) -> datetime | None:
    """Parse a time as a browser's field for date and time sends it, in the time zone of the page."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(page.language.text("That is not a time.")) from None
    return time if time.tzinfo else time.replace(tzinfo=page.language.zone)
