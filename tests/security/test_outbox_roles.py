"""A stolen process of one role: what its account can do to a PostgreSQL outbox, tried on a real server.

`ALLOWED` and `CALLED` say what each account may do, independently of `cdc.outbox.postgres.schema`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from cdc.model.connection import ConnectionInfo
from cdc.model.worker import ProcessRole
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outbox_roles import PASSWORD, ROLES, role_accounts
from support.outboxes import NOW, endpoint, event, store
from support.waiting import HANG_SECONDS

WORDS = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}
NOTHING, ACCESS = "", "S I U D"
_OUTLINE = (
    "number,id,events,sources,enabled,disabled_reason,created_at,removed_at,delivery_order,condition,failing_since"
)
#: Table → what capture, dispatch and web may do: S(ELECT), I(NSERT), U(PDATE), D(ELETE); after a colon the columns, if
#: not all.  Nobody may do anything else: TRUNCATE, REFERENCES, TRIGGER, MAINTAIN.
ALLOWED: dict[str, tuple[str, str, str]] = {
    "migration": ("S", "S", "S"),
    "event": ("S I", "S I D U:payload,label_code,label_name", "S I U:payload,label_code,label_name"),
    "delivery": (
        "S I U:lane,state",
        "S I D U:state,due,attempts,worker,finished_at",
        "S I U:lane,state,due,attempts,worker,finished_at",
    ),
    "attempt": (NOTHING, "S I D U:url,error,answer", "S I U:answer"),
    "resealing": ("S", ACCESS, "S I U"),
    "endpoint": (f"S:{_OUTLINE}", "S U:failing_since", "S I U"),
    "endpoint_outline": ("S", NOTHING, NOTHING),
    "endpoint_version": ("S", "S", "S U"),
    "endpoint_limit": (NOTHING, "S I U", "S U D"),
    "finished_count": ("S", "S I U", "S I U"),
    "activity": (NOTHING, ACCESS, "S I U"),
    "lane_alias": ("S I U:root", "S", "S"),
    "source_position": ("S I U", NOTHING, "S"),
    "source_state": (ACCESS, NOTHING, "S"),
    "source_lease": ("S I U", NOTHING, NOTHING),
    "worker": (ACCESS, NOTHING, NOTHING),
    "live_worker": ("S", NOTHING, NOTHING),
    "kept_row": (ACCESS, "S U:content", NOTHING),
    "quarantine": ("I S:id,source", "S D U:row_key,image_before,image_after", "S D U:backfill"),
    "backfill": ("S U:state,row_count,place,finished_at,error", NOTHING, "S I U"),
    "replay": (NOTHING, NOTHING, "S I U"),
    "access_user": (NOTHING, NOTHING, ACCESS),
    "access_totp_step": (NOTHING, NOTHING, "S I U"),
    "access_setup": (NOTHING, NOTHING, "S I D"),
    "access_session": (NOTHING, NOTHING, ACCESS),
    "access_token": (NOTHING, NOTHING, ACCESS),
    "idempotency": (NOTHING, NOTHING, ACCESS),
    "audit": (NOTHING, NOTHING, "S I U:hash"),
    "audit_chain": (NOTHING, NOTHING, "S I U"),
}
#: Function → who may call it.
CALLED: dict[str, set[ProcessRole]] = {
    "store": {ProcessRole.CAPTURE},
    "disable_endpoint": {ProcessRole.DISPATCH, ProcessRole.WEB},
    "disable_failing": {ProcessRole.DISPATCH},
    "disable_filtered": set(ROLES),
    "note_filter": set(ROLES),
    "forget_audit": {ProcessRole.WEB},
}
_HOW_TO_ADD = (
    "No role has a line for {} of the schema cdc_outbox.  Add one to ALLOWED (or CALLED) in {}; and, where cdc run "
    "needs it with one of the three accounts, to RIGHTS in cdc/outbox/postgres/schema.py."
)

Accounts = Mapping[ProcessRole, ConnectionInfo]


@pytest.fixture
def accounts(postgres_outbox_db: Database) -> Iterator[Accounts]:
    with role_accounts(postgres_outbox_db) as made:
        yield made


class Thief:
    """A session of a role's account.  Nothing that is tried stays."""

    def __init__(self, database: Database, info: ConnectionInfo) -> None:
        self.connection: psycopg.Connection[Any] = database.connect(info.user, PASSWORD)

    def refusal(self, statement: str) -> str:
        """Return the SQLSTATE with which it is refused; empty where it is not."""
        try:
            self.connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate or "?"
        finally:
            self.connection.rollback()
        return ""

    def rights(self, table: str) -> Iterator[str]:
        """Yield the rights on a table, or any of its columns, that PostgreSQL knows of."""
        newer = ("MAINTAIN",) if self.connection.info.server_version >= 170000 else ()
        for right in (*WORDS.values(), "TRUNCATE", "REFERENCES", "TRIGGER", *newer):
            of = "any_column" if right in ("SELECT", "INSERT", "UPDATE", "REFERENCES") else "table"
            row = self.connection.execute(f"SELECT has_{of}_privilege(%s, %s)".encode(), [table, right]).fetchone()
            if row == (True,):
                yield right

    def may(self, statement: str) -> bool:
        """Return whether rights allow it, even if the row that it makes is refused."""
        return self.refusal(statement) != errors.InsufficientPrivilege.sqlstate


