"""What the audit log cannot record does not happen: each change and its entries are one transaction."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdc.access.model import AuditFilter, Scope
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.api.application import OPERATIONS
from cdc.capture import estimate
from cdc.model.audit import AuditEntry
from cdc.model.backfill import ACTIONS, Backfill, BackfillState
from cdc.model.change import Operation, Position, Quarantined
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replay, ReplayState
from cdc.model.endpoint import EndpointChange
from cdc.model.errors import OutboxError
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.accesses import entry, user
from support.browsing import visiting
from support.commands import run_command
from support.consumer import Consumer
from support.database import Database
from support.managing import Managed, managing
from support.outboxes import NOW, at, endpoint, event, finish, lease, store

Change = Callable[..., Awaitable[object]]
NOTE = (AuditEntry(NOW, "cli:root", "a.change", "x"),)
BROKEN_SQLITE = "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'it is broken'); END"
BROKEN_POSTGRES = "ALTER TABLE cdc_outbox.audit ADD CONSTRAINT broken CHECK (action <> 'a.change') NOT VALID"

OLD, NEW = new_key(), new_key()
#: Where secrets are; with the schema's prefix.
SECRETS = ("SELECT secret FROM {0}endpoint", "SELECT totp_secret FROM {0}access_user")

TEST = event(9, "test:9", source="test")


async def fill(outbox: OutboxStore) -> None:
    """Something for each change to be made of."""
    await outbox.add_endpoint(endpoint("ep_a", sources=("main",)))
    await store(outbox, event(1, name="invoice.paid"), event(2, name="invoice.paid"), event(4))
    skipped = Quarantined("q1", "users", Operation.UPDATE, {"nick": "a"}, "t", NOW, "it fails")
    await outbox.store("main", Position("p"), [], {}, NOW, quarantined=[skipped])
    first, _, last = await lease(outbox)
    await finish(outbox, first, state=DeliveryState.DEAD)
    await finish(outbox, last, state=DeliveryState.PENDING, due_at=at(500))
    await outbox.add_replay(Replay("rpl_1", "cli:root", DeliveryFilter(event_pattern="*"), 1.0, 1, NOW))
    await outbox.add_backfill(Backfill("bf_1", "main", "facturascli", "cli:root", NOW))


#: Each change of the outbox that carries entries.
CHANGES: dict[str, Callable[[OutboxStore], Change]] = {
    "store": lambda o: lambda **note: o.store("main", Position("q"), [event(3)], {}, NOW, **note),
    "add_endpoint": lambda o: lambda **note: o.add_endpoint(endpoint("ep_b"), **note),
    "change_endpoint": lambda o: lambda **note: o.change_endpoint("ep_a", EndpointChange(description="x"), **note),
    "send_test": lambda o: (
        lambda **note: o.send_test("ep_a", event(9, "test:9", source="test"), "w", NOW, at(9), **note)
    ),
    "retry": lambda o: lambda **note: o.retry("dlv_1", NOW, **note),
    "hurry": lambda o: lambda **note: o.hurry("ep_a", NOW, 9, **note),
    "replay": lambda o: lambda **note: o.replay(DeliveryFilter(event_pattern="*"), 9, NOW, **note),
    "add_replay": lambda o: (
        lambda **note: o.add_replay(Replay("rpl_2", "cli:root", DeliveryFilter(event_pattern="*"), 1.0, 1, NOW), **note)
    ),
    "end_replay": lambda o: lambda **note: o.end_replay("rpl_1", ReplayState.CANCELLED, "", NOW, **note),
    "add_backfill": lambda o: (
        lambda **note: o.add_backfill(Backfill("bf_2", "main", "users", "cli:root", NOW), **note, rereads="q1")
    ),
    "set_backfill": lambda o: lambda **note: o.set_backfill("bf_1", BackfillState.PAUSED, "", NOW, **note),
    "remove_quarantined": lambda o: lambda **note: o.remove_quarantined("q1", **note),
    "expunge": lambda o: lambda **note: o.expunge(["evt_2"], NOW, **note),
    "remove_endpoint": lambda o: lambda **note: o.remove_endpoint("ep_a", NOW, **note),
    "record": lambda o: o.record,
}


def test_each_change_that_carries_entries_is_tried() -> None:
    methods = inspect.getmembers(OutboxStore, inspect.isfunction)
    assert {name for name, method in methods if "note" in inspect.signature(method).parameters} == set(CHANGES)


def _sqlite_state(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        changed = [name for name in names if not name.startswith(("access_", "audit", "request", "sqlite_"))]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in changed}


async def test_sqlite_changes_nothing_without_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    outbox, access = SqliteOutbox(path), SqliteAccess(path)
    await outbox.open()
    await access.open()
    try:
        await fill(outbox)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(BROKEN_SQLITE)
            before = _sqlite_state(path)
            for name, change in CHANGES.items():
                with pytest.raises(OutboxError):
                    await change(outbox)(note=NOTE)
                assert _sqlite_state(path) == before, name
            db.execute("DROP TRIGGER no_audit")
        await _each_is_recorded(outbox, access)
    finally:
        await access.close()
        await outbox.close()


async def test_postgresql_changes_nothing_without_its_entry(postgres_db: Database) -> None:
    outbox, access = PostgresOutbox(postgres_db.info), PostgresAccess(postgres_db.info)
    await outbox.open()
    try:
        await fill(outbox)
        postgres_db.execute(BROKEN_POSTGRES)
        before = _postgres_state(postgres_db)
        for name, change in CHANGES.items():
            with pytest.raises(OutboxError):
                await change(outbox)(note=NOTE)
            assert _postgres_state(postgres_db) == before, name
        postgres_db.execute("ALTER TABLE cdc_outbox.audit DROP CONSTRAINT broken")
        await _each_is_recorded(outbox, access)
    finally:
        await access.close()
        await outbox.close()


def _postgres_state(database: Database) -> dict[str, list[Any]]:
    tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'cdc_outbox' ORDER BY 1")
    changed = [name for (name,) in tables if not name.startswith(("access_", "audit", "request"))]
    return {name: sorted(map(repr, database.execute(f"TABLE cdc_outbox.{name}"))) for name in changed}


async def _each_is_recorded(outbox: OutboxStore, access: SqliteAccess | PostgresAccess) -> None:
    for number, (name, change) in enumerate(CHANGES.items(), 1):
        await change(outbox)(note=NOTE)
        assert len(await access.audit(AuditFilter(), 100)) == number, name
    assert [each.number for each in await access.audit(AuditFilter(), 100)] == list(range(len(CHANGES), 0, -1))


async def test_sqlite_rekey_seals_nothing_without_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    await _fill_secrets(SqliteOutbox(path, box=SecretBox((OLD,))), SqliteAccess(path, box=SecretBox((OLD,))))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = [db.execute(query.format("")).fetchall() for query in SECRETS]
        db.execute(BROKEN_SQLITE)
        access = SqliteAccess(path, box=SecretBox((NEW, OLD)))
        await access.open()
        try:
            with pytest.raises(OutboxError):
                await access.rekey(NOTE)
            assert [db.execute(query.format("")).fetchall() for query in SECRETS] == before
            db.execute("DROP TRIGGER no_audit")
            await _rekeyed(access)
        finally:
            await access.close()


async def test_postgresql_rekey_seals_nothing_without_its_entry(postgres_db: Database) -> None:
    def access(*keys: str) -> PostgresAccess:
        return PostgresAccess(postgres_db.info, box=SecretBox(keys))

    await _fill_secrets(PostgresOutbox(postgres_db.info, box=SecretBox((OLD,))), access(OLD))
    before = [postgres_db.execute(query.format("cdc_outbox.")) for query in SECRETS]
    postgres_db.execute(BROKEN_POSTGRES)
    both = access(NEW, OLD)
    await both.open()
    try:
        with pytest.raises(OutboxError):
            await both.rekey(NOTE)
        assert [postgres_db.execute(query.format("cdc_outbox.")) for query in SECRETS] == before
        postgres_db.execute("ALTER TABLE cdc_outbox.audit DROP CONSTRAINT broken")
        await _rekeyed(both)
    finally:
        await both.close()


async def _fill_secrets(outbox: OutboxStore, access: SqliteAccess | PostgresAccess) -> None:
    await outbox.open()
    await access.open()
    await outbox.add_endpoint(endpoint("ep_a"))
    await access.add_user(user(totp_secret="JBSWY3DPEHPK3PXP"), entry())
    await access.close()
    await outbox.close()


async def _rekeyed(access: SqliteAccess | PostgresAccess) -> None:
    """Secrets, a URL and the key of the audit log's chain are sealed with the new key, in one write with its entry."""
    assert await access.rekey(NOTE) == 4
    assert await access.rekey(()) == 0
    actions = [each.entry.action for each in await access.audit(AuditFilter(), 9)]
    assert actions.count("a.change") == 1


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from cdc.outbox import audit
from cdc.outbox.sqlite.outbox import SqliteOutbox
from test_audit import NOTE
from support.outboxes import endpoint

