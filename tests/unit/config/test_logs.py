"""Logs: one line an event, and no secrets."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from cdc.logs import configure_logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


SECRET = "hunter2"


def _fail(secret: str) -> None:
    raise ValueError(len(secret))


def lines(style: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure_logs(style, level, stream)
    log = structlog.get_logger()
    log.debug("detail")
    log.info("sent", url="https://u:hunter2@h/x", number=2, secret="hunter2", note="key whsec_aGVsbG8= here")
    logging.getLogger("library").warning("careful %s", "now")
    try:
        _fail(SECRET)
    except ValueError:
        log.exception("broken")
    assert "hunter2" not in stream.getvalue()
    assert "aGVsbG8" not in stream.getvalue()
    return stream.getvalue().splitlines()


def test_json_is_one_object_a_line() -> None:
    sent, library, broken = map(orjson.loads, lines("json"))
    assert sent["message"] == "sent"
    assert (sent["level"], sent["number"], sent["url"]) == ("info", 2, "https://u:***@h/x")
    assert (library["message"], library["logger"]) == ("careful now", "library")
    assert broken["exception"].endswith("ValueError: 7")


def test_text_and_level() -> None:
    assert any("sent" in line and "number=2" in line for line in lines("text"))
    assert any("detail" in line for line in lines("text", "debug"))
    assert not any("sent" in line for line in lines("text", "warning"))