def _allowed(table: str, role: ProcessRole) -> dict[str, set[str] | None]:
    """Return each letter's columns; None: all."""
    text = ALLOWED[table][ROLES.index(role)]
    return {each[0]: set(each[2:].split(",")) if ":" in each else None for each in text.split()}


@pytest.mark.parametrize("role", ROLES)
def test_every_right_of_a_role_is_expected(role: ProcessRole, postgres_outbox_db: Database, accounts: Accounts) -> None:
    columns = dict[tuple[str, str], list[str]]()
    for table, kind, column in postgres_outbox_db.execute(
        "SELECT relname, relkind::text, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE attnum > 0 AND relnamespace = 'cdc_outbox'::regnamespace AND relkind IN ('r', 'v', 'p', 'm', 'f')"
        " AND NOT attisdropped"
    ):
        columns.setdefault((table, kind), []).append(column)
    tables = {table for table, _ in columns}
    assert tables == ALLOWED.keys(), _HOW_TO_ADD.format(sorted(tables ^ ALLOWED.keys()), Path(__file__).name)
    thief, wrong = Thief(postgres_outbox_db, accounts[role]), []
    for (table, kind), its in columns.items():
        allowed = _allowed(table, role)
        for letter, column, statement in _tries(f"cdc_outbox.{table}", its, is_view=kind == "v"):
            limited = allowed.get(letter)
            expected = letter in allowed and (limited is None or column in limited)
            if thief.may(statement) != expected:
                wrong.append((statement, "not allowed" if expected else "allowed"))
        if rights := set(thief.rights(f"cdc_outbox.{table}")) - {WORDS[letter] for letter in allowed}:
            wrong.append((table, f"has {rights}"))
    assert not wrong


def _tries(name: str, columns: Sequence[str], *, is_view: bool) -> Iterator[tuple[str, str, str]]:
    """Yield letter, column and statement.  A statement that writes to a view may fail for another reason."""
    for column in columns:
        yield "S", column, f'SELECT "{column}" FROM {name} LIMIT 0'
        if not is_view:
            yield "I", column, f'INSERT INTO {name} ("{column}") VALUES (DEFAULT)'
            yield "U", column, f'UPDATE {name} SET "{column}" = DEFAULT'
    if not is_view:
        yield "D", "", f"DELETE FROM {name} WHERE false"
        yield "TRUNCATE", "", f"TRUNCATE {name}"
        yield "MAINTAIN", "", f"REINDEX TABLE {name}"
        function = "pg_catalog.suppress_redundant_updates_trigger"
        yield "TRIGGER", "", f"CREATE TRIGGER x AFTER INSERT ON {name} EXECUTE FUNCTION {function}()"
    yield "RULE", "", f"CREATE RULE x AS ON INSERT TO {name} DO ALSO NOTHING"


