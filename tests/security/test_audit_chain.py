"""Who writes to the outbox's tables changes no entry of the audit log unseen: the first broken one is named."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdc.access.base import AccessStore
from cdc.access.model import AuditFilter
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.admin.audit_log import entry_as_json, exported, verify, verify_export
from cdc.model.audit import AuditChain
from cdc.model.errors import OutboxError
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.accesses import EVERYTHING, actions, entry, recorded
from support.outboxes import at, endpoint

KEY, LATER = new_key(), new_key()
ENTRIES = 12


@dataclass
class Log:
    """A log of `ENTRIES` entries, and its tables for an attacker.  ``opened``: another process's store of it."""

    store: AccessStore
    sql: Callable[[str], list[Sequence[Any]]]
    opened: Callable[..., AccessStore]

    async def broken(self, *keys: str) -> str:
        return (await verify(self.opened(*keys) if keys else self.store)).broken

    async def export(self, which: AuditFilter = EVERYTHING) -> list[str]:
        return "".join([text async for text in exported(self.store, which, "jsonl")]).splitlines()


@pytest.fixture(params=["sqlite", "postgresql"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    def sqlite(statement: str) -> list[Sequence[Any]]:
        with closing(sqlite3.connect(tmp_path / "cdc.db", isolation_level=None)) as db:
            return db.execute(statement.replace("cdc_outbox.", "")).fetchall()

    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_outbox_db")
        made = Log(PostgresAccess(database.info, box=SecretBox((KEY,))), database.execute, lambda *_: made.store)
        made.opened = lambda *keys: PostgresAccess(database.info, box=SecretBox(keys))
    else:
        made = Log(SqliteAccess(tmp_path / "cdc.db", box=SecretBox((KEY,))), sqlite, lambda *_: made.store)
        made.opened = lambda *keys: SqliteAccess(tmp_path / "cdc.db", box=SecretBox(keys))
    await made.store.open()
    for number in range(1, ENTRIES + 1):
        await made.store.append(entry("user.add", f"user:u{number}", at(number), role="viewer", n=number))
    yield made
    await made.store.close()


AUDIT = "cdc_outbox.audit"
_COLUMNS = "recorded_at, actor, action, subject, detail"
_EDIT = f"UPDATE {AUDIT} SET %s WHERE number = %d"
_DELETE = f"DELETE FROM {AUDIT} WHERE number %s"
_INSERT = f"INSERT INTO {AUDIT} SELECT %d, {_COLUMNS}, hash FROM {AUDIT} WHERE number = %d"
_SHIFT = [
    f"UPDATE {AUDIT} SET number = -(number + 1) WHERE number >= 6",
    f"UPDATE {AUDIT} SET number = -number WHERE number < 0",
]
_CLOSE = [
    f"UPDATE {AUDIT} SET number = -(number - 1) WHERE number > 6",
    f"UPDATE {AUDIT} SET number = -number WHERE number < 0",
]
_HEAD = f"""UPDATE cdc_outbox.audit_chain SET number = %d, hash = (SELECT hash FROM {AUDIT} WHERE number = %d)
WHERE name = 'head'"""
_ANCHOR = "UPDATE cdc_outbox.audit_chain SET %s WHERE name = 'anchor'"
_COPY = """UPDATE cdc_outbox.audit_chain SET %s = (SELECT %s FROM cdc_outbox.audit_chain AS o WHERE o.name = '%s')
WHERE name = '%s'"""
_HEAD_TO_ANCHOR = _COPY % ("(number, hash, seal)", "number, hash, seal", "head", "anchor")
_EMPTY = "UPDATE cdc_outbox.audit_chain SET number = 0, hash = '' WHERE name = 'head'"
_VALUE = f"UPDATE {AUDIT} SET %s = (SELECT %s FROM {AUDIT} AS o WHERE o.number = %d) WHERE number = %d"


_ALL = (*_COLUMNS.split(", "), "hash")


def swapped(column: str, one: int, other: int) -> list[str]:
    value = f"(SELECT {column} FROM {AUDIT} AS o WHERE o.number = {one + other} - audit.number)"
    return [f"UPDATE {AUDIT} SET {column} = {value} WHERE number IN ({one}, {other})"]


#: Attack → its statements, and the entry that is named (0: the head or anchor).
ATTACKS: dict[str, tuple[list[str], str]] = {
    "edit the actor": ([_EDIT % ("actor = 'user:eve'", 5)], "Entry 5 "),
    "edit the action": ([_EDIT % ("action = 'user.view'", 1)], "Entry 1 "),
    "edit the subject of the last": ([_EDIT % ("subject = 'user:x'", 12)], "Entry 12 "),
    "edit a detail": ([_EDIT % ("""detail = '{"role":"manager","n":7}'""", 7)], "Entry 7 "),
    "edit a number in a detail": ([_EDIT % ("""detail = '{"role":"viewer","n":"7"}'""", 7)], "Entry 7 "),
    "edit a time": ([_VALUE % ("recorded_at", "recorded_at", 2, 3)], "Entry 3 "),
    "delete the first": ([_DELETE % "= 1"], "Entry 1 is missing"),
    "delete one": ([_DELETE % "= 6"], "Entry 6 is missing"),
    "delete several": ([_DELETE % "BETWEEN 3 AND 9"], "Entry 3 is missing"),
    "delete all": ([_DELETE % "> 0"], "Entry 1 is missing"),
    "delete one and close the gap": ([_DELETE % "= 6", *_CLOSE], "Entry 6 "),
    "insert in the middle": ([*_SHIFT, _INSERT % (6, 5)], "Entry 6 "),
    "insert in the middle with the hash of the next": ([*_SHIFT, _INSERT % (6, 7)], "Entry 7 "),
    "insert in the middle without a hash": ([*_SHIFT, _INSERT % (6, 5), _EDIT % ("hash = ''", 6)], "Entry 7 "),
    "insert before the first": ([_INSERT % (0, 1)], "Entry 0 "),
    "append with a copied hash": ([_INSERT % (13, 12)], "Entry 13 "),
    "append and move the head": ([_INSERT % (13, 12), _EDIT % ("hash = 'ab'", 13), _HEAD % (13, 13)], "Entry 13 "),
    "swap two neighbours": ([s for c in _ALL[:-1] for s in swapped(c, 5, 6)], "Entry 5 "),
    "swap two neighbours with their hashes": ([s for c in _ALL for s in swapped(c, 5, 6)], "Entry 5 "),
    "swap the first and the last": ([s for c in _ALL for s in swapped(c, 1, 12)], "Entry 1 "),
    "swap times": (swapped("recorded_at", 8, 9), "Entry 8 "),
    "swap actor and subject": ([_EDIT % ("actor = subject, subject = actor", 4)], "Entry 4 "),
    "swap hashes of neighbours": (swapped("hash", 5, 6), "Entry 5 "),
    "swap hashes far apart": (swapped("hash", 2, 11), "Entry 2 "),
    "copy a hash": ([_VALUE % ("hash", "hash", 3, 9)], "Entry 9 "),
    "remove a hash": ([_EDIT % ("hash = ''", 5)], "Entry 6 "),
    "remove the last hash": ([_EDIT % ("hash = ''", 12)], "Entry 12 is the last one"),
    "upper case": ([f"UPDATE {AUDIT} SET hash = upper(hash) WHERE number = 5"], "Entry 5 "),
    "cut the last": ([_DELETE % "= 12"], "Entry 12 is missing"),
    "cut many": ([_DELETE % "> 4"], "Entry 5 is missing"),
    "cut, and move the head": ([_DELETE % "= 12", _HEAD % (11, 11)], "The head "),
    "cut many, and move the head": ([_DELETE % "> 2", _HEAD % (2, 2)], "The head "),
    "cut all, and an empty head": ([_DELETE % "> 0", _EMPTY], "The head "),
    "cut, and the anchor as head": ([_DELETE % "> 0", _EMPTY, _COPY % ("seal", "seal", "anchor", "head")], "The head "),
    "forge the anchor": ([_DELETE % "< 4", _ANCHOR % f"number = 3, hash = '{'0' * 64}'"], "The anchor "),
    "the anchor as after retention": ([_DELETE % "< 3", _ANCHOR % "number = 2, hash = 'x'"], "The anchor "),
    "the head's seal for the anchor": ([_DELETE % "> 0", _HEAD_TO_ANCHOR], "The anchor "),
    "a lower anchor": ([_ANCHOR % "number = -1"], "The anchor "),
    "no anchor": ([_DELETE % "< 3", "DELETE FROM cdc_outbox.audit_chain WHERE name = 'anchor'"], "Entry 1 is missing"),
    "no head": (["DELETE FROM cdc_outbox.audit_chain WHERE name = 'head'"], "Entry 12 is the last one"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_first_broken_entry_is_named(log: Log, attack: str) -> None:
    assert await log.broken() == ""
    statements, named = ATTACKS[attack]
    for statement in statements:
        log.sql(statement)
    assert (await log.broken()).startswith(named)
    await log.store.append(entry())  # and no entry that is written later hides it
    still = "Entry " if named.startswith(("The head", "Entry 12 is the last one")) else named
    assert (await log.broken()).startswith(still)


async def test_the_key_cannot_be_replaced_or_taken_away(log: Log) -> None:
    row = "UPDATE cdc_outbox.audit_chain SET %s WHERE name = 'key'"
    (stored,) = log.sql("SELECT seal FROM cdc_outbox.audit_chain WHERE name = 'key'")
    chosen = json.dumps({"key": "00" * 32, "since": 1})
    for seal in (chosen, SecretBox((KEY,)).seal(chosen), SecretBox((LATER,)).derived("key of").seal(chosen), ""):
        log.sql(row % f"seal = '{seal}'")
        with pytest.raises(OutboxError):
            await log.broken()
        with pytest.raises(OutboxError):
            await log.store.append(entry())
    log.sql(row % f"seal = '{stored[0]}', number = 99")
    assert await log.broken() == "", "the number counts that is in the key"
    log.sql("DELETE FROM cdc_outbox.audit_chain WHERE name = 'key'")
    assert await log.broken() != ""
    await log.store.append(entry())
    assert (await log.broken()).startswith(("The anchor", "Entry 1 "))


async def test_who_has_the_database_alone_cannot_compute_a_hash(log: Log) -> None:
    """An attacker who knows the program, and all that the tables hold, gives every entry a hash without the key."""
    log.sql(_EDIT % ("actor = 'user:eve'", 5))
    chain, entries = AuditChain(), await recorded(log.store)
    former = ""
    for each in entries:
        former = chain.hash(each.number, each.entry, former)
        log.sql(_EDIT % (f"hash = '{former}'", each.number))
    for name, number, hash_ in (("head", ENTRIES, former), ("anchor", 0, "")):
        seal = chain.mark(name, number, hash_).seal
        log.sql(f"UPDATE cdc_outbox.audit_chain SET hash = '{hash_}', seal = '{seal}' WHERE name = '{name}'")
    assert await log.broken() != ""
    log.sql("DELETE FROM cdc_outbox.audit_chain WHERE name = 'key'")
    check = await verify(log.store)
    assert (check.broken, check.chain.key) == ("", None), "as if there had never been a key: the doctor says so"
    await log.store.append(entry())
    check = await verify(log.store)
    assert check.broken == ""
    assert check.chain.key is not None
    assert check.chain.key.since == ENTRIES + 1
    assert "audit.chain" in await actions(log.store)


async def test_the_chain_outlives_keys_retention_and_a_former_release(log: Log) -> None:
    assert await log.store.forget_audit(at(4), 2) == 2
    assert await log.store.forget_audit(at(4), 2) == 1
    assert await log.broken() == ""
    rotated = log.opened(LATER, KEY)
    await rotated.open()
    assert await rotated.rekey(()) == 1
    await rotated.append(entry("user.add", "user:rotated"))
    await rotated.close()
    only_new = log.opened(LATER)
    await only_new.open()
    old = f"INSERT INTO {AUDIT} ({_COLUMNS}, number) SELECT {_COLUMNS}, 14 FROM {AUDIT} WHERE number = 9"
    log.sql(old)  # by a process of the last release, beside this one
    await only_new.append(entry("user.add", "user:after"))
    check = await verify(only_new)
    assert (check.broken, check.first, check.last, check.without_hash) == ("", 4, 15, [14])
    assert await only_new.forget_audit(at(100), 100) == 12
    check = await verify(only_new)
    assert (check.broken, check.entries) == ("", 0)
    await only_new.append(entry())
    assert (await verify(only_new)).broken == ""
    await only_new.close()


async def test_a_log_without_a_chain_gets_one_and_a_key_later(log: Log) -> None:
    """As the migration leaves it: entries without a hash."""
    log.sql("DELETE FROM cdc_outbox.audit_chain")
    log.sql(f"UPDATE {AUDIT} SET hash = ''")
    log.sql(_DELETE % "< 3")  # by retention
    plain = log.opened()
    await plain.open()
    (last, *_) = await plain.audit(EVERYTHING, 1)
    assert (last.entry.action, last.entry.detail) == ("audit.chain", {"entries": ENTRIES, "key": False})
    check = await verify(plain)
    assert (check.broken, check.entries, check.chain.key) == ("", 11, None)
    await plain.close()
    keyed = log.opened(KEY)
    await keyed.open()
    await keyed.append(entry())
    check = await verify(keyed)
    assert (check.broken, check.chain.key and check.chain.key.since) == ("", ENTRIES + 2)
    log.sql(_EDIT % ("actor = 'user:eve'", 4))
    assert (await verify(keyed)).broken.startswith("Entry 4 ")
    await keyed.close()


async def test_processes_that_write_at_once_make_one_chain(log: Log) -> None:
    stores = [log.opened(KEY) for _ in range(4)]
    outbox = (
        SqliteOutbox(log.store._path, box=SecretBox((KEY,)))  # type: ignore[attr-defined]  # of this store
        if isinstance(log.store, SqliteAccess)
        else PostgresOutbox(log.store._info, box=SecretBox((KEY,)))  # type: ignore[attr-defined]  # of this store
    )
    await outbox.open()
    for store in stores:
        await store.open()
    work = [store.append(entry(subject=str(n))) for n in range(10) for store in stores]
    notes = [
        outbox.add_endpoint(endpoint(f"ep_{n}"), [entry("endpoint.add", f"endpoint:ep_{n}")] * 2) for n in range(5)
    ]
    await asyncio.gather(*work, *notes, stores[0].forget_audit(at(6), 3), verify(stores[1]))
    check = await verify(log.store)
    assert (check.broken, check.first, check.last) == ("", 4, ENTRIES + 50)
    for closing_ in (*stores, outbox):
        await closing_.close()


# -- exports -----------------------------------------------------------------------------------------------------------

Lines = list[str]


def edited(lines: Lines, line: int, **fields: object) -> Lines:
    changed = json.loads(lines[line]) | fields
    return [*lines[:line], json.dumps(changed), *lines[line + 1 :]]


FILES: dict[str, Callable[[Lines], Lines]] = {
    "edit": lambda f: edited(f, 3, actor="user:eve"),
    "edit a detail": lambda f: edited(f, 3, detail={"role": "manager"}),
    "edit a time": lambda f: edited(f, 3, at="2026-01-01T00:00:00.000000Z"),
    "no hash": lambda f: edited(f, 11, hash=""),
    "other hash": lambda f: edited(f, 3, hash="0" * 64),
    "other former hash": lambda f: edited(f, 3, previous="0" * 64),
    "renumber": lambda f: edited(f, 11, number=13),
    "delete a line": lambda f: f[:3] + f[4:],
    "delete the first": lambda f: f[1:],
    "cut the last entry": lambda f: f[:-2] + f[-1:],
    "cut the last entry, and count": lambda f: edited(f[:-2] + f[-1:], -1 % (len(f) - 1), entries=11),
    "cut the end": lambda f: f[:-1],
    "put a line in twice": lambda f: [*f[:4], f[3], *f[4:]],
    "put a line behind the end": lambda f: [*f, f[0]],
    "swap lines": lambda f: [*f[:3], f[4], f[3], *f[5:]],
}


@pytest.mark.parametrize("attack", FILES)
async def test_a_changed_export_is_noticed(log: Log, attack: str) -> None:
    lines = await log.export()
    assert (await verify_export(log.store, lines)).broken == ""
    assert (await verify_export(log.store, FILES[attack](lines))).broken != ""


async def test_an_export_shows_that_the_log_was_replaced_or_cut_since(log: Log) -> None:
    lines, some = await log.export(), await log.export(AuditFilter(subject="user:u5"))
    found = await verify_export(log.store, some)
    assert (found.broken, found.entries, found.first) == ("", 1, 5)
    await log.store.append(entry())
    assert (await verify_export(log.store, lines)).broken == ""
    head = log.sql("SELECT number, hash, seal FROM cdc_outbox.audit_chain WHERE name = 'head'")
    await log.store.append(entry("user.remove", "user:u1"))
    later = await log.export()
    for statement in (
        _DELETE % "= 14",
        "UPDATE cdc_outbox.audit_chain SET number = {}, hash = '{}', seal = '{}' WHERE name = 'head'".format(*head[0]),
    ):
        log.sql(statement)
    assert await log.broken() == "", "an earlier state as a whole is whole"
    assert (await verify_export(log.store, lines)).broken == ""
    assert (await verify_export(log.store, later)).broken.startswith("The log does not have entry 14")
    await log.store.append(entry())
    assert (await verify_export(log.store, later)).broken.startswith("The log does not have entry 14")


async def test_no_cell_of_a_csv_export_is_a_formula(log: Log) -> None:
    for sign in ("=1+1", "+1", "-1", "@SUM(A1)", " =1", "|calc", "%0", "cmd"):
        await log.store.append(entry(f"{sign}", f"{sign}", actor=sign, note=sign))
    text = "".join([part async for part in exported(log.store, EVERYTHING, "csv")])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["actor"] for row in rows[-8:]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "' =1", "'|calc", "'%0", "cmd"]
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.strip().startswith(tuple("=+-@|%\t\r"))]
    assert len(rows) == ENTRIES + 8
    assert entry_as_json((await recorded(log.store))[0])["actor"] == "cli:root"
