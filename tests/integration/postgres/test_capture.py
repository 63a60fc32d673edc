"""What the triggers write, and that they never hurt the one who writes."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from cdc.capture.triggers import postgres_render as sql
from cdc.model.column import Capture
from support.postgres_capture import CAPTURES, Shop

QUICKLY = "SET lock_timeout = '300ms'; SET statement_timeout = '2s'"


def images(shop: Shop, table: str) -> list[tuple[str, Any, Any]]:
    return [
        (operation, json.loads(before) if before else None, json.loads(after) if after else None)
        for name, operation, before, after in shop.journal()
        if name == table
    ]


def test_lastval_is_the_erps_own(shop: Shop) -> None:
    connection = shop.database.connect()
    number = connection.execute("INSERT INTO invoices (total) VALUES (1) RETURNING id").fetchone()[0]
    assert connection.execute("SELECT lastval()").fetchone() == (number,)
    connection.execute("UPDATE invoices SET total = 2")
    connection.commit()
    assert connection.execute("SELECT lastval()").fetchone() == (number,)
    assert len(shop.journal()) == 2
    assert shop.execute("SELECT count(*) FROM pg_sequences WHERE schemaname = 'cdc'") == [(0,)]


def test_each_operation_with_whole_images(shop: Shop) -> None:
    shop.execute("INSERT INTO customers VALUES ('1', 'O&#39;Brien', NULL)")
    shop.execute("UPDATE customers SET email = 'a@b.es'")
    shop.execute("DELETE FROM customers")
    first = {"code": "1", "name": "O&#39;Brien", "email": None}
    second = {**first, "email": "a@b.es"}
    assert images(shop, "customers") == [("I", None, first), ("U", first, second), ("D", second, None)]
    assert list(images(shop, "customers")[0][2]) == ["code", "name", "email"]


def test_an_unchanged_row_writes_nothing(shop: Shop) -> None:
    shop.execute("INSERT INTO odd VALUES (1, '{\"a\": 1}', '(1,2)', 'x')")
    unchanged = "UPDATE odd SET document = '{\"a\": 1}', place = '(1,2)', COLUMN = COLUMN || ''"
    shop.execute(unchanged.replace("COLUMN", "label"))
    # neither is in the stored row
    shop.execute("ALTER TABLE odd ADD COLUMN big text DEFAULT repeat('a', 9), DROP COLUMN label")
    shop.execute(unchanged.replace("COLUMN", "big"))
    assert [operation for operation, _, _ in images(shop, "odd")] == ["I"]
    shop.execute("UPDATE odd SET big = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 999) n)")
    shop.execute(unchanged.replace("COLUMN", "big"))  # stored elsewhere, compared with the same text
    assert [operation for operation, _, _ in images(shop, "odd")] == ["I", "U"]


def test_types_without_equality_and_documents_that_jsonb_refuses(shop: Shop) -> None:
    shop.execute("INSERT INTO odd VALUES (1, '{\"a\": \"\\u0000\"}', '(1,2)', 'x')")
    shop.execute("UPDATE odd SET place = '(1,3)'")
    assert images(shop, "odd")[1][2] == {"id": 1, "document": {"a": "\0"}, "place": "(1,3)", "label": "x"}


def test_truncate_is_one_row(shop: Shop) -> None:
    shop.execute("TRUNCATE odd")
    assert images(shop, "odd") == [("T", None, None)]


def test_cascades_are_journaled(shop: Shop) -> None:
    shop.execute("INSERT INTO customers VALUES ('1', 'a')")
    shop.execute("INSERT INTO invoices (customer) VALUES ('1'), ('1')")
    shop.execute("UPDATE customers SET code = '2'")
    shop.execute("DELETE FROM customers")
    assert [operation for operation, _, _ in images(shop, "invoices")] == ["I", "I", "U", "U", "D", "D"]


def test_rolled_back_work_leaves_nothing(shop: Shop) -> None:
    connection = shop.database.connect()
    connection.execute("INSERT INTO customers VALUES ('1', 'a')")
    connection.execute("SAVEPOINT s; INSERT INTO customers VALUES ('2', 'b'); ROLLBACK TO s")
    connection.execute("INSERT INTO customers VALUES ('3', 'c')")
    connection.commit()
    connection.execute("DELETE FROM customers")
    connection.rollback()
    assert [after["code"] for _, _, after in images(shop, "customers")] == ["1", "3"]


@pytest.mark.parametrize(
    ("ddl", "expected"),
    [
        ("ALTER TABLE invoices ADD COLUMN extra text DEFAULT 'e'", {"extra": "e", "note": "n"}),
        ("ALTER TABLE invoices DROP COLUMN note", {"total": 2}),
        ("ALTER TABLE invoices RENAME COLUMN note TO remark", {"remark": "n"}),
        ("ALTER TABLE invoices ALTER COLUMN note TYPE varchar(300)", {"note": "n"}),
        ("ALTER TABLE invoices ALTER COLUMN units TYPE double precision", {"units": 5}),
        ("ALTER TABLE invoices ALTER COLUMN units TYPE text", {"units": "5"}),
        ("ALTER TABLE invoices ALTER COLUMN id TYPE bigint", {"id": 1}),
    ],
)
def test_writes_go_on_through_ddl(shop: Shop, ddl: str, expected: dict[str, Any]) -> None:
    """On a session that has the trigger's plans cached already."""
    writer = shop.database.connect(autocommit=True)
    writer.execute("INSERT INTO invoices (note, units) VALUES ('n', 5)")
    writer.execute("UPDATE invoices SET total = 1")
    shop.execute(ddl)
    writer.execute("UPDATE invoices SET total = 2")
    writer.execute("UPDATE invoices SET total = 2")
    writer.execute("INSERT INTO invoices (total) VALUES (3)")
    rows = images(shop, "invoices")
    assert [operation for operation, _, _ in rows] == ["I", "U", "U", "I"]
    assert expected.items() <= rows[2][2].items()