@pytest.mark.parametrize("role", ROLES)
def test_functions_and_sequences_of_a_role_are_expected(
    role: ProcessRole, postgres_outbox_db: Database, accounts: Accounts
) -> None:
    functions = postgres_outbox_db.execute(
        "SELECT proname, oidvectortypes(proargtypes), prosecdef, proconfig FROM pg_proc"
        " WHERE pronamespace = 'cdc_outbox'::regnamespace AND prorettype <> 'trigger'::regtype"
    )
    names = {name for name, *_ in functions}
    assert names == CALLED.keys(), _HOW_TO_ADD.format(sorted(names ^ CALLED.keys()), Path(__file__).name)
    thief = Thief(postgres_outbox_db, accounts[role])
    for name, types, definer, settings in functions:
        assert not definer or settings == ["search_path=pg_catalog, pg_temp"], name
        nothing = ", ".join(f"NULL::{each}" for each in types.split(", "))
        assert thief.may(f"SELECT cdc_outbox.{name}({nothing})") == (role in CALLED[name]), name
    for (sequence,) in postgres_outbox_db.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'cdc_outbox'::regnamespace AND relkind = 'S'"
    ):
        for statement in (f"SELECT nextval('{sequence}')", f"SELECT setval('{sequence}', 9)", f"TABLE {sequence}"):
            assert not thief.may(statement), statement


