"""The audit log for readers: pages, exports, and the check of its chain and of a former export."""

from __future__ import annotations

import csv
import hmac
import io
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cdc.access.base import AccessStore
from cdc.access.model import AuditFilter
from cdc.model.audit import BEFORE_ALL, AuditChain, AuditEntry, ChainCheck, Mark, RecordedEntry
from cdc.model.errors import UsageError
from cdc.model.event import format_time

#: Entries that are held at once.
_PAGE: Final = 500
#: How often a log that is being cut is read again.
_READINGS: Final = 3
#: Formats of an export → content type.
FORMATS: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_COLUMNS: Final = ("number", "at", "actor", "action", "subject", "detail", "previous", "hash")
#: A cell that begins so is a formula for a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def entry_as_json(each: RecordedEntry) -> dict[str, Any]:
    """Return an entry as exports, API and ``--json`` have it."""
    return {
        "number": each.number,
        "at": format_time(each.entry.at),
        "actor": each.entry.actor,
        "action": each.entry.action,
        "subject": each.entry.subject,
        "detail": dict(each.entry.detail),
        "previous": each.former,
        "hash": each.hash,
    }


async def exported(store: AccessStore, which: AuditFilter, kind: str) -> AsyncIterator[str]:
    """Return the lines of an export, oldest entry first, a page at a time.  The last line of JSON lines has the number
    of entries, and a seal over it and the last entry's hash: so a cut file shows."""
    if kind == "csv":
        yield _csv([_COLUMNS])
    entries, last = 0, Mark(BEFORE_ALL, "")
    while page := await store.audit_after(which, _PAGE, last.number):
        shown = [entry_as_json(each) for each in page]
        if kind == "csv":
            yield _csv([_safe(each[name]) for name in _COLUMNS] for each in shown)
        else:
            yield "".join(json.dumps(each) + "\n" for each in shown)
        entries, last = entries + len(page), Mark(page[-1].number, page[-1].hash)
    if kind != "csv":
        end = (await store.audit_chain()).mark("export", entries, last.hash)
        yield json.dumps({"entries": entries, "seal": end.seal}) + "\n"


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _safe(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


async def verify(store: AccessStore) -> ChainCheck:
    """Check the chain of the whole log.  What others append or remove in between is read again."""
    for _ in range(_READINGS):
        begun = chain = await store.audit_chain()
        check, after = ChainCheck(chain), BEFORE_ALL
        while True:
            page = await store.audit_after(AuditFilter(), _PAGE, after)
            for each in page:
                check.add(each)
                after = each.number
            if not page:
                now = await store.audit_chain()
                if now.head == chain.head:
                    break
                check.chain = chain = now
        check.end(chain)
        if not check.broken or chain.anchor == begun.anchor:
            break
    return check


@dataclass(slots=True)
class FileCheck:
    """``broken``: a sentence about the first problem of an export; empty: none.  ``whole``: no entry is left out
    between the first and the last."""

    entries: int = 0
    first: int = 0
    last: int = 0
    whole: bool = True
    without_hash: int = 0
    broken: str = ""


async def verify_export(store: AccessStore, lines: Iterable[str]) -> FileCheck:
    """Check the hashes and the end of an export in JSON lines, and that the log still has its last entry: so a log that
    was replaced since shows.  Raises `UsageError` for another file."""
    chain, found = await store.audit_chain(), FileCheck()
    former, end = "", None
    for line, row in enumerate(lines, 1):
        each = _read(line, row)
        if end is not None:
            found.broken = found.broken or f"Line {line} is after the end of the export."
        elif isinstance(each, Mark):
            end = each
        else:
            found.broken = found.broken or _wrong(chain, line, each, found.last, former)
            found.whole = found.whole and found.last in (0, each.number - 1)
            found.without_hash += not each.hash
            found.first, found.last, former = found.first or each.number, each.number, each.hash
            found.entries += 1
    if found.broken:
        return found
    if end is None:
        found.broken = "The last line is missing, which has the number of entries: the file was cut."
    elif end.number != found.entries or not hmac.compare_digest(
        end.seal, chain.mark("export", end.number, former).seal
    ):
        found.broken = f"The file has {found.entries} entries, and the export had others: lines were removed or put in."
    elif found.last > (chain.anchor.number if chain.anchor is not None else 0):
        stored = await store.audit_after(AuditFilter(), 1, found.last - 1)
        if not stored or (stored[0].number, stored[0].hash) != (found.last, former):
            found.broken = (
                f"The log does not have entry {found.last} of the file any more, or another one in its place."
            )
    return found


def _wrong(chain: AuditChain, line: int, each: RecordedEntry, last: int, former: str) -> str:
    if each.number <= last:
        return f"Line {line}: entry {each.number} is not after entry {last}."
    moved = each.number == last + 1 and bool(former) and each.former != former
    if each.hash and (moved or each.hash != chain.hash(each.number, each.entry, each.former)):
        return f"Line {line}: entry {each.number} was changed, put in or moved."
    return ""


def _read(line: int, text: str) -> RecordedEntry | Mark:
    """Return the entry of a line; of the last line its number of entries and seal."""
    try:
        row = json.loads(text)
        if "entries" in row:
            return Mark(int(row["entries"]), "", str(row["seal"]))
        entry = AuditEntry(
            datetime.fromisoformat(row["at"]), row["actor"], row["action"], row["subject"], row["detail"]
        )
        return RecordedEntry(int(row["number"]), entry, str(row["hash"]), str(row["previous"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"Line {line} is no entry of an audit log.", "Name an export in JSON lines.") from None