def test_secrets_never_enter_the_journal(shop: Shop) -> None:
    shop.execute("INSERT INTO users VALUES ('a', 'PLANTED-1', 'PLANTED-2', 1)")
    shop.execute("UPDATE users SET password = 'PLANTED-3', level = 2")
    shop.execute("UPDATE users SET logkey = NULL")
    shop.execute("ALTER TABLE users ADD COLUMN iban text")
    shop.execute("UPDATE users SET iban = 'PLANTED-4'")
    shop.execute("UPDATE users SET level = 3")
    shop.execute("DELETE FROM users")
    changed = shop.execute("SELECT secrets_changed FROM cdc.cdc_journal ORDER BY lsn")
    assert [names for (names,) in changed] == [None, ["password"], ["logkey"], ["iban"], None, None]
    everything = shop.execute("SELECT j::text FROM cdc.cdc_journal j")
    assert "PLANTED" not in str(everything)
    assert "iban" not in str(shop.journal())


def test_secret_columns_are_found_by_any_name(shop: Shop) -> None:
    """The trigger looks for them in what the server wrote: it must expect their names as the server writes them."""
    names = ['a"b', "c\\d", "e\nf", "g\th", "\x01", "\x7f", "ñandú €", "100%_$found", "'", '\\"', "/"]
    columns = ", ".join(f"{sql.quote(name)} text" for name in names).replace("%", "%%")
    shop.execute(f"CREATE TABLE safe (id integer PRIMARY KEY, {columns})", [])
    shop.installer.apply(
        shop.installer.plan_install([*CAPTURES, Capture("safe", frozenset(names))]), lambda _title: None
    )
    shop.execute(f"INSERT INTO safe VALUES (1{', %s' * len(names)})", ["PLANTED"] * len(names))
    for name in names:
        shop.execute(f"UPDATE safe SET {sql.quote(name).replace('%', '%%')} = 'PLANTED TOO'", [])
    for name in names[1:]:
        shop.execute(f"ALTER TABLE safe DROP COLUMN {sql.quote(name).replace('%', '%%')}", [])
        shop.execute("UPDATE safe SET id = id + 1")
    shop.execute("DELETE FROM safe")
    found = shop.execute("SELECT secrets_changed, before, after FROM cdc.cdc_journal ORDER BY lsn")
    assert [changed for changed, _, _ in found if changed] == [[name] for name in names]
    assert {tuple(json.loads(image)) for _, *images in found for image in images if image} == {("id",)}