#: What a thief tries → the roles whose account can.
ATTACKS: dict[str, set[ProcessRole]] = {
    # an administrator, a way in, a token
    "INSERT INTO cdc_outbox.access_user VALUES ('eve', 'eve', 'manager', '', '', '', now())": {ProcessRole.WEB},
    "UPDATE cdc_outbox.access_user SET role = 'manager', password_hash = 'mine'": {ProcessRole.WEB},
    "INSERT INTO cdc_outbox.access_session"
    " VALUES ('d', 'a', 'a', 'manager', 'password', '', '', now(), now(), now())": {ProcessRole.WEB},
    "INSERT INTO cdc_outbox.access_setup VALUES ('d', 'infinity')": {ProcessRole.WEB},
    "INSERT INTO cdc_outbox.access_token VALUES ('t', 't', 't', 'manage', 'd', now())": {ProcessRole.WEB},
    "SELECT digest FROM cdc_outbox.access_token": {ProcessRole.WEB},
    # endpoints
    "UPDATE cdc_outbox.endpoint SET settings = jsonb_set(settings, '{url}', '\"https://eve.example\"')": {
        ProcessRole.WEB
    },
    "UPDATE cdc_outbox.endpoint SET enabled = true, removed_at = NULL": {ProcessRole.WEB},
    "UPDATE cdc_outbox.endpoint SET secret = 'mine'": {ProcessRole.WEB},
    "INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, settings, created_at)"
    " VALUES ('e', '{*}', '{}', true, '', '', '{}', now())": {ProcessRole.WEB},
    "DELETE FROM cdc_outbox.endpoint": set(),
    "SELECT secret, headers, settings FROM cdc_outbox.endpoint": {ProcessRole.DISPATCH, ProcessRole.WEB},
    "SELECT * FROM cdc_outbox.endpoint FOR UPDATE": {ProcessRole.DISPATCH, ProcessRole.WEB},
    # the audit log
    "INSERT INTO cdc_outbox.audit VALUES (9, now(), 'ann', 'a', 's', '{}')": {ProcessRole.WEB},
    "UPDATE cdc_outbox.audit SET actor = 'somebody else'": set(),
    "DELETE FROM cdc_outbox.audit": set(),
    "TRUNCATE cdc_outbox.audit": set(),
    "DELETE FROM cdc_outbox.audit_chain": set(),
    # another's lease of a source, its position, its rows
    "UPDATE cdc_outbox.source_lease SET worker = 'eve'": {ProcessRole.CAPTURE},
    "UPDATE cdc_outbox.source_position SET position = '0'": {ProcessRole.CAPTURE},
    "DELETE FROM cdc_outbox.worker": {ProcessRole.CAPTURE},
    "DELETE FROM cdc_outbox.delivery": {ProcessRole.DISPATCH},
    "DELETE FROM cdc_outbox.event": {ProcessRole.DISPATCH},
    "UPDATE cdc_outbox.event SET source = 'victim'": set(),
    "UPDATE cdc_outbox.migration SET number = 1": set(),
    # objects of the schema
    "CREATE TABLE cdc_outbox.mine (x integer)": set(),
    "CREATE FUNCTION cdc_outbox.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'": set(),
    "CREATE OR REPLACE FUNCTION cdc_outbox.note_filter(its_id text, its_condition text, problem text) RETURNS boolean"
    " LANGUAGE sql AS 'SELECT true'": set(),
    "CREATE OPERATOR cdc_outbox.= (FUNCTION = pg_catalog.texteq, LEFTARG = text, RIGHTARG = text)": set(),
    "CREATE TRIGGER mine BEFORE INSERT ON cdc_outbox.event FOR EACH ROW"
    " EXECUTE FUNCTION cdc_outbox.endpoint_changed()": set(),
    "CREATE RULE mine AS ON INSERT TO cdc_outbox.event DO INSTEAD NOTHING": set(),
    "CREATE POLICY mine ON cdc_outbox.event": set(),
    "ALTER TABLE cdc_outbox.endpoint DISABLE TRIGGER ALL": set(),
    "ALTER TABLE cdc_outbox.event ADD COLUMN mine text": set(),
    "ALTER FUNCTION cdc_outbox.note_filter(text, text, text) RESET ALL": set(),
    "ALTER SCHEMA cdc_outbox RENAME TO mine": set(),
    "DROP SCHEMA cdc_outbox CASCADE": set(),
    "GRANT ALL ON cdc_outbox.access_user TO PUBLIC": {ProcessRole.WEB},  # a warning: nothing is granted
    "CREATE STATISTICS cdc_outbox.mine ON id, name FROM cdc_outbox.event": set(),
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION cdc_outbox.endpoint_changed()": set(),
    "CREATE SCHEMA mine": set(),
    "CREATE PUBLICATION mine FOR ALL TABLES": set(),
    # other accounts, and the server
    "SET ROLE {owner}": set(),
    "SET SESSION AUTHORIZATION {owner}": set(),
    "ALTER ROLE {owner} PASSWORD 'mine'": set(),
    "CREATE ROLE mine": set(),
    "GRANT {owner} TO current_user": set(),
    "REASSIGN OWNED BY {owner} TO current_user": set(),
    "SET session_replication_role = replica": set(),
    "COPY cdc_outbox.event TO PROGRAM 'cat'": set(),
    "COPY cdc_outbox.event (payload) FROM '/etc/hostname'": set(),
    "TABLE cdc_outbox.access_user": {ProcessRole.WEB},
    "SELECT pg_read_file('/etc/hostname')": set(),
    "SELECT lo_import('/etc/hostname')": set(),
    "SELECT lo_export(1, '/tmp/mine')": set(),
    "SELECT pg_catalog.set_config('log_statement', 'all', false)": set(),
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'": set(),
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')": set(),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_stolen_account_does_nothing_beyond_its_work(
    role: ProcessRole, postgres_outbox_db: Database, accounts: Accounts
) -> None:
    thief, owner = Thief(postgres_outbox_db, accounts[role]), postgres_outbox_db.info.user
    others = [accounts[each].user for each in ROLES if each is not role]
    attacks = {text.replace("{owner}", owner): able for text, able in ATTACKS.items()}
    attacks |= {f'SET ROLE "{each}"': set() for each in others}
    outcome = {text: thief.may(text) for text in attacks}
    assert outcome == {text: role in able for text, able in attacks.items()}


