"""The schema of the PostgreSQL outbox: made once, by whoever is first; refused where it is not ours."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import OutboxError, OutboxUnavailable
from cdc.outbox.database import Migration, migrations
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.postgres.schema import ENGINE, migrate_postgres
from cdc.outbox.shared import record_key
from support.database import Database
from support.outboxes import NOW, endpoint, event, states_of, store

ONE = Migration(1, "one", "CREATE TABLE cdc_outbox.a (x integer); INSERT INTO cdc_outbox.a VALUES (1)")
TWO = Migration(2, "two", "ALTER TABLE cdc_outbox.a ADD COLUMN y integer; UPDATE cdc_outbox.a SET y = x + 1")


def versions(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM cdc_outbox.migration ORDER BY 1")]


async def test_many_processes_may_start_at_once(postgres_db: Database) -> None:
    """Each in a thread and loop of its own, so that their statements mix."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            asyncio.run(migrate_postgres(postgres_db.info))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert errors == []
    assert versions(postgres_db) == list(range(1, len(migrations(ENGINE)) + 1))


async def test_only_the_missing_steps_run(postgres_db: Database) -> None:
    await migrate_postgres(postgres_db.info, [ONE])
    await migrate_postgres(postgres_db.info, [ONE])
    assert postgres_db.execute("SELECT * FROM cdc_outbox.a") == [(1,)]
    await migrate_postgres(postgres_db.info, [ONE, TWO])
    assert postgres_db.execute("SELECT * FROM cdc_outbox.a") == [(1, 2)]
    assert versions(postgres_db) == [1, 2]


async def test_a_step_that_fails_leaves_what_was_there(postgres_db: Database) -> None:
    broken = Migration(2, "broken", f"{TWO.script}; INSERT INTO cdc_outbox.nowhere VALUES (1)")
    await migrate_postgres(postgres_db.info, [ONE])
    with pytest.raises(OutboxError, match="lacks one of its tables"):
        await migrate_postgres(postgres_db.info, [ONE, broken])
    assert postgres_db.execute("SELECT * FROM cdc_outbox.a") == [(1,)]
    assert versions(postgres_db) == [1]


async def test_a_newer_schema_is_refused(postgres_db: Database) -> None:
    await migrate_postgres(postgres_db.info, [ONE, TWO])
    with pytest.raises(OutboxError, match="version 2, newer than this program's 1"):
        await migrate_postgres(postgres_db.info, [ONE])


async def test_a_schema_of_another_program_is_refused(postgres_db: Database) -> None:
    postgres_db.execute("CREATE SCHEMA cdc_outbox")
    postgres_db.execute("CREATE TABLE cdc_outbox.theirs (x integer)")
    with pytest.raises(OutboxError, match="belongs to another program"):
        await PostgresOutbox(postgres_db.info).open()


async def test_an_account_without_rights_gets_a_sentence(postgres_db: Database) -> None:
    user = f"{postgres_db.name}_app"
    postgres_db.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'x1'")
    try:
        outbox = PostgresOutbox(postgres_db.info.as_user(user, "x1"))
        with pytest.raises(OutboxError, match="refuses this user a table or schema") as refused:
            await outbox.open()
        assert "cdc outbox sql" in refused.value.hint
        await outbox.close()
        await migrate_postgres(postgres_db.info)
        postgres_db.execute(f"GRANT USAGE ON SCHEMA cdc_outbox TO {user}")
        postgres_db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cdc_outbox TO {user}")
        await outbox.open()
        assert await outbox.endpoints() == []
        await outbox.close()
    finally:
        postgres_db.execute(f"DROP OWNED BY {user}")
        postgres_db.execute(f"DROP ROLE {user}")


async def test_a_wrong_password_a_missing_database_and_a_silent_server_are_told_apart(postgres_db: Database) -> None:
    info = postgres_db.info
    for wrong, sentence in (
        (info.as_user(info.user, "hunter2"), "refuses the user|does not answer"),
        (type(info)(info.engine, "nowhere", info.user, info.password, info.host, info.port), "does not exist"),
    ):
        if wrong.password == "hunter2" and trusts(postgres_db):
            continue
        with pytest.raises(OutboxError, match=sentence) as refused:
            await PostgresOutbox(wrong).open()
        assert "hunter2" not in str(refused.value)
    with pytest.raises(OutboxUnavailable, match="does not answer"):
        await PostgresOutbox(type(info)(info.engine, "x", info.user, "y", info.host, 1)).open()


def trusts(database: Database) -> bool:
    """Whether the test server asks for passwords at all."""
    methods = {
        method for (method,) in database.execute("SELECT auth_method FROM pg_hba_file_rules WHERE type = 'host'")
    }
    return "trust" in methods


async def test_an_older_schema_keeps_its_endpoints_and_what_they_wait_for(postgres_db: Database) -> None:
    """Written as the program of the time wrote it: two events of one record, and an endpoint that was removed."""
    await migrate_postgres(postgres_db.info, migrations(ENGINE)[:1])
    kept = endpoint("ep_a")
    settings = {
        "url": kept.url, "description": "", "format": "facturascripts", "timeout": 10.0, "concurrency": 16,
        "retry_schedule": [5, 25, 125, 625, 3125], "former_secret_until": None, "origin": "",
    }  # fmt: skip
    for name, secret, removed_at in (("ep_a", kept.secret, None), ("ep_gone", "", NOW)):
        values = [name, removed_at is None, secret, json.dumps(settings), NOW, removed_at]
        postgres_db.execute(
            "INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, settings,"
            " created_at, removed_at) VALUES (%s, '{*}', '{}', %s, '', %s, %s, %s, %s)",
            values,
        )
    for number in (1, 2):
        postgres_db.execute(
            "INSERT INTO cdc_outbox.event VALUES (%s, %s, 'invoice.updated', 'main', 'a:1', %s, '{}')",
            [number, f"evt_{number}", NOW],
        )
        postgres_db.execute(
            "INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)"
            " VALUES (%s, %s, 1, %s, %s, %s, %s)",
            [number, number, record_key("main", "a:1"), int(number == 1), NOW, NOW],
        )
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    assert await outbox.endpoints() == [kept], "with what was not known then as it is by default"
    await store(outbox, event(3, "a:1"))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    changed = await outbox.change_endpoint("ep_a", EndpointChange(order=Order.NONE, headers=(("X-Key", "k"),)))
    assert await outbox.endpoints() == [changed]
    assert await states_of(outbox, 1, 2, 3) == "pending pending pending"
    await outbox.close()
