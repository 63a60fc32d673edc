"""Records by their names: the code, the customer and the amount in place of the key, for those who see payloads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cdc.dispatch.message import record_title
from cdc.outbox.base import StoredEvent
from cdc.pages.page import Page

if TYPE_CHECKING:
    from cdc.model.event import Label


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
