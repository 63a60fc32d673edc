"""Conditions that somebody gives: one, and nothing else."""

from __future__ import annotations

import pytest

from cdc.errors import UsageError
from cdc.sql_condition import check_condition


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
