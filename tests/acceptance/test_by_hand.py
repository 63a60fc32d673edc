"""The scripts that ``--dry-run`` prints, run by a DBA with the engine's own client; uninstalling leaves nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.consumer import Consumer
from support.database import Database
from support.foreign_words import foreign_words
from support.programs import find

INSTALLATION = "install-triggers"


def _client(database: Database) -> list[str]:
    info = database.info
    if database.flavour == "postgresql":
        program = shutil.which("psql") or str(find("postgresql").folder / "psql")
        url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.database}"
        return [program, "--no-psqlrc", "--quiet", url]
    names = ("mariadb", "mysql") if database.flavour == "mariadb" else ("mysql", "mariadb")
    program = next(filter(None, map(shutil.which, names)), "")
    if not program:
        pytest.skip("no client program of MySQL or MariaDB here")
    where = [f"--host={info.host}", f"--port={info.port}", f"--user={info.user}", f"--password={info.password}"]
    return [program, "--no-defaults", "--protocol=tcp", *where, info.database]


def _run_by_hand(database: Database, script: str) -> None:
    done = subprocess.run(_client(database), input=script, capture_output=True, text=True, check=False, timeout=60)
    if "caching_sha2_password" in done.stderr or "TLS" in done.stderr:
        pytest.skip(f"this client cannot connect to this server: {done.stderr}")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def _dump(database: Database) -> list[object]:
    """Everything of the schema that an installation could touch."""
    if database.flavour == "postgresql":
        return [
            database.execute("SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1"),
            database.execute(
                "SELECT n.nspname, c.relname, c.relkind, c.relacl::text, c.relhastriggers, c.reloptions "
                "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' ORDER BY 1, 2"
            ),
            database.execute(
                "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger "
                "WHERE NOT tgisinternal ORDER BY 1, 2"
            ),
            database.execute("SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace <> 11 ORDER BY 1"),
            database.execute("SELECT evtname FROM pg_event_trigger ORDER BY 1"),
            database.execute("SELECT extname FROM pg_extension ORDER BY 1"),
            database.execute(
                "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns "
                "WHERE table_schema = 'public' ORDER BY 1, 2"
            ),
        ]
    tables = [name for (name,) in database.execute("SHOW TABLES")]
    return [
        [database.execute(f"SHOW CREATE TABLE `{name}`") for name in tables],
        database.execute("SHOW TRIGGERS"),
        database.execute("SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()"),
        database.execute("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"),
        database.execute("SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()"),
    ]


def test_the_printed_scripts_do_the_same_by_hand(
    erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _dump(erp)
    consumer = Consumer.configure(tmp_path, erp.info)
    script = consumer.run(INSTALLATION, "--dry-run")
    with monkeypatch.context() as spanish:
        spanish.setenv("CDC_LANG", "es")
        spoken = consumer.run(INSTALLATION, "--dry-run")
    titles = set(spoken.splitlines()) - set(script.splitlines())
    assert titles, "comments are in Spanish, statements and what is stored with them the same"
    assert all(line.startswith("-- ") and not foreign_words(line, "es") for line in titles)
    assert _dump(erp) == before, "a dry run changes nothing"
    _run_by_hand(erp, script)
    assert consumer.run(INSTALLATION, "--dry-run") == "", "nothing to do"
    consumer.run("doctor", "--source", "main")
    _run_by_hand(erp, consumer.run("uninstall-triggers", "--dry-run"))
    assert _dump(erp) == before


def test_the_printed_repair_of_one_table_by_hand(erp: Database, tmp_path: Path) -> None:
    consumer = Consumer.configure(tmp_path, erp.info)
    consumer.run(INSTALLATION)
    erp.execute("ALTER TABLE clientes DROP COLUMN web")
    _run_by_hand(erp, consumer.run(INSTALLATION, "--dry-run"))
    assert consumer.run(INSTALLATION, "--dry-run") == ""


def test_uninstalling_leaves_the_schema_as_it_was(erp: Database, tmp_path: Path) -> None:
    before = _dump(erp)
    consumer = Consumer.configure(tmp_path, erp.info)
    consumer.run(INSTALLATION)
    erp.execute("INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', 'C', 'unread')")
    assert _dump(erp) != before
    consumer.run("uninstall-triggers")
    assert _dump(erp) == before
    consumer.run("uninstall-triggers")  # nothing to do