def test_a_table_without_its_secret_columns_is_written_as_it_is(shop: Shop) -> None:
    """Not taken apart and put together again, which takes four times as long; a text that looks like one is none."""
    shop.execute("CREATE TABLE notes (id integer PRIMARY KEY, note text, document json)")
    wanted = [*CAPTURES, Capture("notes", frozenset({"iban"}))]
    shop.installer.apply(shop.installer.plan_install(wanted), lambda _title: None)
    shop.execute("INSERT INTO notes VALUES (1, %s, '{ \"b\": 1 }')", ['"iban":"x", \\"iban":'])
    written = shop.execute("SELECT row_to_json(n)::text FROM notes AS n")[0][0]
    shop.execute("UPDATE notes SET document = '{\"iban\":1}'")
    shop.execute("DELETE FROM notes")
    assert shop.journal()[0][3] == written
    last = {"id": 1, "note": '"iban":"x", \\"iban":', "document": {"iban": 1}}
    assert images(shop, "notes")[1:] == [("U", json.loads(written), last), ("D", last, None)]


def test_the_erps_role_needs_no_grant(shop: Shop) -> None:
    role = f"{shop.database.name}_erp"
    shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        shop.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON customers TO {role}")
        erp = shop.database.connect(role, "x", autocommit=True)
        erp.execute("INSERT INTO customers VALUES ('1', 'a')")
        erp.execute("UPDATE customers SET name = 'b'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            erp.execute("SELECT FROM cdc.cdc_journal")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            erp.execute('SELECT cdc."customers"()')
        assert len(shop.journal()) == 2
    finally:
        shop.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_nobody_waits(shop: Shop) -> None:
    """The consumer is in the middle of a delete and a long transaction is open: writes go through."""
    shop.execute("INSERT INTO customers VALUES ('1', 'a')")
    consumer, long, writer = (shop.database.connect() for _ in range(3))
    consumer.execute("DELETE FROM cdc.cdc_journal")
    long.execute("INSERT INTO customers VALUES ('2', 'b')")
    writer.execute(QUICKLY)
    writer.execute("UPDATE customers SET name = 'c' WHERE code = '1'")
    writer.commit()
    consumer.execute("SET LOCAL lock_timeout = '300ms'; DELETE FROM cdc.cdc_journal")
    consumer.commit()
    long.commit()
    assert [after["code"] for _, _, after in images(shop, "customers")] == ["2"]


def test_a_prepared_transaction_is_captured_even_while_the_consumer_is_idle(shop: Shop) -> None:
    if shop.execute("SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("the server does not prepare transactions")
    shop.execute("SELECT pg_advisory_lock(%s, 2)", [0x63646300])
    writer = shop.database.connect(autocommit=True)
    gid = shop.database.name
    writer.execute("BEGIN")
    writer.execute("INSERT INTO customers VALUES ('1', 'a')")
    writer.execute(f"PREPARE TRANSACTION '{gid}'")
    writer.execute(f"COMMIT PREPARED '{gid}'")
    assert len(shop.journal()) == 1


def test_what_a_session_sets_does_not_show(shop: Shop) -> None:
    shop.execute("ALTER TABLE odd ADD COLUMN bytes bytea, ADD COLUMN span interval, ADD COLUMN number float8")
    row = "'\\x00ff', '1 day 02:00', 0.1::float8 + 0.2"
    odd = "SET bytea_output = escape; SET intervalstyle = iso_8601; SET extra_float_digits = -3; SET search_path = no"
    for number, settings in enumerate(["SELECT 1", odd]):
        writer = shop.database.connect(autocommit=True)
        writer.execute(settings)
        writer.execute(f"INSERT INTO public.odd (id, bytes, span, number) VALUES ({number}, {row})")
    (_, _, first), (_, _, second) = images(shop, "odd")
    assert {**first, "id": 1} == second
    assert second["number"] == 0.1 + 0.2
