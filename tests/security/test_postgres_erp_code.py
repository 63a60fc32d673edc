"""Code that the ERP's account hangs on its tables and types never runs with the rights of our accounts (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from cdc.capture.estimate import estimate
from cdc.capture.pages import PageRequest
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.config import SourceConfig
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo
from cdc.model.errors import SourceError
from cdc.runtime.access import SourceUsers
from support.consumer import database_url
from support.database import Database

#: Run by another account than its owner, `spy` tries what would give the ERP's account that account, and leaves a lock
#: that no rollback takes back.  Immutable, so that it may be anywhere; what it cannot do must not show.
SPY = """
CREATE FUNCTION spy(what text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> '{erp}' THEN
        PERFORM pg_try_advisory_lock(666, current_user::regrole::oid::integer);
        BEGIN EXECUTE format('ALTER ROLE %I PASSWORD ''taken''', current_user); EXCEPTION WHEN OTHERS THEN NULL; END;
    END IF;
    RETURN true;
END
$$;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spy('json'); RETURN '"cast"'::json; END $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spy('text'); RETURN 'cast'; END $$;
CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood) AS IMPLICIT;
CREATE FUNCTION text_mood(text) RETURNS mood LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spy('mood'); RETURN 'good'; END $$;
CREATE CAST (text AS mood) WITH FUNCTION text_mood(text);
CREATE DOMAIN checked AS integer CHECK (public.spy('domain') AND value > 0);
CREATE DOMAIN sad AS mood;
CREATE TYPE pair AS (a mood, b integer);
CREATE FUNCTION pair_json(pair) RETURNS json LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spy('pair'); RETURN '1'::json; END $$;
CREATE CAST (pair AS json) WITH FUNCTION pair_json(pair);
CREATE TYPE moods AS RANGE (subtype = mood);
CREATE FUNCTION moods_json(moods) RETURNS json LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spy('range'); RETURN '1'::json; END $$;
CREATE CAST (moods AS json) WITH FUNCTION moods_json(moods);
CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN public.spy('operator'); END $$;
CREATE OPERATOR = (FUNCTION = same, LEFTARG = mood, RIGHTARG = mood);
"""
#: Attack → definition of the column ``x``, what else the table gets (``{t}``: its name), and a value of x.
ATTACKS = {
    "plain": ("x integer", "", "1"),
    "enum": ("x mood", "", "'bad'"),
    "array": ("x mood[]", "", "'{bad}'"),
    "composite": ("x pair", "", "'(bad,1)'"),
    "array of composites": ("x pair[]", "", """'{"(bad,1)"}'"""),
    "range": ("x moods", "", "'[good,bad]'"),
    "domain over enum": ("x sad", "", "'bad'"),
    "domain with a check": ("x checked", "", "1"),
    "default": ("x boolean DEFAULT spy('default')", "", "true"),
    "generated": ("x integer, y boolean GENERATED ALWAYS AS (spy('generated')) STORED", "", "1"),
    "check": ("x integer CHECK (spy('check') AND x > 0)", "", "1"),
    "index expression": ("x integer", "CREATE INDEX ON {t} ((spy('index') AND x > 0))", "1"),
    "index predicate": ("x integer", "CREATE INDEX ON {t} (x) WHERE spy('predicate') AND x > 0", "1"),
    "statistics": ("x integer", "CREATE STATISTICS s ON (spy('statistics') AND x > 0), x FROM {t}", "1"),
    "child": ("x integer", "CREATE TABLE {t}_c (CHECK (spy('child') AND x > 0)) INHERITS ({t})", "1"),
    "policy": (
        "x integer",
        "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {t} USING (spy('policy'))",
        "1",
    ),
    "key of an enum": (
        "x mood UNIQUE",
        "ALTER TABLE {t} DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (x)",
        "'bad'",
    ),
    "key of a domain": (
        "x checked",
        "ALTER TABLE {t} DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (x)",
        "1",
    ),
}
TABLES = {name: f"t_{name.replace(' ', '_')}" for name in ATTACKS}
CAPTURES = [Capture(table) for table in TABLES.values()]
ENDED = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass
class Site:
    """A database whose tables belong to ``erp``, with the accounts that `cdc grants` prints."""

    database: Database
    erp: Any
    installer: ConnectionInfo
    consumer: ConnectionInfo
    reader: Any

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.execute(sql)

    def ran_as(self) -> set[str]:
        """Return the accounts with whose rights code of the ERP's account ran, as far as their sessions are open."""
        rows = self.execute("SELECT objid::regrole::text FROM pg_locks WHERE locktype = 'advisory' AND classid = 666")
        return {role for (role,) in rows}


