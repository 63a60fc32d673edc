"""Conditions that somebody gives: one, and nothing else."""

from __future__ import annotations

import pytest

from cdc.admin.backfills import check_condition, check_own_columns
from cdc.model.column import SecretColumns, SecretPatterns
from cdc.model.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "pagada",
        "fecha >= '2026-01-01' AND (pagada OR total > 1e3)",
        "nombre LIKE 'O''Brien; -- %'",
        '"fecha" IS NOT NULL',
        "`fecha` IS NOT NULL",
        "codcliente IN (SELECT codcliente FROM clientes WHERE nombre = ')')",
        "nombre = 'a\"b`c'",
    ],
)
def test_a_condition_passes_as_it_is(text: str) -> None:
    assert check_condition(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("TRUE; DROP TABLE clientes", "a semicolon"),
        ("TRUE -- ", "a comment"),
        ("TRUE /* ", "a comment"),
        ("TRUE # ", "the sign #"),
        ("nombre = $$a$$", r"the sign \$"),
        ("nombre = 'a\\' OR TRUE", "a backslash"),
        ("nombre = 'a\\'", "a backslash"),
        ("nombre = 'a", "a quote that does not end"),
        ('"nombre', "a quote that does not end"),
        ("TRUE) OR (TRUE", "not balanced"),
        ("(TRUE", "not balanced"),
        ("TRUE)", "not balanced"),
        ("TRUE\nOR FALSE", "cannot be printed"),
        ("a" * 2001, "2001 characters"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_condition(text)


SECRET = SecretColumns(frozenset({"password", "logkey", "iban"}), SecretPatterns(("*token*",)))


@pytest.mark.parametrize(
    "text",
    [
        "pagada",
        "fecha >= '2026-01-01' AND (pagada OR total > 1.5e3) AND NOT (editable)",
        "codcliente IN ('SELECT', 'pg_sleep(1)', 'password') OR \"codcliente\" LIKE 'Ñ%'",
        "lower(nombre) = 'o''brien' AND coalesce(total, 0) <> -1",
        "fecha > current_date - 7",
        "fecha BETWEEN (current_date) AND (current_date)",
        "`nick` != 'table'",
        "(total - (1 + 2) * 3) % 2 = 0",
    ],
)
def test_a_condition_of_the_rows_own_columns_passes_as_it_is(text: str) -> None:
    assert check_own_columns(text, SECRET) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nick IN (SELECT nick FROM users)", "the word select"),
        ("nick IN (TABLE nicks)", "the word table"),
        ("(WITH a AS (VALUES (1)) VALUES (1)) = 1", "the word with"),
        ("password LIKE 'a%'", "password, which is secret"),
        ("Access_Token LIKE 'a%'", "access_token, which is secret"),
        ("PASSWORD LIKE 'a%'", "password, which is secret"),
        ("\"password\" LIKE 'a%'", "password, which is secret"),
        ("`LogKey` LIKE 'a%'", "logkey, which is secret"),
        ("coalesce(nombre,iban) LIKE 'a%'", "iban, which is secret"),
        ("pa\u017f\u017fword LIKE 'a%'", "password, which is secret"),  # letters that are another's in lower case
        ("contraseña = '1'", "the word contraseña"),
        ("users.password = '1'", r"the sign \."),
        ("t > ('a', 'b')", "the word t"),
        ("(t).nombre = 'a'", "the word t"),
        ("nombre::regclass IS NULL", "the sign :"),
        ("@@version = '1'", "the sign @"),
        ("U&\"!0070assword\" UESCAPE '!' = 'a'", "the sign &"),
        ("{fn sleep(1)}", "the sign {"),
        ("nombre ~ '(a+)+'", "the sign ~"),
        ("row_to_json(nombre) IS NULL", "calls row_to_json"),
        ("pg_sleep (1) IS NULL", "calls pg_sleep"),
        ("\"lower\"(nombre) = 'a'", "calls `lower`"),
        ("`pg_sleep` (1) IS NULL", "calls `pg_sleep`"),
        ("cast(nombre AS integer) = 1", "calls cast"),
        ("pagada; TRUE", "a semicolon"),
        ("(TRUE", "not balanced"),
    ],
)
def test_anything_else_is_for_those_who_may_ask_the_database_themselves(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_own_columns(text, SECRET)
