"""Plans, rights and the words of the journal, without a database."""

from __future__ import annotations

import re
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.triggers.mysql_plan import RECORD, install_plan, uninstall_plan
from cdc.capture.triggers.mysql_state import Installation, Instrumentation, MySQLState, MySQLTrigger, Rights
from cdc.database.mysql_connection import Flavour, MySQLServer, literal, quote, tls_arguments
from cdc.database.mysql_inspect import MySQLTable, _granted
from cdc.database.mysql_journal import (
    JOURNAL,
    TABLES,
    VERSION,
    JournalShape,
    Tokens,
    captures_from_json,
    captures_to_json,
    decoder,
)
from cdc.database.mysql_types import MySQLColumn
from cdc.model.column import Capture, Column, ColumnKind
from cdc.model.connection import Tls
from cdc.model.errors import InstallError, SourceError
from cdc.model.normal import NORMALISERS

TABLE = MySQLTable("item", "InnoDB", (MySQLColumn("id", "int", "int(11)"),), ("id",))
EMPTY = MySQLState(
    server=MySQLServer(Flavour.MARIADB, "11.8", binlog=False),
    tables={"item": TABLE},
    foreign_keys=(),
    triggers=(),
    shapes={},
    installation=None,
    own_objects=frozenset(),
    taken=frozenset(),
    rights=Rights("root@%", frozenset({"ALL PRIVILEGES"})),
    trusts_creators=False,
    instrumentation=Instrumentation.READ,
    galera=False,
    cascade_switch=False,
    native_foreign_keys="",
    snapshot_switch=False,
    lost_definers=frozenset(),
)
CAPTURES = [Capture("item")]
PROVE = "prove that changes are captured"


CREATED = (
    r"CREATE DEFINER = CURRENT_USER TRIGGER `(?P<name>\w+)` AFTER (?P<event>\w+) ON `(?P<table>\w+)` "
    r"FOR EACH ROW\s+(?P<body>.*)"
)


def installed(*names: str) -> MySQLState:
    """What is found after the plan has run; of these tables (none: of `TABLE`)."""
    names = names or ("item",)
    captures = [Capture(name) for name in names]
    empty = replace(EMPTY, tables={name: replace(TABLE, name=name) for name in names})
    plan = install_plan(empty, captures)
    made = [re.match(CREATED, statement, re.DOTALL) for step in plan.steps for statement in step.statements]
    triggers = tuple(
        MySQLTrigger(each["name"], each["table"], "AFTER", each["event"], each["body"], "root@%")
        for each in made
        if each
    )
    columns = (Column("id", ColumnKind.INTEGER, "int(11)"),)
    return replace(
        empty,
        triggers=triggers,
        shapes={number: JournalShape(name, columns, ("id",)) for number, name in enumerate(names, 1)},
        installation=Installation(VERSION, Tokens.ROW_START, tuple(captures)),
        own_objects=frozenset(TABLES),
        versioned_probe=True,
        made={trigger.name: trigger.made for trigger in triggers},
    )


def test_the_second_plan_is_empty() -> None:
    assert install_plan(installed(), CAPTURES).steps == ()
    assert install_plan(installed(), CAPTURES).notes == ()


def test_triggers_are_examined_a_few_times_each_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"t{number:02}" for number in range(50)]
    found = installed(*names)
    wider = (*TABLE.columns, MySQLColumn("more", "int", "int(11)"))
    altered = replace(found, tables={name: replace(TABLE, name=name, columns=wider) for name in names})
    examined = 0

    def ours(trigger: MySQLTrigger) -> bool:
        nonlocal examined
        examined += 1
        return trigger.name.startswith("cdc_")

    monkeypatch.setattr(MySQLTrigger, "ours", property(ours))
    assert len(install_plan(altered, [Capture(name) for name in names]).steps) > len(names)
    assert examined <= 10 * len(found.triggers)


