"""Installing and removing publication and slot: idempotent, exact, refused with a sentence, taken back on failure."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from cdc.capture.slot.postgres import SlotInstaller
from cdc.capture.triggers.postgres import LockWait
from cdc.model.column import Capture
from cdc.model.errors import InstallError, LockTimeout
from cdc.model.finding import Severity
from support.database import Database
from support.logical import install_slot, slot_installer
from support.programs import find

SCHEMA = """
CREATE TABLE plain (id integer PRIMARY KEY, a text);
CREATE TABLE indexed (id integer PRIMARY KEY, code text NOT NULL UNIQUE);
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_code_key;
CREATE TABLE nothing (id integer PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE whole (id integer PRIMARY KEY);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE years (id integer, year integer, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
CREATE TABLE years_2025 PARTITION OF years FOR VALUES FROM (2025) TO (2026);
CREATE TABLE years_2026 PARTITION OF years FOR VALUES FROM (2026) TO (2027);
"""
TABLES = ("plain", "indexed", "nothing", "whole", "years")
CAPTURES = [Capture(table) for table in TABLES]
QUICK = LockWait(lock_seconds=0.1, lock_tries=2, pause_seconds=0)


@pytest.fixture
def tables(postgres_log_db: Database) -> Database:
    postgres_log_db.script(SCHEMA)
    return postgres_log_db


def _state(database: Database) -> list[Any]:
    """Everything that an installation touches."""
    return [
        database.execute(
            "SELECT c.relname, c.relreplident::text, x.relname FROM pg_class c "
            "LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident "
            "LEFT JOIN pg_class x ON x.oid = i.indexrelid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1"
        ),
        database.execute("SELECT pubname, obj_description(oid) FROM pg_publication"),
        database.execute("SELECT count(*) FROM pg_publication_rel"),
        database.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"),
        database.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"),
    ]


def _identities(database: Database) -> dict[str, str]:
    return {name: identity for name, identity, _ in _state(database)[0]}


def _uninstall(database: Database) -> None:
    installer = slot_installer(database)
    installer.apply(installer.plan_uninstall(), lambda _title: None)


def _phrases(database: Database, captures: list[Capture]) -> dict[str, str]:
    """What is not well, by check."""
    findings = slot_installer(database).findings(captures)
    return {each.check: f"{each.detail} | {each.fix}" for each in findings if each.severity is not Severity.OK}


def test_installed_twice_and_removed_exactly(tables: Database) -> None:
    before = _state(tables)
    installer = install_slot(tables, CAPTURES)
    after = _state(tables)
    assert set(_identities(tables).items()) >= {(name, "f") for name in ("plain", "indexed", "nothing", "years_2025")}
    assert _identities(tables)["years"] == "d"
    assert len(after[1]) == len(after[3]) == 1
    assert installer.plan_install(CAPTURES).steps == ()
    assert _state(tables) == after
    _uninstall(tables)
    assert _state(tables) == before
    assert installer.plan_uninstall().steps == ()


def test_a_table_is_added_and_another_dropped(tables: Database) -> None:
    before = _state(tables)
    install_slot(tables, CAPTURES[:2])
    titles = [step.title for step in slot_installer(tables).plan_install(CAPTURES[1:3]).steps]
    assert titles == ["Stop capturing plain", "Capture nothing"]
    install_slot(tables, CAPTURES[1:3])
    assert _identities(tables)["plain"] == "d"
    assert _state(tables)[2] == [(2,)]
    install_slot(tables, CAPTURES[4:])
    install_slot(tables, CAPTURES[:1])
    assert _identities(tables)["years_2025"] == "d"
    _uninstall(tables)
    assert _state(tables) == before


def test_drift_is_found_and_mended_and_the_first_state_is_what_comes_back(tables: Database) -> None:
    before = _state(tables)
    install_slot(tables, CAPTURES)
    tables.execute("ALTER TABLE plain REPLICA IDENTITY DEFAULT")
    tables.execute("ALTER TABLE years_2026 REPLICA IDENTITY NOTHING")
    tables.execute("ALTER PUBLICATION cdc DROP TABLE indexed")
    tables.execute("ALTER PUBLICATION cdc SET (publish = 'insert')")
    tables.execute("CREATE TABLE years_2027 PARTITION OF years FOR VALUES FROM (2027) TO (2028)")
    found = _phrases(tables, CAPTURES)
    assert found["table plain"] == "its replica identity is not FULL | cdc install-slot"
    assert "the partition years_2026's" in found["table years"]
    assert "the partition years_2027's" in found["table years"]
    assert "it is not published" in found["table indexed"]
    assert "leaves out UPDATE; the publication leaves out DELETE" in found["publication"]
    assert slot_installer(tables).repair(["plain"]).done == ("Repair the publication", "Repair the capture of plain")
    assert len(slot_installer(tables).repair().done) == 3
    assert _phrases(tables, CAPTURES).keys() <= {"consumer", "limit"}
    _uninstall(tables)
    tables.execute("DROP TABLE years_2027")
    assert _state(tables) == before


def test_captured_tables_that_are_dropped_or_need_no_capture_any_more(tables: Database) -> None:
    install_slot(tables, CAPTURES)
    tables.execute("DROP TABLE plain")
    tables.execute("ALTER TABLE indexed DROP CONSTRAINT indexed_code_key")
    found = _phrases(tables, CAPTURES)
    assert "the table does not exist" in found["table plain"]
    assert "published, but no rule needs it" in _phrases(tables, CAPTURES[2:])["table indexed"]
    assert "indexed_code_key, which is gone" in slot_installer(tables).plan_uninstall().notes[-1]
    _uninstall(tables)
    assert _state(tables)[1] == []
    assert _identities(tables)["indexed"] == "d"


def test_the_script_by_hand_does_the_same(tables: Database) -> None:
    program = shutil.which("psql") or str(find("postgresql").folder / "psql")
    info = tables.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.database}"

    def by_hand(script: str) -> None:
        done = subprocess.run(
            [program, "--no-psqlrc", "--quiet", url],
            input=script,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    before = _state(tables)
    installer = slot_installer(tables)
    script = installer.script(installer.plan_install(CAPTURES))
    assert _state(tables) == before
    by_hand(script)
    assert installer.plan_install(CAPTURES).steps == ()
    by_hand(installer.script(installer.plan_uninstall()))
    assert _state(tables) == before


def test_what_fails_half_way_is_taken_back(tables: Database) -> None:
    before = _state(tables)
    blocker = tables.connect()
    blocker.execute("LOCK TABLE nothing IN ACCESS SHARE MODE")
    installer = SlotInstaller(tables.info, lock_wait=QUICK)
    with pytest.raises(LockTimeout, match="Capture nothing: table nothing stayed locked through 2 tries"):
        installer.apply(installer.plan_install(CAPTURES), lambda _title: None)
    assert _state(tables) == before
    blocker.rollback()
    install_slot(tables, CAPTURES[:2])
    middle = _state(tables)
    blocker.execute("LOCK TABLE nothing IN ACCESS SHARE MODE")
    with pytest.raises(LockTimeout):
        installer.apply(installer.plan_install(CAPTURES), lambda _title: None)
    assert _state(tables) == middle


@pytest.mark.parametrize("prepared", [False, True])
def test_a_slot_waits_for_open_transactions_and_names_the_oldest(tables: Database, prepared: bool) -> None:
    before = _state(tables)
    writer = tables.connect()
    writer.execute("INSERT INTO plain VALUES (1, 'a')")
    gid = tables.name
    if prepared:
        writer.execute(f"PREPARE TRANSACTION '{gid}'")
    installer = SlotInstaller(tables.info, lock_wait=QUICK, slot_seconds=0.3)
    captures = [Capture("whole")]
    with pytest.raises(LockTimeout, match="waits for open transactions") as caught:
        installer.apply(installer.plan_install(captures), lambda _title: None)
    expected = f"ROLLBACK PREPARED '{gid}'" if prepared else f"pg_terminate_backend({writer.info.backend_pid})"
    assert expected in caught.value.hint
    assert _state(tables) == before
    end: Callable[[], Any] = writer.rollback
    if prepared:
        end = lambda: tables.execute(f"ROLLBACK PREPARED '{gid}'")  # noqa: E731 - one of two ways to end it
    waiting = threading.Timer(0.3, end)
    waiting.start()
    install_slot(tables, captures)
    waiting.join()


def test_a_lost_slot_is_made_again(tables: Database) -> None:
    install_slot(tables, CAPTURES[:1])
    (name,) = _state(tables)[3][0]
    tables.execute("SELECT pg_drop_replication_slot(%s)", [name])
    assert f"there is no replication slot {name}" in _phrases(tables, CAPTURES[:1])["slot"]
    assert [step.title for step in slot_installer(tables).plan_install(CAPTURES[:1]).steps] == [
        "Make the replication slot"
    ]
    install_slot(tables, CAPTURES[:1])
    tables.execute("DROP PUBLICATION cdc")
    titles = [step.title for step in slot_installer(tables).plan_install(CAPTURES[:1]).steps]
    assert titles[0] == "Make the publication"
    assert titles[-2:] == ["Drop the replication slot", "Make the replication slot"]


@pytest.mark.parametrize(
    ("ddl", "captures", "sentence", "hint"),
    [
        ("CREATE TABLE keyless (a integer)", ["keyless"], "No primary key: table keyless", "Add a primary key"),
        ("CREATE VIEW seen AS SELECT 1", ["seen"], "seen is a view", "configuration"),
        ("CREATE UNLOGGED TABLE u (id integer PRIMARY KEY)", ["u"], "Table u is unlogged", "SET LOGGED"),
        ("SELECT 1", ["absent"], "has no table absent", "FacturaScripts"),
        ("CREATE PUBLICATION cdc", ["plain"], "already has a publication named cdc", "Rename it"),
        (
            "CREATE SCHEMA far; CREATE TABLE far.far PARTITION OF years FOR VALUES FROM (1) TO (2)",
            ["years"],
            "partitions in another schema: far.far",
            "Move them",
        ),
    ],
)
def test_what_cannot_work_is_refused(tables: Database, ddl: str, captures: list[str], sentence: str, hint: str) -> None:
    tables.script(ddl)
    before = _state(tables)
    with pytest.raises(InstallError) as caught:
        install_slot(tables, [Capture(name) for name in captures])
    assert sentence in caught.value.message
    assert hint in caught.value.hint
    assert _state(tables) == before


def test_slots_and_publications_of_others_are_left_alone(tables: Database) -> None:
    name = f"cdc_{tables.name}"
    tables.execute("CREATE PUBLICATION cdc")
    assert "not ours" in slot_installer(tables).plan_uninstall().notes[0]
    tables.execute("DROP PUBLICATION cdc")
    tables.execute("SELECT pg_create_physical_replication_slot(%s)", [name])
    try:
        with pytest.raises(InstallError, match="is not this product's"):
            install_slot(tables, CAPTURES)
        assert slot_installer(tables).plan_uninstall().steps == ()
    finally:
        tables.execute("SELECT pg_drop_replication_slot(%s)", [name])


def test_a_slot_that_is_read_is_not_removed(tables: Database) -> None:
    install_slot(tables, CAPTURES[:1])
    reader = psycopg.connect(
        host=tables.info.host,
        port=tables.info.port,
        user=tables.info.user,
        password=tables.info.password,
        dbname=tables.name,
        replication="database",
        autocommit=True,
    )
    command = f"START_REPLICATION SLOT \"cdc_{tables.name}\" LOGICAL 0/0 (proto_version '1', publication_names 'cdc')"
    reader.pgconn.send_query(command.encode())
    reader.pgconn.get_result()
    try:
        with pytest.raises(InstallError, match="is being read"):
            slot_installer(tables).plan_uninstall()
        assert "consumer" not in _phrases(tables, CAPTURES[:1])
    finally:
        reader.close()


def test_missing_privileges_are_named_at_once_and_the_hints_are_enough(tables: Database) -> None:
    role = f"{tables.name}_dba"
    tables.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        installer = SlotInstaller(tables.info.as_user(role, "x"), lock_wait=QUICK)
        with pytest.raises(InstallError) as refused:
            installer.plan_install(CAPTURES)
        assert "may not make a replication slot" in refused.value.message
        assert "may not create a publication" in refused.value.message
        assert "does not own tables plain, indexed" in refused.value.message
        tables.script(refused.value.hint)
        plan = installer.plan_install(CAPTURES)
        installer.apply(plan, lambda _title: None)
        installer.apply(installer.plan_uninstall(), lambda _title: None)
    finally:
        tables.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_server_that_does_not_log_rows(own_server: Any) -> None:
    database: Database = own_server("postgresql", "wal_level=replica")
    database.script(SCHEMA)
    with pytest.raises(InstallError, match="wal_level is replica") as caught:
        install_slot(database, CAPTURES)
    assert caught.value.hint.startswith("ALTER SYSTEM SET wal_level = 'logical'")
    assert "wal_level is replica" in _phrases(database, CAPTURES)["server"]


def test_what_the_doctor_says_of_a_slot_that_nobody_reads(tables: Database) -> None:
    captures = CAPTURES[:1]
    install_slot(tables, captures)
    found = _phrases(tables, captures)
    assert set(found) == {"consumer", "limit"}
    assert "uninstall-slot: a slot that nobody reads" in found["consumer"]
    assert "ALTER SYSTEM SET max_slot_wal_keep_size" in found["limit"]
    tables.execute("INSERT INTO plain SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) AS n")
    limited = SlotInstaller(tables.info, limit=1 << 20).findings(captures)
    (lag,) = [each for each in limited if each.check == "lag"]
    assert lag.severity is Severity.WRONG
    assert "more than slot_limit_mb: cdc run will drop it" in lag.detail
