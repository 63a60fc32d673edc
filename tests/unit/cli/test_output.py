"""Tables: drawn for a person at a terminal, plain text otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from click import unstyle

from cdc.cli.delivery import moment
from cdc.cli.doctor import Check
from cdc.cli.doctor import line as doctor_line
from cdc.cli.output import echo, print_fields, print_table, short_time
from cdc.model.finding import Finding, Severity

NOW = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
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


def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


def _printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = unstyle(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def test_table_that_fits_the_terminal_has_a_line_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _terminal_of_80_columns(monkeypatch)
    print_table(TITLES, ROWS, "none")
    assert _printed(capsys) == [
        "id     events                   enabled  seconds",
        "─" * 48,
        "ep_1   invoice.paid, receipt.*  yes      -",
        "ep_22  -                        no       0.5",
    ]


def test_one_long_column_is_wrapped_and_the_others_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _terminal_of_80_columns(monkeypatch)
    when = "a refund (factura rectificativa) is made; data is the refund, not the invoice"
    print_table(("event", "table", "when"), [("invoice.refunded", "facturascli", when)], "none")
    assert _printed(capsys) == [
        "event             table        when",
        "─" * 80,
        "invoice.refunded  facturascli  a refund (factura rectificativa) is made; data is",
        "                               the refund, not the invoice",
    ]


def test_table_that_is_too_wide_is_a_card_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _terminal_of_80_columns(monkeypatch)
    monkeypatch.setattr("cdc.cli.output.local_time", lambda time: f"{time:%Y-%m-%d %H:%M:%SZ}")
    titles = ("id", "event", "record", "endpoint", "state", "attempts", "status", "due")
    due = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
    rows = [
        ("dlv_12", "receipt.paid", "reciboscli:1008", "ep_4f1d2c90ab37e856", "pending", 0, None, due),
        ("7", "customer.updated", "clientes:1004", "ep_9fcf27e44061df6e", "delivered", 1, 200, None),
    ]
    print_table(titles, rows, "none")
    assert _printed(capsys) == [
        "dlv_12",
        "  event: receipt.paid · record: reciboscli:1008 · endpoint: ep_4f1d2c90ab37e856",
        "  state: pending · attempts: 0 · due: 2026-11-24 21:48:00Z",
        "id 7",
        "  event: customer.updated · record: clientes:1004",
        "  endpoint: ep_9fcf27e44061df6e · state: delivered · attempts: 1 · status: 200",
    ]


def test_nothing_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TITLES, [], "There is none.")
    assert capsys.readouterr() == ("", "There is none.\n")


@pytest.fixture
def in_madrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_madrid")
def test_times_are_local(capsys: pytest.CaptureFixture[str]) -> None:
    tokyo = timezone(timedelta(hours=9))
    print_fields([("due", datetime(2026, 11, 25, 6, 48, tzinfo=tokyo)), ("at", datetime(2026, 7, 1, tzinfo=UTC))])
    assert capsys.readouterr().out == "due  2026-11-24 22:48:00+01:00\nat   2026-07-01 02:00:00+02:00\n"
    assert moment("2026-07-01 02:00:00+02:00", NOW) == datetime(2026, 7, 1, tzinfo=UTC), "options take what is printed"


@pytest.mark.usefixtures("in_madrid")
@pytest.mark.parametrize(
    ("past", "text"),
    [
        (datetime(2026, 11, 24, 20, 0, 1, tzinfo=UTC), "21:00:01"),
        (datetime(2026, 11, 23, 23, 0, tzinfo=UTC), "00:00:00"),
        (datetime(2026, 11, 23, 22, 59, tzinfo=UTC), "11-23 23:59"),
        (datetime(2025, 12, 31, 23, 0, tzinfo=UTC), "01-01 00:00"),
        (datetime(2025, 12, 31, 22, 0, tzinfo=UTC), "2025-12-31"),
    ],
)
def test_times_of_rows_leave_out_what_goes_without_saying(past: datetime, text: str) -> None:
    assert short_time(past, NOW) == text


def test_a_check_of_doctor_is_wrapped_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = "more than 100,000 changes wait, the oldest for 12 min; the journal takes 1.2 GB of disk"
    check = Check("source main", Finding("backlog", Severity.WARNING, detail, "cdc run; where it runs, read its log"))
    echo(*doctor_line(check))
    assert len(_lines(capsys)) == 2
    _terminal_of_80_columns(monkeypatch)
    echo(*doctor_line(check))
    assert _printed(capsys) == [
        "WARNING  source main: backlog: more than 100,000 changes wait, the oldest for 12",
        "         min; the journal takes 1.2 GB of disk",
        "         fix: cdc run; where it runs, read its log",
    ]


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()