audit.append = lambda db, entry: os.kill(os.getpid(), signal.SIGKILL)

async def main():
    outbox = SqliteOutbox(Path(sys.argv[1]))
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_b"), NOTE)

asyncio.run(main())
"""


def _killed(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


async def test_a_kill_between_change_and_entry_leaves_neither(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    done = await asyncio.to_thread(_killed, path)
    assert done.returncode == -9, done.stderr
    outbox, access = SqliteOutbox(path), SqliteAccess(path)
    await outbox.open()
    await access.open()
    assert await outbox.endpoints() == []
    assert await access.audit(AuditFilter(), 9) == []
    await access.close()
    await outbox.close()


# -- the use cases of API, page and commands ---------------------------------------------------------------------------


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Managed]:
    """Page and API over an outbox in a file, whose audit log breaks with `break_log`."""

    async def about(_info: ConnectionInfo, _table: str, _where: str) -> int | None:
        return 1

    monkeypatch.setattr(estimate, "estimate", about)
    path = tmp_path / "cdc.db"
    outbox, access = SqliteOutbox(path), SqliteAccess(path)
    await outbox.open()
    await access.open()
    await fill(outbox)
    async with managing(outbox, access=access, outbox={"url": f"sqlite:///{path}"}) as managed:
        yield managed
    await access.close()
    await outbox.close()


def break_log(path: Path) -> dict[str, list[Any]]:
    """Return what the outbox holds now."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(BROKEN_SQLITE)
    return _sqlite_state(path)