@pytest.fixture
def site(postgres_db: Database) -> Iterator[Site]:
    names = {each: f"{postgres_db.name}_{each}" for each in ("erp", "installer", "consumer", "reader")}
    postgres_db.execute(
        f"CREATE ROLE {names['erp']} LOGIN PASSWORD 'x'; CREATE ROLE {names['reader']} LOGIN PASSWORD 'x'"
    )
    try:
        postgres_db.execute(f"GRANT ALL ON SCHEMA public TO {names['erp']}")
        postgres_db.execute(f"GRANT CREATE ON DATABASE {postgres_db.name} TO {names['reader']}")
        erp = postgres_db.connect(names["erp"], "x", autocommit=True)
        erp.execute(SPY.format(erp=names["erp"]))
        for name, (column, more, _) in ATTACKS.items():
            erp.execute(f"CREATE TABLE {TABLES[name]} (id integer PRIMARY KEY, note text, {column})")
            erp.execute(more.format(t=TABLES[name]) or "SELECT 1")
        choice = AccountChoice(configured={role: postgres_db.info.as_user(names[role], "x") for role in AccountRole})
        before, after = PostgresInstaller(postgres_db.info).grants(CAPTURES, choice).split("-- 2.")
        postgres_db.execute(before)
        installer = postgres_db.info.as_user(names["installer"], "x")
        there = PostgresInstaller(installer)
        there.apply(there.plan_install(CAPTURES), lambda _: None)
        postgres_db.execute(f"-- 2.{after}")
        postgres_db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {names['reader']}")
        reader = postgres_db.connect(names["reader"], "x", autocommit=True)
        yield Site(postgres_db, erp, installer, postgres_db.info.as_user(names["consumer"], "x"), reader)
    finally:
        postgres_db.execute(ENDED)
        for role in names.values():
            if postgres_db.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]):
                postgres_db.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def _journaled(site: Site, table: str) -> list[str]:
    return [
        row[0]
        for row in site.execute(
            f"WITH gone AS (DELETE FROM cdc.cdc_journal WHERE table_name = '{table}' RETURNING *) "
            "SELECT operation::text FROM gone ORDER BY lsn"
        )
    ]


def test_writes_run_no_code_of_the_erp_with_our_rights(site: Site) -> None:
    failed = {}
    for name, (_, _, value) in ATTACKS.items():
        table = TABLES[name]
        site.erp.execute(f"INSERT INTO {table} (id, x) VALUES (1, {value})")
        site.erp.execute(f"UPDATE {table} SET note = 'b'")
        site.erp.execute(f"DELETE FROM {table}; TRUNCATE {table}")
        if (seen := site.ran_as()) or _journaled(site, table) != ["I", "U", "D", "T"]:
            failed[name] = seen
        site.erp.execute("SELECT pg_advisory_unlock_all()")
    assert failed == {}
    site.database.connect(site.installer.user, "x")  # the password is still the one
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        site.erp.execute("CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION cdc.t_plain()")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        site.erp.execute("CREATE TRIGGER mine AFTER INSERT ON t_plain FOR EACH ROW EXECUTE FUNCTION cdc.t_plain()")


#: What a role that may only read tries, with ``%s`` in place of the call that forges a row.
FORGERIES = [
    "%s",
    "CREATE TEMP TABLE t_plain (id integer); INSERT INTO t_plain VALUES (1); %s",
    "CREATE SCHEMA mine CREATE TABLE t_plain (id integer); INSERT INTO mine.t_plain VALUES (1); %s",
    "BEGIN; SELECT FROM t_plain FOR SHARE; %s; COMMIT",
    "LOCK TABLE t_plain IN ACCESS SHARE MODE; %s",
    "CREATE TEMP TABLE t_plain (id integer); INSERT INTO t_plain VALUES (1); TRUNCATE t_plain; %s",
    (
        "CREATE FUNCTION pg_temp.t_plain() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM %s; END $$;"
        "SELECT pg_temp.t_plain()"
    ),
]


@pytest.mark.parametrize("operation", ["I", "D", "T"])
def test_role_that_may_not_write_forges_no_journal_row(site: Site, operation: str) -> None:
    site.erp.execute("INSERT INTO t_plain VALUES (1)")
    call = f"""cdc.cdc_append('t_plain', '{operation}', NULL, '{{"id": 1}}', '{{"id": 1}}')"""
    for forgery in FORGERIES:
        select = "" if "PERFORM" in forgery else "SELECT "
        reader = site.database.connect(site.reader.info.user, "x", autocommit=True)
        with suppress(psycopg.errors.InsufficientPrivilege):
            reader.execute(forgery % (select + call))
        reader.close()
        site.execute("DROP SCHEMA IF EXISTS mine CASCADE")
    assert _journaled(site, "t_plain") == ["I"]
    site.execute(f"GRANT INSERT, DELETE, TRUNCATE ON t_plain TO {site.reader.info.user}")  # its real writes count
    site.reader.execute("INSERT INTO t_plain VALUES (2); DELETE FROM t_plain; TRUNCATE t_plain")
    assert _journaled(site, "t_plain") == ["I", "D", "D", "T"]


