"""Tables: drawn for a person at a terminal, plain text otherwise."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cdc.cli.output import print_fields, print_table

ROWS = [("ep_1", ("invoice.paid", "receipt.*"), True, None), ("ep_22", (), False, 0.5)]
TITLES = ("id", "events", "enabled", "seconds")


def test_plain_text_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TITLES, ROWS, "none")
    assert capsys.readouterr().out == (
        "ID     EVENTS                   ENABLED  SECONDS\n"
        "ep_1   invoice.paid, receipt.*  yes      -\n"
        "ep_22  -                        no       0.5\n"
    )


def test_a_terminal_gets_a_table_that_keeps_every_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_table(("url",), [("[red]http://h/" + "x" * 80,)], "none")
    out = capsys.readouterr().out
    assert "─" in out
    assert "[red]http://h/" + "x" * 80 in out.replace("\n", "").replace(" ", "")


def test_nothing_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TITLES, [], "There is none.")
    assert capsys.readouterr() == ("", "There is none.\n")


def test_times_are_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    madrid = timezone(timedelta(hours=1))
    print_fields([("due", datetime(2026, 11, 24, 22, 48, tzinfo=madrid)), ("at", datetime(2026, 1, 1, tzinfo=UTC))])
    assert capsys.readouterr().out == "due  2026-11-24 21:48:00Z\nat   2026-01-01 00:00:00Z\n"
