"""Keeps the outbox from growing for ever, and in the form of today: in small steps, with pauses between, beside all
other work.

Events, deliveries and payloads are removed by age and number, or expunged by hand.  Attempts of former versions have
the path of their URL, and so have events about failing endpoints; receivers repeat it in their answers.  Row values are
sealed with the present key, or not at all (`cdc.outbox.secret_box`).  The place that was reached is in the outbox, so a
restart continues.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.audit import Note
from cdc.model.delivery import HOURS_KEPT, MINUTES_KEPT
from cdc.model.endpoint import public_url, redacted
from cdc.model.event import OPERATIONS
from cdc.outbox.audit import record
from cdc.outbox.base import Retained, Retention
from cdc.outbox.database import Database
from cdc.outbox.dispatch import rebalance
from cdc.outbox.secret_box import UNSEALED, no_key
from cdc.outbox.shared import no_event

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_EVER: Final = datetime.max.replace(tzinfo=UTC)


class RetentionCandidate(NamedTuple):
    """An event as retention looks at it.  ``kept``: it has a payload.  ``finished_at``, ``dead_at``: when the newest of
    its finished deliveries, and of its dead letters, was finished."""

    sequence: int
    time: datetime
    kept: bool
    unfinished: bool
    finished_at: datetime | None
    dead_at: datetime | None


@dataclass
class RetentionStep:
    """Sequences of events.  ``old``: deliveries of theirs that were finished before `Retention.finished_before` go, and
    they themselves when none is left.  ``surplus``: they go with all they have.  ``emptied``: their payloads go.
    ``after``: the last one looked at, None when nothing is to be done behind it."""

    old: list[int] = field(default_factory=list)
    surplus: list[int] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)
    after: int | None = None


def sort_out(what: Retention, looked: Sequence[RetentionCandidate], newest: int, limit: int) -> RetentionStep:
    """``looked``: up to ``limit`` events in order.  ``newest``: the greatest sequence that there is.

    Ends at the first event that is too young for everything: those behind it are younger, or will be looked at once it
    is old enough."""
    found = RetentionStep()
    beyond = newest - what.most_events if what.most_events else 0
    for event in looked:
        misdated = what.now is not None and event.time > what.now
        time = event.finished_at or event.time if misdated else event.time
        old = _before(time, what.finished_before)
        if not (old or event.sequence <= beyond or _before(time, what.payloads_before)):
            if misdated:  # the events that follow may be old
                continue
            return found
        if event.sequence <= beyond and (
            not event.unfinished
            and time < what.settled_before
            and (event.finished_at is None or event.finished_at < what.settled_before)
            and (event.dead_at is None or _before(event.dead_at, what.finished_before))
        ):
            found.surplus.append(event.sequence)
        elif old:
            found.old.append(event.sequence)
        if event.kept and not event.unfinished and _before(time, what.payloads_before):
            found.emptied.append(event.sequence)
    if len(looked) == limit:
        found.after = looked[-1].sequence
    return found


def _before(time: datetime, limit: datetime | None) -> bool:
    return limit is not None and time < limit


async def retain(db: Database, what: Retention, limit: int, after: int = 0) -> Retained:
    """Look at up to ``limit`` events, oldest first, after sequence ``after``, and remove the expired ones in one
    short transaction.  The newest event and delivery stay at any age, so that no number is used twice.
    A finished delivery is not opened again while this runs."""
    newest = int(await db.value("last_event"))
    rows = await db.rows("retention_look", after=after, newest=newest, limit=limit)
    found = sort_out(what, [RetentionCandidate(*row) for row in rows], newest, limit)
    gone = [
        number
        for events, before in ((found.old, what.finished_before or _NEVER), (found.surplus, _EVER))
        if events
        for (number,) in await db.rows("finished_of_events", events=events, before=before)
    ]
    if gone:
        await db.write("delete_attempts", ids=gone)
        await db.write("delete_deliveries", ids=gone)
    whole = found.old + found.surplus
    events = await db.write("delete_events", events=whole) if whole else 0
    payloads = await _empty(db, found.emptied) if found.emptied else 0
    return Retained(events, len(gone), payloads, found.after)


async def _empty(db: Database, events: Sequence[int]) -> int:
    """Payloads and answers; how many payloads there were."""
    await db.write("empty_answers", events=events)
    return await db.write("empty_payloads", events=events)


async def expunge(db: Database, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
    """Empty payloads, and what endpoints answered to them, for good, and cancel the unfinished deliveries; how many
    there were of these.  Raises `UsageError`, and changes nothing, when one of the events is not there;
    `OutboxError` when they are emptied but the disk may still hold what they were: call it again."""
    found: dict[str, int] = dict(await db.rows("sequences", ids=event_ids))
    for event_id in event_ids:
        if event_id not in found:
            raise no_event(event_id)
    sequences = list(found.values())
    ended = await db.rows("cancel_events", events=sequences, now=now)
    await rebalance(db, {(endpoint, lane) for endpoint, lane in ended})
    with db.overwriting():
        await _empty(db, sequences)
    if ended:
        db.due()
    await record(db, note)
    return len(ended)


async def forget_answers(db: Database, deliveries: Sequence[int | None]) -> None:
    """Remove the answers to deliveries that were expunged while they were being sent."""
    with db.overwriting():
        await db.write("forget_answers", ids=deliveries)


async def gather_activity(db: Database, since: datetime, now: datetime) -> None:
    """Combine the counters by minute that are later than ``since`` and older than two hours into counters by hour,
    and remove those that are older than 400 days."""
    before = (now - MINUTES_KEPT).replace(minute=0, second=0, microsecond=0)
    await db.alone()  # another process that gathers the same minutes would count them twice
    for name in ("gather_activity", "drop_minutes"):
        await db.write(name, since=since, before=before)
    await db.write("forget_activity", before=now - HOURS_KEPT)


_DONE: Final = "done"
#: The form of rows without paths of URLs.
_PUBLIC: Final = "public"
#: Operational events that hold a URL.
_ALERTS: Final = ("endpoint.failing", "endpoint.disabled", "endpoint.recovered")
#: Begins the names of rows that tell which former key contents may still need.
_FORMER: Final = "former "


async def reseal(db: Database, limit: int) -> bool:
    """Rewrite up to ``limit`` rows that a former version stored, or whose values are not sealed as configured;
    return whether there may be more."""
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


async def reseal_pending(db: Database) -> bool:
    """Return whether row values may be stored that are not sealed as configured."""
    places: dict[str, str] = dict(await db.rows("resealed"))
    wanted = {name: f"{part.form(db)}:{_DONE}" for name, part in _CONTENTS.items()}
    return any(places.get(name, _CONTENTS[name].first) != place for name, place in wanted.items())


async def restart_resealing(db: Database) -> None:
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


async def _snapshot_rows(db: Database, place: str, limit: int) -> str | None:
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
    for name, rewrite in (
        ("payloads", _payloads),
        ("answers", _answers),
        ("quarantine", _quarantined),
        ("kept", _snapshot_rows),
    )
}
_PARTS: Final = {
    "attempts": _Part(_attempts, lambda _: _PUBLIC, f"{_PUBLIC}:"),
    "alerts": _Part(_alerts, lambda _: _PUBLIC, f"{_PUBLIC}:"),
    **_CONTENTS,
}