def test_one_lock_a_table_and_the_journal_first_and_last() -> None:
    steps = install_plan(EMPTY, CAPTURES).steps
    assert any(f"CREATE TABLE `{JOURNAL}`" in statement for statement in steps[0].statements)
    (triggers,) = [step for step in steps if step.table == "item"]
    assert triggers.statements[0] == "LOCK TABLES `item` WRITE"
    unlock, record = triggers.statements[-2:]
    assert (unlock, "'triggers made'" in record) == ("UNLOCK TABLES", True)
    gone = uninstall_plan(installed()).steps
    assert [step.table for step in gone] == ["item", ""]
    assert f"DROP TABLE IF EXISTS `{JOURNAL}`" in gone[-1].statements


def test_a_changed_trigger_is_replaced_under_its_lock_with_a_new_shape() -> None:
    wider = MySQLTable("item", "InnoDB", (*TABLE.columns, MySQLColumn("more", "int", "int(11)")), ("id",))
    plan = install_plan(replace(installed(), tables={"item": wider}), CAPTURES)
    assert "VALUES (2, 'item'" in plan.steps[0].statements[0]
    words = [statement.split()[0] for statement in plan.steps[-1].statements]
    swap = ["LOCK", "SELECT", "DROP", "DROP", "DROP", "CREATE", "CREATE", "CREATE", "UNLOCK"]
    # announced; recorded when they were created; noted once they are in place
    assert words == ["INSERT", *swap, "INSERT", "INSERT", "UPDATE"]


def test_capture_is_proved_before_a_table_of_the_erp_is_touched() -> None:
    titles = [step.title for step in install_plan(EMPTY, CAPTURES).steps]
    assert titles[-4:] == ["create the probe", PROVE, "create triggers of item", RECORD]


def test_triggers_with_a_lost_definer_are_made_again() -> None:
    plan = install_plan(replace(installed(), lost_definers=frozenset({"root@%"})), CAPTURES)
    assert [step.title for step in plan.steps] == ["create the probe", PROVE, "create triggers of item"]


