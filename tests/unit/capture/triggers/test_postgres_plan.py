"""Wanted against found, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.capture.triggers import postgres, postgres_plan
from cdc.capture.triggers import postgres_render as sql
from cdc.capture.triggers.base import Plan, Step
from cdc.capture.triggers.postgres import script
from cdc.capture.triggers.postgres_render import grants
from cdc.capture.triggers.postgres_state import (
    TABLES,
    FoundFunction,
    PostgresServer,
    PostgresState,
    PostgresTable,
    PostgresTrigger,
    Waiting,
)
from cdc.database.postgres_capture import JOURNAL_VERSION
from cdc.model.column import Capture
from cdc.model.connection import Account, AccountChoice, AccountRole
from cdc.model.errors import InstallError
from cdc.model.finding import Severity

SERVER = PostgresServer(
    version=150000,
    standby=False,
    read_only=False,
    role="dba",
    database="erp",
    schema="public",
    may_create=True,
    schema_exists=False,
    schema_owned=False,
    schema_ours=False,
    present=[],
    marker_exists=False,
    states_exist=False,
    schema_usable=False,
    namesakes=[],
    silent_roles=[],
)
OURS = replace(
    SERVER,
    schema_exists=True,
    schema_owned=True,
    schema_ours=True,
    present=list(TABLES),
    marker_exists=True,
    states_exist=True,
    schema_usable=True,
)
TABLE = PostgresTable(
    name="users", kind="r", owner="dba", may_trigger=True, has_key=True, styled=False, columns=["nick", "password"]
)
CAPTURE = Capture("users", frozenset({"password"}))


def bare(server: PostgresServer = SERVER, table: PostgresTable = TABLE) -> PostgresState:
    return PostgresState(server, "public", tables={table.name: table})


def installed() -> PostgresState:
    function = FoundFunction(
        "users", sql.function_source(CAPTURE), definer=False, settings=[*sql.function_settings(styled=False)]
    )
    triggers = tuple(PostgresTrigger("users", s.name, "O", s.type, False, "users") for s in sql.TRIGGERS)
    source = sql.append_source("public", {"dba"})
    append = FoundFunction("cdc_append", source, definer=True, open=True, appends=True)
    probe = replace(function, name=sql.PROBE, source=sql.function_source(Capture(sql.PROBE)))
    return PostgresState(
        OURS,
        "public",
        JOURNAL_VERSION,
        {"users": CAPTURE},
        {"users": TABLE},
        {"users": function, sql.PROBE: probe},
        {"users": triggers},
        append,
    )


def test_from_nothing_the_journal_comes_first() -> None:
    plan = postgres_plan.plan_install(bare(), [CAPTURE])
    titles = [
        "Make the journal",
        "Make the function that writes the journal",
        "Make the probe",
        postgres_plan.PROOF.title,
        "Capture users",
    ]
    assert [step.title for step in plan.steps] == titles
    granted = {line for step in plan.steps for line in "".join(step.statements).splitlines() if "GRANT" in line}
    assert granted == {
        "GRANT EXECUTE ON FUNCTION cdc.cdc_append TO PUBLIC;",
        "GRANT USAGE ON SCHEMA cdc TO PUBLIC;",
    }


def test_another_owner_is_let_in() -> None:
    plan = postgres_plan.plan_install(bare(table=replace(TABLE, owner='the "erp"')), [CAPTURE])
    assert 'GRANT USAGE ON SCHEMA cdc TO "the ""erp"""' in plan.steps[-1].statements[-1]


def test_what_is_installed_needs_nothing() -> None:
    assert postgres_plan.plan_install(installed(), [CAPTURE]) == Plan(())
    assert postgres_plan.drift(installed(), CAPTURE) == []


def test_a_missing_trigger_is_made_without_touching_the_others() -> None:
    found = installed()
    found = replace(found, triggers={"users": found.triggers["users"][:2]})
    _, step = postgres_plan.plan_install(found, [CAPTURE]).steps
    assert not any("DROP FUNCTION" in statement for statement in step.statements)
    assert [name for name in ("_cdc_row", "_cdc_truncate", "_cdc_update") if f"CREATE TRIGGER {name}" in str(step)] == [
        "_cdc_update"
    ]


def test_a_wrong_trigger_is_made_afresh_with_its_function() -> None:
    found = installed()
    wrong = replace(found.triggers["users"][0], enabled="D")
    found = replace(found, triggers={"users": (wrong, *found.triggers["users"][1:])})
    _, step = postgres_plan.plan_install(found, [CAPTURE]).steps
    assert "DROP FUNCTION" in step.statements[0]
    assert str(step).count("CREATE TRIGGER") == 3


@pytest.mark.parametrize("earlier", [True, False])
def test_only_an_earlier_version_has_triggers_with_a_condition(earlier: bool) -> None:
    """It recorded all changes; beside a function of today, a condition was added by somebody."""
    found = installed()
    function = found.functions["users"]
    source = function.source.replace(sql.COMPARES, "IF false") if earlier else function.source
    conditional = replace(found.triggers["users"][2], condition=True)
    found = replace(
        found,
        functions={**found.functions, "users": replace(function, source=source)},
        triggers={"users": (*found.triggers["users"][:2], conditional)},
    )
    _, step = postgres_plan.plan_install(found, [CAPTURE]).steps
    assert str(step).count("CREATE TRIGGER") == 3
    assert ("'G'" in str(step)) is not earlier