async def _read(site: Site, table: str, condition: str) -> str:
    """Read the table in each way as the consumer; return the error, empty where it can be read."""
    lookup = PostgresLookup(site.consumer, CAPTURES)
    try:
        await lookup.connect()
        await lookup.use_schema("public")
        try:
            (row,) = await lookup.all_rows(table)
            for column in ("id", "x"):
                assert await lookup.rows(table, column, [row[column]]) in ([row], [])
            request = PageRequest((await lookup.tables())[table], None, 10, where=condition)
            (page, _) = await lookup.read_page(request, "slot/page_marks.sql", {})
            await lookup.read_page(replace(request, after=row), "slot/page_marks.sql", {})
            assert page.looked == 1
            await estimate(site.consumer, table, condition)
        except SourceError as error:
            return error.message
        return ""
    finally:
        assert site.ran_as() == set(), table
        await lookup.disconnect()


async def test_reads_run_no_code_of_the_erp_with_our_rights(site: Site) -> None:
    """Where planning a read could, the table is not read, and the doctor says so."""
    refused = {}
    for name, (_, _, value) in ATTACKS.items():
        site.erp.execute(f"INSERT INTO {TABLES[name]} (id, x) VALUES (1, {value})")
        for condition in ("", "note IS NULL AND x::text <> 'no'"):
            if error := await _read(site, TABLES[name], condition):
                refused[name] = error
    assert set(refused) == {"index expression", "index predicate", "statistics", "policy"}
    for name, error in refused.items():
        assert ("spy(text)" in error) is (name != "policy"), error
    found = [each.check for each in PostgresInstaller(site.consumer).findings(CAPTURES) if "spy(text)" in each.detail]
    assert found == [f"table {TABLES[name]}" for name in ATTACKS if name in refused and name != "policy"]
    assert PostgresInstaller(site.consumer).unreadable(list(TABLES.values())) == [TABLES["policy"]]


async def test_table_altered_between_two_reads_runs_no_code(site: Site) -> None:
    """The catalogue in memory is of before."""
    site.erp.execute("INSERT INTO t_plain VALUES (1)")
    changes = [
        "ALTER TABLE t_plain ALTER x TYPE mood USING 'bad'",
        "ALTER TABLE t_plain RENAME note TO other",
        "CREATE INDEX ON t_plain ((spy('late') AND id > 0))",
        (
            "ALTER TABLE t_plain RENAME TO t_old; CREATE VIEW t_plain AS SELECT * FROM t_old WHERE spy('view');"
            f"GRANT SELECT ON t_plain TO {site.consumer.user}"  # a grant is an alteration of the table, too
        ),
    ]
    lookup = PostgresLookup(site.consumer, CAPTURES)
    await lookup.connect()
    await lookup.use_schema("public")
    try:
        outcomes = []
        for change in ["SELECT 1", *changes]:
            site.erp.execute(change)
            try:
                outcomes.append((await lookup.all_rows("t_plain"))[0]["x"])
            except SourceError as error:
                outcomes.append(type(error).__name__)
        assert outcomes == [None, "bad", "bad", "SourceError", "SourceError"]
        assert site.ran_as() == set()
    finally:
        await lookup.disconnect()


USERS = "CREATE TABLE users (nick text PRIMARY KEY, admin boolean, enabled boolean, password text);"


async def test_sign_in_reads_users_without_code_of_the_erp(site: Site) -> None:
    hostile = [
        "CREATE TABLE users (nick mood PRIMARY KEY, admin boolean, enabled boolean, password mood)",
        "CREATE VIEW users AS SELECT 'good' AS nick, true AS admin, true AS enabled, 'p' AS password WHERE spy('view')",
        USERS + "CREATE INDEX ON users ((spy('index') AND admin))",
        USERS + "ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON users USING (spy('policy'))",
    ]
    found = []
    for statements in hostile:
        site.erp.execute(statements)
        kind = "VIEW" if "VIEW" in statements else "TABLE"
        if kind == "TABLE":
            site.erp.execute("INSERT INTO users VALUES ('good', true, true, 'bad')")
        site.execute(f"GRANT SELECT ON users TO {site.consumer.user}")
        users = SourceUsers(SourceConfig(url=database_url(site.consumer)))
        try:
            user = await users.find("good")
            found.append(user and user.password_hash)
        except SourceError:
            found.append("refused")
        finally:
            assert site.ran_as() == set(), statements
            await users.close()
        site.erp.execute(f"DROP {kind} users")
    assert found == ["bad", "refused", "refused", "refused"]