@pytest.mark.parametrize("role", ROLES)
async def test_functions_of_the_owner_do_only_what_they_say(
    role: ProcessRole, postgres_outbox_db: Database, accounts: Accounts
) -> None:
    """With names of the thief's in its search path, as every account could make them before PostgreSQL 15."""
    database = postgres_outbox_db
    await store_endpoint(database)
    database.execute("INSERT INTO cdc_outbox.audit VALUES (1, now() - interval '2 years', 'a', 'old', '', '{}')")
    database.execute("INSERT INTO cdc_outbox.audit VALUES (2, now() - interval '2 days', 'a', 'new', '', '{}')")
    database.execute(f'GRANT CREATE ON SCHEMA public TO "{accounts[role].user}"')
    thief = Thief(database, accounts[role]).connection
    thief.autocommit = True
    thief.execute(HIJACK)
    before = database.execute("SELECT id, enabled, secret, settings - 'filter_problem' FROM cdc_outbox.endpoint")
    calls = {
        "note_filter": "('ep_a', '', '\"}, \"url\": \"https://eve.example\"')",
        "disable_filtered": "('ep_a', 'another filter', 'why')",
        "disable_failing": "('ep_a', now(), 'why')",
        "forget_audit": "('infinity', 1000)",
    }
    for name, arguments in calls.items():
        if role in CALLED[name]:
            thief.execute(f"SELECT cdc_outbox.{name}{arguments}")
    assert (
        database.execute("SELECT id, enabled, secret, settings - 'filter_problem' FROM cdc_outbox.endpoint") == before
    )
    kept = ["new"] if role is ProcessRole.WEB else ["old", "new"]
    assert [action for (action,) in database.execute("SELECT action FROM cdc_outbox.audit ORDER BY number")] == kept
    owners = PostgresOutbox(database.info)  # nor do the owner's sessions call them
    await owners.open()
    await store(owners, event(1))
    await owners.remove_endpoint("ep_a", NOW)
    await owners.close()
    assert {who for (who,) in database.execute("SELECT who FROM public.called")} <= {accounts[role].user}


#: Names of the catalogue, and of our tables, that note which account calls them.
HIJACK = """
CREATE TABLE public.called (who text);
GRANT INSERT ON public.called TO PUBLIC;
CREATE FUNCTION public.note(text, text) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.called VALUES (current_user); RETURN true; END';
CREATE OPERATOR public.= (FUNCTION = public.note, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION public.jsonb_set(jsonb, text[], jsonb) RETURNS jsonb LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.called VALUES (current_user); RETURN ''{"url": "https://eve.example"}''; END';
CREATE FUNCTION public.to_jsonb(text) RETURNS jsonb LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.called VALUES (current_user); RETURN ''1''; END';
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.called VALUES (current_user); RETURN ''infinity''; END';
CREATE FUNCTION public.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.called VALUES (current_user); RETURN true; END';
CREATE TEMPORARY TABLE endpoint (LIKE public.called);
CREATE TEMPORARY TABLE pg_namespace (nspname name, nspowner oid);
SET search_path = pg_temp, public, pg_catalog;
"""


async def store_endpoint(database: Database) -> None:
    owners = PostgresOutbox(database.info)
    await owners.open()
    await owners.add_endpoint(endpoint())
    await owners.close()


async def test_forged_notices_only_have_processes_look_again(postgres_outbox_db: Database, accounts: Accounts) -> None:
    """Every account of a PostgreSQL may NOTIFY: there is no right to withhold."""
    await store_endpoint(postgres_outbox_db)
    outbox = PostgresOutbox(accounts[ProcessRole.DISPATCH])
    await outbox.open()
    woken = []
    outbox.on_write(lambda: woken.append(1))
    await outbox.changed()
    thief = Thief(postgres_outbox_db, accounts[ProcessRole.CAPTURE]).connection
    thief.autocommit = True
    for payload in ("", "due", "x due", "x due; DROP TABLE", "ñ\n\x01" * 900, "x" * 7999, " "):
        thief.execute("SELECT pg_notify('cdc_outbox', %s)", [payload])
    await until_changed(outbox)
    assert await outbox.lease("w", NOW, NOW, 10) == []
    assert [each.id for each in await outbox.endpoints()] == ["ep_a"]
    await outbox.close()


async def until_changed(outbox: PostgresOutbox) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not await outbox.changed():  # noqa: ASYNC110 - a notice of another session
            await asyncio.sleep(0.02)
