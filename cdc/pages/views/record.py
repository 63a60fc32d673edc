"""Records by their names: the code, the customer and the amount in place of the key, for those who see payloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from cdc.outbox.base import StoredEvent
from cdc.pages.language import Language
from cdc.pages.page import Page

if TYPE_CHECKING:
    from cdc.admin.events import Label

#: The column in which FacturaScripts says what money an amount is.
_CURRENCY: Final = "coddivisa"
#: Characters of a code or a name that are shown.
_LONGEST: Final = 80


def names(page: Page, events: Iterable[StoredEvent]) -> dict[str, str]:
    """Event id → the name of its record; events without one are absent, for viewers all are."""
    if not page.manages:
        return {}
    found: dict[str, str] = {}
    labels: dict[tuple[str, str], Label] = {}  # rules may be a file
    for event in events:
        kind = event.source, event.name
        if kind not in labels:
            labels[kind] = page.admin.events.label(event)
        name = record_name(labels[kind], event.payload.get("data") or {}, page.language, event.record)
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


def record_name(label: Label, data: Mapping[str, Any], language: Language, key: str = "") -> str:
    """Return ``FAC2026A12 · Talleres Ruiz · 423,50 €``, or what the row has.  ``key``: comes before an amount alone."""
    texts = [_text(data.get(column)) for column in (label.code, label.name)]
    total = data.get(label.total)
    money = language.money(total, _text(data.get(_CURRENCY))) if isinstance(total, int | float) else ""
    if money and not any(texts):
        texts = [key]
    return " · ".join(filter(None, [*texts, money]))


def _text(value: object) -> str:
    text = value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
