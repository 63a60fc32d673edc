"""Records: found by key, code or name; the history of one, with what changed and what was sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from cdc.admin.deliveries import RecordChange
from cdc.model.delivery import TEXT_EVENTS
from cdc.model.endpoint import shown_url
from cdc.model.errors import UsageError
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import ColumnDifference, names, oldest_scanned_at, value_text

_SEQUENCE: Final = re.compile(r"[0-9]{1,18}")
_EVENTS: Final = 50
#: Deliveries of one event that are shown; the others are behind a link.
_DELIVERIES: Final = 8
_PREFIXES: Final = {"evt_": "events", "dlv_": "deliveries"}


async def records(page: Page) -> web.StreamResponse:
    """Find a record; where a text means one only, go there.  The whole code or name first, then what begins with it.
    Viewers, who do not see names, search by key."""
    text, place, begins = page.query("search"), _place(page), bool(page.query("begins"))
    section = _PREFIXES.get(text[:4])
    if section is not None:
        return page.see(page.link(section, text))
    found: SearchPage[StoredEvent] = SearchPage([], None)
    problem = ""
    if text and not page.manages and ":" not in text:
        problem = page.language.text("Only managers search by code and name. Enter table and key: facturascli:12.")
    elif text:
        try:
            found = await page.admin.records.find(text, place, whole=not begins)
            if not found.found and found.further is None and place is None and not begins:
                begins = True
                found = await page.admin.records.find(text, whole=False)
        except UsageError as error:
            problem = page.language.error(error)
    if len(found.found) == 1 and found.further is None and place is None:
        (only,) = found.found
        return page.see(page.link("records", only.source, only.record))
    given = {"search": text, "begins": "1" if begins else ""}
    return page.render(
        "records.html",
        search=text,
        records=found.found,
        names=names(page, found.found),
        problem=problem,
        text_events=TEXT_EVENTS,
        looked=await oldest_scanned_at(page, found),
        older=page.link("records", **given, before=found.further) if found.further else "",
        newest=page.link("records", **given) if place is not None else "",
        others=page.link("records", search=text, begins="1") if found.found and not begins and page.manages else "",
    )


async def record(page: Page) -> web.StreamResponse:
    source, key, place = page.path("source"), page.path("record"), _place(page)
    history = await page.admin.records.history(source, key, _EVENTS, place)
    if not history.found and history.further is None and place is None:
        elsewhere = (await page.admin.records.find(key, whole=True)).found if ":" in key else []
        links = [
            (f"{each.record} · {each.source}", page.link("records", each.source, each.record)) for each in elsewhere
        ]
        return page.missing(page.language.text("No event of this record is stored."), links)
    newest = history.found[0].events[-1] if history.found else None
    endpoints = {view.endpoint_id for change in history.found for sent in change.deliveries.values() for view in sent}
    link = str(newest.payload.get("links", {}).get("record", "")) if newest and page.manages else ""
    return page.render(
        "record.html",
        source=source,
        record=key,
        name=names(page, [newest]).get(newest.id, "") if newest else "",
        link=link if urlsplit(link).scheme in ("http", "https") else "",
        changes=[(change, _columns(change) if page.manages else ()) for change in history.found],
        most=_DELIVERIES,
        endpoint_names=await _endpoint_names(page, endpoints),
        looked=await oldest_scanned_at(page, history),
        older=page.link("records", source, key, before=history.further) if history.further else "",
        newest=page.link("records", source, key) if place is not None else "",
    )


def _columns(change: RecordChange) -> Sequence[ColumnDifference]:
    return [
        ColumnDifference(name, value_text(before), value_text(after), changed=True)
        for name, before, after in change.columns or ()
    ]


async def _endpoint_names(page: Page, ids: Collection[str]) -> Mapping[str, str]:
    present, removed = await page.admin.endpoints.by_ids(ids), await page.admin.endpoints.removed(ids)
    shown = {each.id: each.description or shown_url(each) for each in present.values()}
    return {each: shown.get(each) or removed.get(each) or each for each in ids}


def _place(page: Page) -> int | None:
    """Return where the page before ended.  Raises `UsageError`."""
    before = page.query("before")
    if before and not _SEQUENCE.fullmatch(before):
        raise UsageError(page.language.text("There is no such place in the log."))
    return int(before) if before else None


ROUTES: Final = (
    Route("GET", "/records", records),
    Route("GET", "/records/{source}/{record}", record),
)
