"""Who may create objects in the ERP's database has none of them called by the DBA's commands or the consumer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database

#: Functions of the catalogue that our statements call.
FUNCTIONS = (
    "array_agg array_position chr clock_timestamp count current_database current_setting extract format_type "
    "has_any_column_privilege has_column_privilege has_database_privilege has_schema_privilege has_table_privilege "
    "json_build_object max min now obj_description pg_backend_pid pg_current_snapshot pg_current_wal_insert_lsn "
    "pg_current_xact_id pg_get_userbyid pg_has_role pg_is_in_recovery pg_notify pg_snapshot_xmax pg_snapshot_xmin "
    "pg_total_relation_size pg_try_advisory_lock pg_visible_in_snapshot row_to_json set_config string_agg sum to_json "
    "to_regclass unnest"
)
#: Fills a schema with namesakes of what is in pg_catalog, and with better matches, which a session finds that searches
#: pg_catalog first.  Whoever calls one fails.  What PostgreSQL does not let anybody create is left out.
SHADOWS = r"""
SET search_path = pg_catalog;
CREATE FUNCTION {schema}.shadow() RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''a shadow was called''; END';
CREATE FUNCTION {schema}.made(sql text) RETURNS void LANGUAGE plpgsql AS
    'BEGIN EXECUTE sql; EXCEPTION WHEN OTHERS THEN NULL; END';
SELECT {schema}.made(format(
    'CREATE FUNCTION {schema}.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN PERFORM {schema}.shadow(); END''',
    proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid)
)) FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (string_to_array('{functions}', ' '));
SELECT
    {schema}.made(format(
        'CREATE FUNCTION {schema}.shadow(%s, %s) RETURNS %s
        LANGUAGE plpgsql AS ''BEGIN PERFORM {schema}.shadow(); END''',
        oprleft::regtype, oprright::regtype, oprresult::regtype
    )),
    {schema}.made(format(
        'CREATE OPERATOR {schema}.%s (FUNCTION = {schema}.shadow, LEFTARG = %s, RIGHTARG = %s)',
        oprname, oprleft::regtype, oprright::regtype
    ))
FROM pg_operator
WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
    AND oprname IN ('=', '<>', '<', '<=', '>', '>=', '||', '+', '-');
SELECT {schema}.made(format(
    'CREATE VIEW {schema}.%I AS SELECT * FROM pg_catalog.%I WHERE {schema}.shadow()', relname, relname
)) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v');
CREATE FUNCTION {schema}.shadow(oid, regtype) RETURNS boolean LANGUAGE sql AS 'SELECT {schema}.shadow()';
CREATE OPERATOR {schema}.= (FUNCTION = {schema}.shadow, LEFTARG = oid, RIGHTARG = regtype);
CREATE FUNCTION {schema}.array_position(int2[], int2) RETURNS integer LANGUAGE sql AS
    'SELECT CASE WHEN {schema}.shadow() THEN 1 END';
CREATE FUNCTION {schema}.array_position(name[], name) RETURNS integer LANGUAGE sql AS
    'SELECT CASE WHEN {schema}.shadow() THEN 1 END';
"""
PATHS = ['"$user", public', 'public, "$user", pg_catalog']


def _shadowed(database: Database, path: str) -> None:
    (role,) = database.execute("SELECT quote_ident(current_user)")[0]
    database.execute(f"CREATE SCHEMA {role}")
    for schema in ("public", role):
        database.execute(SHADOWS.format(schema=schema, functions=FUNCTIONS))
    database.execute(f"ALTER DATABASE {database.name} SET search_path = {path}")


def _outbox_in(consumer: Consumer, database: Database) -> None:
    path = consumer.folder / "cdc.toml"
    path.write_text(path.read_text().replace("sqlite:///cdc.db", database_url(database.info)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("capture", ["triggers", "logical"])
async def test_shadows_of_the_catalogue_are_never_called(
    capture: str, path: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue("postgres_db" if capture == "triggers" else "postgres_log_db")
    database.execute(
        "CREATE TABLE public.contadores (id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(40))"
    )
    await asyncio.to_thread(_shadowed, database, path)
    with pytest.raises(Exception, match="a shadow was called"):  # they are worth something
        database.connect().cursor().execute("SELECT array_position(i.indkey::int2[], 1::int2) FROM pg_index i")
    options = f'rules = "rules.toml"\ncapture = "{capture}"\n'
    consumer = Consumer.configure(tmp_path / "cdc", database.info, options)
    (consumer.folder / "rules.toml").write_text('tables = ["contadores"]\n')
    _outbox_in(consumer, database)
    install, uninstall = {
        "triggers": ("install-triggers", "uninstall-triggers"),
        "logical": ("install-slot", "uninstall-slot"),
    }[capture]
    inbox = Inbox()
    async with receiving(inbox) as url:
        await consumer.call("table", "list")
        await consumer.call("grants")
        await consumer.call(install, "--dry-run")
        await consumer.call(install)
        endpoint = await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            database.execute("INSERT INTO public.contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            await consumer.call("doctor")
            await consumer.call("backfill", "contadores", "--endpoint", endpoint["id"])
            await inbox.until_count(2)
            await consumer.call("delivery", "list")
        assert "shadow" not in consumer.log.read_text()
        await consumer.call(uninstall)
    assert [event["event"] for event in inbox.events] == ["contadores.created", "contadores.existing"]