BODIES: dict[str, object] = {
    "createEndpoint": {"url": "https://receiver.example.com/", "events": ["*"]},
    "updateEndpoint": {"description": "x"},
    "testEndpoint": {"event": "endpoint.test"},
    "beginReplay": {"event": "*"},
    "beginBackfill": {"source": "main", "table": "invoice"},
    "createPortalLink": {"tenant": "acme", "sources": ["main"]},
}
IDS = {"endpoints": "ep_a", "deliveries": "dlv_1", "replays": "rpl_1", "backfills": "bf_1", "portal-links": "acme"}


async def test_the_api_changes_nothing_without_its_entry(site: Managed, tmp_path: Path) -> None:
    assert (await site.ask("POST", "/portal-links", json=BODIES["createPortalLink"])).status == 201
    before = break_log(tmp_path / "cdc.db")
    changing = [
        each
        for each in OPERATIONS
        if (each.scope is Scope.MANAGE and each.method != "GET") or each.name == "createPortalLink"
    ]
    for each in changing:
        named = IDS[each.path.split("/")[1]]
        path = each.path.replace("{id}", named).replace("{name}", named)
        answer = await site.ask(each.method, path, json=BODIES.get(each.name))
        assert answer.status == 503, (each.name, answer.text)
        assert _sqlite_state(tmp_path / "cdc.db") == before, each.name
    assert len(changing) >= 13
    assert {each.name for each in OPERATIONS if each.method != "GET" and each.scope is Scope.READ} == {
        "countReplay",
        "createPortalLink",
        "previewEndpoint",
    }


FORMS: dict[str, dict[str, str]] = {
    "/endpoints/new": {"url": "https://receiver.example.com/", "patterns": "*", "signature": "v1"},
    "/endpoints/ep_a/enable": {},
    "/endpoints/ep_a/disable": {},
    "/endpoints/ep_a/rotate-secret": {},
    "/endpoints/ep_a/test": {},
    "/endpoints/ep_a/remove": {},
    "/deliveries/dlv_1/resend": {},
    "/replays": {"event": "*", "rate": "5"},
    "/replays/rpl_1/stop": {},
    "/backfills": {"source": "main", "table": "invoice"},
    **{f"/backfills/bf_1/{name}": {} for name in ACTIONS},
}


