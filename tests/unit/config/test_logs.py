"""Logs: one line an event, and no secrets."""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path

import orjson
import pytest
import structlog

from cdc.logs import configure_logs, log_many, readable_line, written_aside

SECRET = "hunter2"


def _fail(secret: str) -> None:
    """As an error that quotes what it met, found while another was handled, in a group."""
    try:
        {}[secret]
    except KeyError as error:
        message = f"{secret} is no number"
        raise ExceptionGroup(message, [ValueError(message), error]) from None


def lines(style: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure_logs(style, level, stream)
    log = structlog.get_logger()
    log.debug("detail")
    log.info("sent", url="https://u:hunter2@h/x", number=2, secret="hunter2", note="key whsec_aGVsbG8= here")
    logging.getLogger("library").warning("careful %s", "now")
    try:
        _fail(SECRET)
    except ExceptionGroup as group:
        log.exception("broken")
        logging.getLogger("library").error("broken too", exc_info=LookupError(SECRET, group))
    assert "hunter2" not in stream.getvalue()
    assert "aGVsbG8" not in stream.getvalue()
    return stream.getvalue().splitlines()


def test_json_is_one_object_a_line() -> None:
    sent, library, broken, too = map(orjson.loads, lines("json"))
    assert sent["message"] == "sent"
    assert (sent["level"], sent["number"], sent["url"]) == ("info", 2, "https://u:***@h/x")
    assert (library["message"], library["logger"]) == ("careful now", "library")
    assert [line for line in broken["exception"].splitlines() if not line.startswith(" ")] == [
        "builtins.KeyError",
        "led to:",
        "builtins.ValueError",
        "led to:",
        "builtins.ExceptionGroup",
    ]
    assert f'File "{__file__}", line' in broken["exception"]
    assert "in _fail" in broken["exception"]
    assert too["exception"] == "builtins.LookupError"


@pytest.mark.parametrize("style", ["json", "text"])
def test_many_lines_are_as_one_by_one(style: str) -> None:
    stream = io.StringIO()
    configure_logs(style, "info", stream)
    rows = [{"number": 1, "url": "https://h/x"}, {"number": 2, "url": "https://h/y"}]
    for row in rows:
        structlog.get_logger().info("sent", **row)
    log_many("sent", rows)
    one, two, three, four = stream.getvalue().splitlines()
    if style == "json":
        for single, many in ((one, three), (two, four)):
            single_fields, many_fields = orjson.loads(single), orjson.loads(many)
            assert single_fields.keys() == many_fields.keys()
            assert len(single_fields.pop("time")) == len(many_fields.pop("time"))
            assert single_fields == many_fields
    else:
        assert "number=1" in three
        assert "number=2" in four


@pytest.mark.parametrize("sign", ["\x1b", "\x7f", "\x9b", "\u202e"])
def test_many_lines_escape_what_controls_a_terminal(sign: str) -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    log_many("sent", [{"record": f"a{sign}b"}])
    line = stream.getvalue()
    assert sign not in line
    assert orjson.loads(line)["record"] == f"a{sign}b"


def test_many_lines_respect_the_level_and_whoever_captures_them() -> None:
    stream = io.StringIO()
    configure_logs("json", "warning", stream)
    log_many("sent", [{"number": 1}])
    assert stream.getvalue() == ""
    configure_logs("json", "info", stream)
    with structlog.testing.capture_logs() as captured:
        log_many("sent", [{"number": 1}])
    assert captured == [{"number": 1, "event": "sent", "log_level": "info"}]
    assert stream.getvalue() == ""


def test_text_and_level() -> None:
    assert any("sent" in line and "number=2" in line for line in lines("text"))
    assert any("detail" in line for line in lines("text", "debug"))
    assert not any("sent" in line for line in lines("text", "warning"))


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    reading, writing = os.pipe()
    lines = 20_000
    with os.fdopen(reading, encoding="utf-8") as log:
        with os.fdopen(writing, "w", encoding="utf-8") as stream, written_aside(stream) as aside:
            for number in range(lines):
                print(f"{number:0100}", file=aside, flush=True)  # never waits for a reader
            found = [log.readline()]
            while "dropped" not in found[-1]:
                found.append(log.readline())
            print("last", file=aside)
        assert log.read() == "last\n"
    dropped = int(found.pop().split()[0])
    kept = [int(line) for line in found]
    assert kept == sorted(set(kept))  # some lines between dropped ones are kept, when the thread made room for them
    assert len(kept) == lines - dropped
    assert dropped > lines // 4


def test_file_is_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream, written_aside(stream) as given:
        assert given is stream


ATTEMPT = {
    "event_name": "invoice.paid",
    "event_id": "evt_9b0dd2531f4887ce",
    "record": "facturascli:12",
    "source": "acme",
    "endpoint": "ep_4b0e7d1c92fa6380",
    "url": "https://shop.example/hooks",
    "number": 1,
    "status": 200,
    "seconds": 0.0118,
}
REFUSED = ATTEMPT | {"status": 500, "error": "The endpoint answered 500.", "state": "pending", "next": "21:48:05"}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (ATTEMPT, "delivered invoice.paid facturascli:12 → shop.example 200 12 ms endpoint=ep_4b0e7d1c92fa6380"),
        (REFUSED, "failed invoice.paid facturascli:12 → shop.example 500 12 ms: The endpoint answered 500. endpoint="),
        (REFUSED | {"state": "dead"}, "dead letter invoice.paid facturascli:12 → shop.example 500 12 ms: The "),
        (ATTEMPT | {"event_name": "batch", "record": "", "batch": 3}, "delivered batch of 3 → shop.example 200 12 ms "),
        (ATTEMPT | {"url": "mailto:a@b.example", "status": None}, "facturascli:12 → mailto:a@b.example 12 ms endpoint"),
        (ATTEMPT | {"url": "", "state": "cancelled", "error": "Removed."}, "→ ep_4b0e7d1c92fa6380 200 12 ms: Removed."),
        (ATTEMPT | {"record": "x:\x1b[2J\n7"}, "delivered invoice.paid x:\\u001b[2J\\u000a7 → shop.example"),
    ],
)
def test_text_line_of_an_attempt_begins_with_event_record_and_endpoint(fields: dict[str, object], line: str) -> None:
    stream = io.StringIO()
    configure_logs("text", "info", stream)
    structlog.get_logger().info("attempt", **fields)
    assert line in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("number=1") or "number=1 " in stream.getvalue()
    assert "event_id=evt_9b0dd2531f4887ce" in stream.getvalue().partition(" ms")[2]
    assert "acme" not in stream.getvalue()


def test_text_line_of_an_attempt_names_its_source_where_there_are_several() -> None:
    stream = io.StringIO()
    configure_logs("text", "info", stream, several=True)
    structlog.get_logger().info("attempt", **ATTEMPT)
    assert "delivered invoice.paid acme facturascli:12 → shop.example 200 12 ms endpoint=" in stream.getvalue()


def test_json_line_of_an_attempt_keeps_its_fields() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    structlog.get_logger().info("attempt", **ATTEMPT)
    assert orjson.loads(stream.getvalue()).items() >= (ATTEMPT | {"message": "attempt"}).items()


def test_json_line_of_a_service_is_shown_as_the_text_log_has_it() -> None:
    """Also on a terminal, where the caller escapes what it prints."""
    event = {"level": "error", "time": "2026-12-02T10:00:00Z", "error": "a\x1b[1m b", "source": "main"}
    shown = readable_line(orjson.dumps(event | {"message": "source failed"}).decode())
    assert re.fullmatch(r"2026-12-02T10:00:00Z \[error +\] source failed +error='a.*b' source=main", shown), shown
    assert "\x1b" not in shown
    assert readable_line("Started\x1b[1m it.") == "Started\\u001b[1m it."
    assert readable_line("[1]") == "[1]"
