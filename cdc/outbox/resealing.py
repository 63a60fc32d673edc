"""Brings what former versions stored to the form of today, a few rows at a time, beside all other work.

The place that was reached is in the outbox, so a restart continues.  Attempts had the path of their URL, and
so had events about failing endpoints; receivers repeat it in their answers.
"""

from __future__ import annotations

from typing import Final

import orjson

from cdc.model.endpoint import public_url, redacted
from cdc.model.event import OPERATIONS
from cdc.outbox.database import Database

#: The place of a part that is done.
_DONE: Final = -1
#: Operational events that hold a URL.
_ALERTS: Final = ("endpoint.failing", "endpoint.disabled", "endpoint.recovered")


async def reseal(db: Database, limit: int) -> bool:
    """Rewrite up to ``limit`` rows, and return whether there may be more."""
    await db.alone()  # another process that did the same would only repeat it
    places: dict[str, int] = dict(await db.rows("resealed"))
    for part, rewrite in (("attempts", _attempts), ("alerts", _alerts)):
        place = places.get(part, 0)
        if place != _DONE:
            with db.overwriting():
                reached = await rewrite(db, place, limit)
            await db.write("set_resealed", part=part, place=_DONE if reached is None else reached)
            return True
    return False


async def _attempts(db: Database, after: int, limit: int) -> int | None:
    """Return the last attempt that was read; None at the end."""
    rows = await db.rows("attempts_after", after=after, limit=limit)
    old = [row for row in rows if public_url(row[1]) != row[1]]
    if old:
        columns = {
            "id": [number for number, *_ in old],
            "url": [public_url(url) for _, url, _, _ in old],
            "error": [redacted(error, url) for _, url, error, _ in old],
            "answer": [redacted(answer, url) for _, url, _, answer in old],
        }
        await db.write_each("rewrite_attempt", columns)
    return rows[-1][0] if len(rows) == limit else None


async def _alerts(db: Database, after: int, limit: int) -> int | None:
    """Rewrite those that are delivered: a repeated request has the same body."""
    rows = await db.rows("alerts_after", after=after, limit=limit, source=OPERATIONS, names=list(_ALERTS))
    for sequence, payload in rows:
        content = orjson.loads(payload) if payload else {}
        url = content.get("data", {}).get("url", "")
        if url and public_url(url) != url:
            content["data"]["url"] = public_url(url)
            await db.write("rewrite_payload", sequence=sequence, payload=orjson.dumps(content))
    return rows[-1][0] if len(rows) == limit else None
