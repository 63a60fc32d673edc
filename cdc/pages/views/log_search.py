"""Which deliveries of the log a visitor asks for: the fields that listings and replays have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from cdc.dispatch.address import public_url
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.errors import UsageError
from cdc.model.log_filter import DeliveryFilter
from cdc.model.pattern import check_pattern
from cdc.pages.page import Page

FIELDS: Final = ("event", "record", "endpoint", "state", "since", "until")
_EVENT_ID = "evt_"


def delivery_filter(page: Page, given: Mapping[str, str]) -> DeliveryFilter:
    """``given``: each of `FIELDS`, empty where it does not narrow; ``text`` may be there.  Raises `UsageError`."""
    event = given["event"]
    is_id = event.startswith(_EVENT_ID)
    state = given["state"]
    if state and state not in list(DeliveryState):
        raise UsageError(page.language.text("There is no such state."))
    return DeliveryFilter(
        endpoint_id=given["endpoint"] or None,
        event_id=event if is_id else None,
        event_pattern=check_pattern(event) if event and not is_id else None,
        record=given["record"] or None,
        state=DeliveryState(state) if state else None,
        since=_time(page, given["since"]),
        until=_time(page, given["until"]),
        text=given.get("text") or None,
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
    """As a browser's field for date and time sends it, in the time zone of the page."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(page.language.text("That is not a time.")) from None
    return time if time.tzinfo else time.replace(tzinfo=page.language.zone)
