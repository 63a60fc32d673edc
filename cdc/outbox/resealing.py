"""Brings what is stored to the form of today, a few rows at a time, beside all other work.

Attempts of former versions have the path of their URL, and so have events about failing endpoints; receivers repeat it
in their answers.  Row values are sealed with the present key, or not at all (`cdc.outbox.secret_box`).  The place that
was reached is in the outbox, so a restart continues.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.endpoint import public_url, redacted
from cdc.model.event import OPERATIONS
from cdc.outbox.database import Database
from cdc.outbox.secret_box import UNSEALED, no_key

_DONE: Final = "done"
#: The form of rows without paths of URLs.
_PUBLIC: Final = "public"
#: Operational events that hold a URL.
_ALERTS: Final = ("endpoint.failing", "endpoint.disabled", "endpoint.recovered")
#: Begins the names of rows that tell which former key contents may still need.
_FORMER: Final = "former "


async def reseal(db: Database, limit: int) -> bool:
    """Rewrite up to ``limit`` rows, and return whether there may be more."""
    await db.alone()  # another process that did the same would only repeat it
    places: dict[str, str] = dict(await db.rows("resealed"))
    for name, part in _PARTS.items():
        form = part.form(db)
        its, _, place = places.get(name, part.first).partition(":")
        if (its, place) == (form, _DONE):
            continue
        if its != form:
            await db.write("set_resealed", part=f"{_FORMER}{name} {its}", place=f"{its}:")
            place = ""
        with db.overwriting():
            reached = await part.rewrite(db, place, limit)
        await db.write("set_resealed", part=name, place=f"{form}:{_DONE if reached is None else reached}")
        if reached is None:
            await db.write("forget_resealed", former=f"{_FORMER}{name} %")
        return True
    return False


async def is_pending(db: Database) -> bool:
    """Return whether row values may be stored in another form than the present one."""
    places: dict[str, str] = dict(await db.rows("resealed"))
    wanted = {name: f"{part.form(db)}:{_DONE}" for name, part in _CONTENTS.items()}
    return any(places.get(name, _CONTENTS[name].first) != place for name, place in wanted.items())


async def restart(db: Database) -> None:
    """Have all row values read again: processes with a former key may have stored some since."""
    for name, place in await db.rows("resealed"):
        form = db.box.contents.form
        if name in _CONTENTS and place.partition(":")[0] == form:
            await db.write("set_resealed", part=name, place=f"{form}:")


async def check_keys(db: Database) -> None:
    """Raise `OutboxError` when row values may need a key that is not configured: nothing is leased then."""
    for name, place in await db.rows("resealed"):
        if name.startswith(_FORMER) or name in _CONTENTS:
            form = place.partition(":")[0]
            if form != _PUBLIC and not db.box.contents.knows(form):
                raise no_key()


# -- parts: each returns the place that it reached, None at the end ---------------------------------------------------


async def _attempts(db: Database, place: str, limit: int) -> str | None:
    rows = await db.rows("attempts_after", after=int(place or 0), limit=limit)
    old = [row for row in rows if public_url(row[1]) != row[1]]
    if old:
        opened, seal = db.box.contents.open_text, db.box.contents.seal_text
        columns = {
            "id": [number for number, *_ in old],
            "url": [public_url(url) for _, url, _, _ in old],
            "error": [redacted(error, url) for _, url, error, _ in old],
            "answer": [seal(redacted(opened(answer), url)) for _, url, _, answer in old],
        }
        await db.write_each("rewrite_attempt", columns)
    return str(rows[-1][0]) if len(rows) == limit else None


async def _alerts(db: Database, place: str, limit: int) -> str | None:
    """Rewrite those that are delivered: a repeated request has the same body."""
    names = list(_ALERTS)
    rows = await db.rows("alerts_after", after=int(place or 0), limit=limit, source=OPERATIONS, names=names)
    for sequence, payload in rows:
        content = orjson.loads(db.box.contents.open(payload)) if payload else {}
        url = content.get("data", {}).get("url", "")
        if url and public_url(url) != url:
            content["data"]["url"] = public_url(url)
            sealed = db.box.contents.seal(orjson.dumps(content))
            await db.write_each("rewrite_payload", {"sequence": [sequence], "payload": [sealed]})
    return str(rows[-1][0]) if len(rows) == limit else None


async def _payloads(db: Database, place: str, limit: int) -> str | None:
    rows = await db.rows("payloads_after", after=int(place or 0), limit=limit)
    its = db.box.contents
    old = [(sequence, payload) for sequence, payload in rows if not its.is_current(payload)]
    if old:
        columns = {"sequence": [each[0] for each in old], "payload": [its.seal(its.open(each[1])) for each in old]}
        await db.write_each("rewrite_payload", columns)
        if its.sealing:
            await db.write("forget_labels", sequences=columns["sequence"])
    return str(rows[-1][0]) if len(rows) == limit else None


async def _answers(db: Database, place: str, limit: int) -> str | None:
    rows = await db.rows("attempts_after", after=int(place or 0), limit=limit)
    its = db.box.contents
    old = [row for row in rows if not its.is_current_text(row[3])]
    if old:
        answers = [its.seal_text(its.open_text(answer)) for *_, answer in old]
        columns = {"id": [row[0] for row in old], "url": [row[1] for row in old], "error": [row[2] for row in old]}
        await db.write_each("rewrite_attempt", {**columns, "answer": answers})
    return str(rows[-1][0]) if len(rows) == limit else None


async def _quarantined(db: Database, place: str, limit: int) -> str | None:
    rows = await db.rows("quarantined_after", after=place, limit=limit)
    its = db.box.contents
    for number, *texts in rows:
        if not all(its.is_current_text(text or "") for text in texts):
            key, before, after = (text and its.seal_text(its.open_text(text)) for text in texts)
            await db.write("rewrite_quarantined", id=number, row_key=key, image_before=before, image_after=after)
    return str(rows[-1][0]) if len(rows) == limit else None


async def _kept(db: Database, place: str, limit: int) -> str | None:
    source, table, key = orjson.loads(place) if place else ("", "", "")
    which = {"source": source, "table": table, "key": bytes.fromhex(key)}
    rows = await db.rows("kept_after", **which, limit=limit)
    its = db.box.contents
    for source, table, found, content in rows:
        if not its.is_current(content):
            sealed = its.seal(its.open(content))
            await db.write("rewrite_kept", source=source, table=table, key=found, content=sealed)
    last = rows[-1] if len(rows) == limit else None
    return None if last is None else orjson.dumps([last[0], last[1], last[2].hex()]).decode()


class _Part(NamedTuple):
    """``form``: of rows of today.  ``first``: form and place where nothing is noted."""

    rewrite: Callable[[Database, str, int], Coroutine[Any, Any, str | None]]
    form: Callable[[Database], str]
    first: str


def _contents_form(db: Database) -> str:
    return db.box.contents.form


_CONTENTS: Final = {
    name: _Part(rewrite, _contents_form, f"{UNSEALED}:{_DONE}")
    for name, rewrite in (("payloads", _payloads), ("answers", _answers), ("quarantine", _quarantined), ("kept", _kept))
}
_PARTS: Final = {
    "attempts": _Part(_attempts, lambda _: _PUBLIC, f"{_PUBLIC}:"),
    "alerts": _Part(_alerts, lambda _: _PUBLIC, f"{_PUBLIC}:"),
    **_CONTENTS,
}