async def test_the_page_changes_nothing_without_its_entry(site: Managed, tmp_path: Path) -> None:
    async with visiting(site, "ann") as ann:
        before = break_log(tmp_path / "cdc.db")
        for path, form in FORMS.items():
            shown = await ann.send(path, form)
            assert shown.status == 503, (path, shown.text)
            assert _sqlite_state(tmp_path / "cdc.db") == before, path


COMMANDS = (
    ("endpoint", "add", "https://receiver.example.com/", "--events", "*"),
    ("endpoint", "update", "ep_a", "--description", "x"),
    ("endpoint", "enable", "ep_a"),
    ("endpoint", "disable", "ep_a"),
    ("endpoint", "rotate-secret", "ep_a"),
    ("endpoint", "test", "ep_a"),
    ("endpoint", "remove", "ep_a"),
    ("delivery", "retry", "dlv_1"),
    ("replay", "--event", "*", "--yes"),
    ("quarantine", "remove", "q1"),
    ("event", "expunge", "evt_2", "--yes"),
    ("backfill", "--pause", "bf_1"),
    ("backfill", "--cancel", "bf_1"),
)


async def test_no_command_changes_anything_without_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "cdc.db"
    config = f'[source.main]\nurl = "postgresql://cdc@127.0.0.1:1/erp"\n[outbox]\nurl = "sqlite:///{path}"\n'
    (tmp_path / "cdc.toml").write_text(config, encoding="utf-8")
    outbox = SqliteOutbox(path)
    await outbox.open()
    await fill(outbox)
    await outbox.close()
    before = break_log(path)
    for command in COMMANDS:
        done = run_command("--config", str(tmp_path / "cdc.toml"), *command)
        assert done.returncode == 1, (command, done.stdout, done.stderr)
        assert "cdc.db" in done.stderr, (command, done.stderr)
        assert _sqlite_state(path) == before, command


#: Commands about a source that is there: `cdc_marker` names another outbox, and the row of ``q1`` can be read.
ON_A_SOURCE = (
    ("source", "adopt", "main"),
    ("backfill", "contadores", "--detach"),
    ("quarantine", "reread", "q1"),
    ("outbox", "rekey"),
)
#: What the commands that change two tables change last.
LAST_CHANGED = {("quarantine", "reread", "q1"): "quarantine", ("outbox", "rekey"): "access_user"}


async def test_no_command_about_a_source_changes_anything_without_its_entry(
    postgres_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
    postgres_db.execute("UPDATE cdc.cdc_marker SET outbox = 'another', batch = 7")
    path, key, config = tmp_path / "cdc.db", tmp_path / "key", tmp_path / "cdc.toml"
    text = config.read_text(encoding="utf-8").replace("[outbox]", f'[outbox]\nsecret_key_file = "{key}"')
    config.write_text(text, encoding="utf-8")
    key.write_text(f"{NEW} {OLD}", encoding="utf-8")
    await _fill_secrets(SqliteOutbox(path, box=SecretBox((OLD,))), SqliteAccess(path, box=SecretBox((OLD,))))
    outbox = SqliteOutbox(path, box=SecretBox((OLD,)))
    await outbox.open()
    skipped = Quarantined("q1", "contadores", Operation.UPDATE, {"id": 1}, "t", NOW, "it fails")
    await outbox.store("other", Position("p"), [], {}, NOW, quarantined=[skipped])
    await outbox.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE quarantine SET source = 'main'")  # which has no position yet
    consumer.has_outbox = True
    before = break_log(path)
    for command in ON_A_SOURCE:
        failed = await asyncio.to_thread(consumer.fail, *command)
        assert "cdc.db" in failed, (command, failed)
        assert _sqlite_state(path) == before, command
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER no_audit")
        db.execute("DELETE FROM audit")
        for command, table in LAST_CHANGED.items():
            db.execute(
                f"CREATE TRIGGER no_more BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'it is broken'); END"
            )
            await asyncio.to_thread(consumer.fail, *command)
            assert _sqlite_state(path) == before, command
            assert db.execute("SELECT * FROM audit").fetchall() == [], command
            db.execute("DROP TRIGGER no_more")
        for command in ON_A_SOURCE:
            await asyncio.to_thread(consumer.run, *command)
        actions = [action for (action,) in db.execute("SELECT action FROM audit ORDER BY number")]
    assert actions == ["source.adopt", "backfill.begin", "quarantine.reread", "outbox.rekey"]