def test_tokens_follow_the_server_unless_installed() -> None:
    assert EMPTY.tokens is Tokens.ROW_START
    assert replace(EMPTY, server=MySQLServer(Flavour.MARIADB, "", binlog=True)).tokens is Tokens.GTID
    assert replace(EMPTY, server=MySQLServer(Flavour.MYSQL, "", binlog=True)).tokens is Tokens.PERFORMANCE_SCHEMA
    assert replace(installed(), server=MySQLServer(Flavour.MARIADB, "", binlog=True)).tokens is Tokens.ROW_START


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(EMPTY, galera=True), "Galera"),
        (replace(EMPTY, rights=Rights("poor@%", frozenset(), frozenset({"SELECT"}))), "TRIGGER, LOCK TABLES"),
        (
            replace(
                EMPTY, server=MySQLServer(Flavour.MYSQL, "9.7", binlog=False), instrumentation=Instrumentation.EMPTY
            ),
            "performance schema",
        ),
        (replace(installed(), installation=Installation(VERSION + 1, Tokens.ROW_START, ())), "version"),
        (replace(EMPTY, taken=frozenset({"cdc_journal"})), "cdc_journal"),
    ],
)
def test_refusals(found: MySQLState, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        install_plan(found, CAPTURES)


MYSQL = replace(EMPTY, server=MySQLServer(Flavour.MYSQL, "9.7", binlog=True), trusts_creators=True)
MAY_ON_ITS_OWN = Rights("erp@10.0.0.%", frozenset(), frozenset({"ALL PRIVILEGES"}))


def test_denied_performance_schema_is_an_obstacle_that_names_the_grant() -> None:
    found = replace(MYSQL, rights=MAY_ON_ITS_OWN, instrumentation=Instrumentation.DENIED)
    plan = install_plan(found, CAPTURES)
    assert plan.steps == install_plan(replace(found, instrumentation=Instrumentation.READ), CAPTURES).steps
    assert "GRANT SELECT ON performance_schema.events_transactions_current TO 'erp'@'10.0.0.%'" in str(plan.obstacle)
    by_row = install_plan(replace(found, asked_tokens=Tokens.ROW), CAPTURES)
    assert by_row.obstacle is None
    assert "performance_schema" not in str(by_row.steps)


def test_tokens_by_row_are_recorded_and_remain_until_asked_otherwise() -> None:
    by_row = replace(installed(), server=MYSQL.server, installation=Installation(VERSION, Tokens.ROW, tuple(CAPTURES)))
    assert by_row.tokens is Tokens.ROW
    steps = install_plan(replace(by_row, asked_tokens=Tokens.PERFORMANCE_SCHEMA), CAPTURES).steps
    assert [step.title for step in steps] == ["create the probe", PROVE, "create triggers of item", RECORD]
    assert "'performance-schema'" in steps[-1].statements[0]


def test_missing_privileges_are_an_obstacle_and_the_plan_is_made() -> None:
    seeing = Rights("poor@%", frozenset(), frozenset({"SELECT", "TRIGGER"}))
    plan = install_plan(replace(EMPTY, rights=seeing), CAPTURES)
    assert [step.title for step in plan.steps] == [step.title for step in install_plan(EMPTY, CAPTURES).steps]
    assert "lacks the privilege" in str(plan.obstacle)


def test_tokens_by_row_are_refused_on_mariadb() -> None:
    with pytest.raises(InstallError, match="without any right"):
        install_plan(replace(EMPTY, asked_tokens=Tokens.ROW), CAPTURES)


@pytest.mark.parametrize(
    ("where", "covers"),
    [("`shop`.*", True), ("`sh%`.*", True), ("`sh_p`.*", True), (r"`sh\_p`.*", False), ("`shop`.`item`", False)],
)
def test_grants_are_patterns(where: str, covers: bool) -> None:
    grant = _granted(f"GRANT SELECT, INSERT (`id`, `name`) ON {where} TO `a`@`%`")
    assert grant is not None
    assert grant.privileges == {"SELECT", "INSERT"}
    assert (grant.whole and grant.covers("shop")) is covers


def test_captures_and_literals_survive() -> None:
    captures = [Capture("b", frozenset({"y", "x"})), Capture("a")]
    assert captures_from_json(captures_to_json(captures)) == [Capture("a"), captures[0]]
    assert quote("a`b") == "`a``b`"
    assert literal("it's") == "'it''s'"
    assert literal("ñ\\") == "CONVERT(X'c3b15c' USING utf8mb4)"


def test_tls_words() -> None:
    assert tls_arguments(Tls()) == {}
    assert tls_arguments(Tls("disable")) == {"ssl_disabled": True}
    assert not tls_arguments(Tls("require"))["ssl"].check_hostname
    assert tls_arguments(Tls("verify-full"))["ssl"].check_hostname


VALUES = {
    ColumnKind.BOOLEAN: st.none() | st.integers(-3, 3),
    ColumnKind.INTEGER: st.none() | st.integers(-(2**63), 2**64 - 1),
    ColumnKind.DOUBLE: st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    ColumnKind.REAL: st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    ColumnKind.DECIMAL: st.none() | st.decimals(allow_nan=False, allow_infinity=False).map(str),
    ColumnKind.DATE: st.none() | st.dates().map(str) | st.just("0000-00-00"),
    ColumnKind.TIME: st.none() | st.times().map(str) | st.just("-838:59:59.100000"),
    ColumnKind.TIMESTAMP: st.none() | st.datetimes().map(str) | st.just("0000-00-00 00:00:00.000000"),
    ColumnKind.TEXT: st.none() | st.text(st.characters(codec="utf-8")),
    ColumnKind.JSON: st.none() | st.text(st.characters(codec="utf-8")),
    ColumnKind.BINARY: st.none() | st.just("AAAA\nBBBB"),
    ColumnKind.OTHER: st.none() | st.text(st.characters(codec="utf-8")),
}


@given(st.tuples(*VALUES.values()))
def test_decoding_gives_the_normal_form(values: tuple[object, ...]) -> None:
    """The decoder's short cuts say what `cdc.model.normal` says, types included."""
    shape = JournalShape("t", tuple(Column(kind.value, kind) for kind in VALUES), ())
    decoded = decoder(shape)(orjson.dumps(values).decode())
    expected = {kind.value: NORMALISERS[kind](value) for kind, value in zip(VALUES, values, strict=True)}
    assert repr(decoded) == repr(expected)


def test_an_image_that_does_not_fit_its_shape_is_an_error() -> None:
    decode = decoder(JournalShape("t", (Column("a", ColumnKind.INTEGER),), ("a",)))
    with pytest.raises(SourceError, match="has 2 values instead of 1"):
        decode("[1, 2]")
