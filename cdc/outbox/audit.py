"""Entries of the audit log, in the transaction of what they record, each chained to the one before
(`cdc.model.audit`); and counts of what has a limit (`cdc.model.quota`), in the transaction that adds to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from cdc.model.audit import BEFORE_ALL, AuditChain, AuditEntry, ChainKey, Mark, Note
from cdc.model.errors import OutboxError
from cdc.model.quota import Limited, Quota, Usage
from cdc.outbox.database import Database
from cdc.outbox.secret_box import SEALED, SecretBox

D = TypeVar("D", bound=Database)
P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[D, P], Coroutine[Any, Any, T]]

#: Entries that are hashed together where a log without hashes is found.
_BATCH: Final = 1000
_KEY_BYTES: Final = 32


async def append(db: Database, entry: AuditEntry) -> int:
    """Return the number that the entry got.  Call `Database.alone` before: entries are numbered as they commit, and
    nobody adds what the limits of one count.  Raises `LimitReached`."""
    await check_quotas(db, entry.within, entry.at)
    chain, last = await begin(db, entry.at)
    return await _add(db, chain, last, entry)


def noting(note: Note, work: Work[D, P, T]) -> Work[D, P, T]:
    """Return ``work`` followed by the entries, for one transaction."""

    @wraps(work)
    async def noted(db: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = await work(db, *args, **kwargs)
        await record(db, note)
        return result

    return noted


async def record(db: Database, note: Note) -> None:
    """Append the entries of a change, at its end: the lock that this takes is then held shortly."""
    if note:
        await db.alone()
    for entry in note:
        await append(db, entry)


async def check_quotas(db: Database, within: Sequence[Quota], now: datetime) -> None:
    """Raise `LimitReached` where a holder has more than it may.  Call `Database.alone` before: others must not add at
    the same time."""
    for quota in within:
        holder = {"source": quota.source, "principal": quota.principal}
        rows = await db.rows("quota_usage", kind=quota.kind.value, now=now, **holder)
        if sum(row[-1] for row in rows) + quota.following > quota.most:
            raise quota.refusal()


async def usage(db: Database, now: datetime) -> list[Usage]:
    """Return how much sources and principals have of what has a limit under ``[limits]``."""
    rows = await db.rows("quota_usage", kind=None, source=None, principal=None, now=now)
    return [Usage(Limited(kind), source, principal, number) for kind, source, principal, number in rows]


async def chain_of(db: Database) -> tuple[AuditChain, int]:
    """Return the chain's marks and key, and the number of the last entry, with a hash or without.  Raises
    `OutboxError` when no configured key opens that of the chain."""
    marks = {name: Mark(number, hash_, seal) for name, number, hash_, seal in await db.rows("audit_chain")}
    last = marks.pop("last").number
    key = marks.get("key")
    return AuditChain(marks.get("head"), marks.get("anchor"), None if key is None else _opened(db.box, key.seal)), last


async def needs_chain(db: Database) -> bool:
    """Return whether the chain of an existing log has yet to `begin`, or to get its key."""
    chain, last = await chain_of(db)
    return last > 0 and (chain == AuditChain() or (chain.key is None and bool(db.box)))


async def begin(db: Database, now: datetime) -> tuple[AuditChain, int]:
    """Return `chain_of` as far as it can be trusted, after giving a log without a chain its chain, and its key once one
    is configured: a random one, which is stored encrypted, so that it stays when the configured key changes."""
    found, last = await chain_of(db)
    chain = found.trusted()
    if chain.head is not None and (chain.key is not None or not db.box):
        return chain, last
    is_new = found == AuditChain() and not await db.value("any_audit_hash")
    if not is_new and (chain.key is not None or not db.box):
        return chain, last
    if db.box:
        secret, since = secrets.token_bytes(_KEY_BYTES), 1 if is_new else last + 1
        chain = replace(chain, key=ChainKey(secret, since))
        sealed = _key_box(db.box).seal(json.dumps({"key": secret.hex(), "since": since}))
        await _set_mark(db, "key", Mark(since, "", sealed))
    if is_new:
        chain = await _hash_all(db, chain)
    else:
        chain = replace(chain, head=await _again(db, chain, "head"), anchor=await _again(db, chain, "anchor"))
    if last:  # says in the log itself from when on its entries are chained so
        detail = {"entries": last, "key": bool(db.box)} if is_new else {"key": True}
        await _add(db, chain, last, AuditEntry(now, "cdc", "audit.chain", "audit", detail))
        return await chain_of(db)
    return chain, last


async def _hash_all(db: Database, chain: AuditChain) -> AuditChain:
    """Hash all entries that there are."""
    former, after, anchor = "", BEFORE_ALL, 0
    while rows := await db.rows("audit_after", after=after, limit=_BATCH, **NO_TERMS):
        anchor = rows[0][0] - 1 if after == BEFORE_ALL else anchor
        hashes = []
        for number, at, actor, action, subject, detail, *_ in rows:
            former = chain.hash(number, AuditEntry(at, actor, action, subject, json.loads(detail)), former)
            hashes.append(former)
        numbers = [row[0] for row in rows]
        await db.write_each("set_audit_hash", {"number": numbers, "hash": hashes})
        after = numbers[-1]
    chain = replace(chain, anchor=chain.mark("anchor", anchor, ""), head=chain.mark("head", max(after, 0), former))
    for name, mark in (("anchor", chain.anchor), ("head", chain.head)):
        assert mark is not None, "both were made just now"
        await _set_mark(db, name, mark)
    return chain


async def _again(db: Database, chain: AuditChain, name: str) -> Mark | None:
    """Seal a mark with the present key of the chain."""
    mark: Mark | None = getattr(chain, name)
    if mark is not None:
        mark = chain.mark(name, mark.number, mark.hash)
        await _set_mark(db, name, mark)
    return mark


async def _add(db: Database, chain: AuditChain, last: int, entry: AuditEntry) -> int:
    head = chain.head or Mark(0, "-")  # somebody changed or removed it: the entry will fit none before
    number, stored = max(last, head.number) + 1, replace(entry, detail=json.loads(entry.detail_json()))
    hash_ = chain.hash(number, stored, head.hash)
    await db.write(
        "insert_audit",
        number=number,
        recorded_at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail_json(),
        hash=hash_,
    )
    await _set_mark(db, "head", chain.mark("head", number, hash_))
    return number


async def forget(db: Database, until: datetime, limit: int) -> int:
    """Remove up to ``limit`` of the oldest entries made before ``until``, and set the anchor to the last of them."""
    chain = (await chain_of(db))[0].trusted()
    rows = await db.rows("audit_after", after=BEFORE_ALL, limit=limit, **NO_TERMS)
    removed = await db.write("forget_audit", until=until, limit=limit)
    if removed and chain.anchor is not None:
        hashes = [chain.anchor.hash, *(hash_ for *_, hash_, _ in rows[:removed] if hash_)]
        await _set_mark(db, "anchor", chain.mark("anchor", rows[removed - 1][0], hashes[-1]))
    return removed


async def _set_mark(db: Database, name: str, mark: Mark) -> None:
    await db.write("set_audit_mark", name=name, number=mark.number, hash=mark.hash, seal=mark.seal)


# -- the key ----------------------------------------------------------------------------------------------------------


def _key_box(box: SecretBox) -> SecretBox:
    """Return the box that seals the key: another than seals what users choose, who with the database could put a value
    of their own in its place."""
    return box.derived("key of the audit log's chain")


@lru_cache(maxsize=8)
def _opened(box: SecretBox, seal: str) -> ChainKey:
    """Return the key.  Cached: deriving and opening take longer than the hash of an entry."""
    if not seal.startswith(SEALED):
        raise OutboxError(
            "The key of the audit log's chain was replaced by one that is not encrypted.",
            "Somebody changed the outbox: restore its table audit_chain from a backup.",
        )
    stored = json.loads(_key_box(box).open(seal))
    return ChainKey(bytes.fromhex(stored["key"]), int(stored["since"]))


async def seal_key(db: Database, *, dry_run: bool) -> int:
    """Encrypt the chain's key with the present configured key if a former one did, and return how many there were.
    Raises `OutboxError` when none opens it."""
    (stored,) = [seal for name, _, _, seal in await db.rows("audit_chain") if name == "key"] or ("",)
    box = _key_box(db.box)
    if not box.stale(stored):
        return 0
    key = (await chain_of(db))[0].key
    assert key is not None, "it was found just now"
    if not dry_run:
        await _set_mark(db, "key", Mark(key.since, "", box.seal(box.open(stored))))
    return 1


#: Terms of ``audit_after`` that do not narrow.
NO_TERMS: Final = {"actor": None, "action": None, "subject": None, "since": None, "until": None}