def test_other_secrets_need_no_lock_on_the_table() -> None:
    _, step = postgres_plan.plan_install(installed(), [Capture("users")]).steps
    assert step.title == "Capture users"
    assert " TRIGGER " not in "".join(step.statements[1:]).upper()


def test_uninstall_drops_the_journal_last() -> None:
    plan = postgres_plan.plan_uninstall(installed(), waiting=0)
    assert [step.title for step in plan.steps] == ["Stop capturing users", "Drop the journal"]
    assert postgres_plan.plan_uninstall(bare(), waiting=0) == Plan(())
    foreign = bare(replace(SERVER, schema_exists=True))
    assert postgres_plan.plan_uninstall(foreign, waiting=0).notes
    with pytest.raises(InstallError, match="does not own"):
        postgres_plan.plan_uninstall(replace(installed(), server=replace(OURS, schema_owned=False)), waiting=0)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (bare(replace(SERVER, version=120010)), "PostgreSQL 12; capture needs 13 or later"),
        (bare(replace(SERVER, standby=True)), r"read-only here \(a standby\)"),
        (replace(bare(), schema=""), "no current schema"),
        (bare(replace(SERVER, may_create=False)), "may not create a schema"),
        (bare(replace(SERVER, namesakes=["x.cdc_journal"])), "exist already: x.cdc_journal"),
        (replace(installed(), version=7), "has version 7, not 1"),
        (replace(installed(), server=replace(OURS, schema_owned=False)), "does not own the schema"),
        (bare(table=replace(TABLE, kind="f")), "a foreign table"),
        (bare(table=replace(TABLE, has_key=False)), "No primary key: table users"),
        (bare(table=replace(TABLE, may_trigger=False)), "may not create triggers on table users"),
    ],
)
def test_refusals_say_how_to_mend(found: PostgresState, sentence: str) -> None:
    with pytest.raises(InstallError, match=sentence) as caught:
        postgres_plan.plan_install(found, [CAPTURE])
    assert caught.value.hint.endswith((".", ";"))


def test_repair_knows_only_what_was_captured() -> None:
    assert postgres_plan.plan_repair(installed(), ["users"]) == Plan(())
    with pytest.raises(InstallError, match="Not captured, so not to be repaired: other"):
        postgres_plan.plan_repair(installed(), ["other"])


def test_literals_cannot_be_left() -> None:
    assert sql.literal("it's") == "'it''s'"
    assert sql.literal("a\\'b") == "E'a\\\\''b'"
    assert sql.text_array({"b", "a"}) == "ARRAY['a', 'b']::pg_catalog.text[]"
    assert sql.quote('a"b') == '"a""b"'


def test_a_script_has_a_transaction_a_step() -> None:
    text = script(Plan((Step("One", "", ("SELECT 1;\n",)), Step("Two", "t", ("SELECT 2;\n",))), ("careful",)), 2)
    assert text.startswith("-- careful\n\\set ON_ERROR_STOP on\nSET lock_timeout = '2000ms';")
    assert (text.count("BEGIN;"), text.count("COMMIT;")) == (2, 2)


def test_grants_leave_secret_columns_out() -> None:
    accounts = {role: Account(f"cdc_{role}", password="p'w") for role in AccountRole}
    text = grants(bare(), [CAPTURE, Capture("not there")], AccountChoice(), accounts)
    assert 'GRANT SELECT ("nick") ON "public"."users" TO "cdc_consumer";' in text
    assert "CREATE ROLE \"cdc_consumer\" LOGIN PASSWORD 'p''w';" in text
    assert '"password"' not in text
    assert "not there" not in text


def test_findings_of_a_healthy_database_are_ok() -> None:
    found = postgres.findings(installed(), [CAPTURE], Waiting(3, 1.0, 8192, consumer=True))
    assert {finding.severity for finding in found} == {Severity.OK}


@pytest.mark.parametrize(
    ("found", "captures", "check"),
    [
        (bare(), [CAPTURE], "journal"),
        (replace(installed(), version=7), [CAPTURE], "journal"),
        (replace(installed(), version=None), [CAPTURE], "journal"),
        (replace(installed(), server=replace(OURS, standby=True)), [CAPTURE], "server"),
        (replace(installed(), server=replace(OURS, version=90600)), [CAPTURE], "server"),
        (replace(installed(), tables={}), [CAPTURE], "table users"),
        (replace(installed(), captures={}), [CAPTURE], "table users"),
        (installed(), [Capture("users")], "table users"),
        (replace(installed(), functions={}), [CAPTURE], "table users"),
    ],
)
def test_findings_name_the_mending(found: PostgresState, captures: list[Capture], check: str) -> None:
    waiting = None if found.version is None else Waiting(0, 0.0, 0, consumer=True)
    wrong = [f for f in postgres.findings(found, captures, waiting) if f.severity is Severity.WRONG]
    assert [finding.check for finding in wrong] == [check]
    assert wrong[0].fix
