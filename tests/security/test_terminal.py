"""Text that others wrote does not control the terminal of the person who reads it: each command on a pty."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import structlog

from cdc.logs import configure_logs
from cdc.model.backfill import Backfill
from cdc.model.delivery import DeliveryState
from cdc.model.errors import printable, printable_line
from cdc.model.finding import Finding, Severity
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.commands import on_terminal, run_command
from support.outboxes import NOW, endpoint, event, lease, outcome, store

#: Sets the title, clears the screen (ESC and C1), turns the direction, deletes, goes back to the start of the line.
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b2J\u202egpj.exe\u2066\x7f\rb"
#: Commands use colours, and tables nothing else.
_OURS = re.compile(r"\x1b\[[0-9;]*m")
_DIRECTIONS = {"RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"}
CONFIG = '[source.main]\nurl = "mysql://cdc:x@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
COMMANDS = (
    ("event", "tail", "--no-follow"),
    ("event", "tail", "--no-follow", "--json"),
    ("event", "export"),
    ("delivery", "list"),
    ("delivery", "list", "--json"),
    ("delivery", "show", "dlv_1"),
    ("delivery", "show", "dlv_1", "--json"),
    ("delivery", "export"),
    ("endpoint", "list"),
    ("endpoint", "list", "--json"),
    ("endpoint", "show", "ep_a"),
    ("backfill", "--list"),
    ("doctor",),
    ("doctor", "--json"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose outbox holds hostile text wherever others can put it."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "cdc.toml").write_text(CONFIG, encoding="utf-8")
    asyncio.run(_fill(folder / "cdc.db"))
    return folder


async def _fill(path: Path) -> None:
    outbox = SqliteOutbox(path)
    await outbox.open()
    try:
        made = endpoint("ep_a", description=HOSTILE, url=f"https://h.example/?{HOSTILE}")
        await outbox.add_endpoint(replace(made, enabled=True))
        row = {"idfactura": HOSTILE, HOSTILE: HOSTILE}
        await store(outbox, event(1, f"facturascli:{HOSTILE}", data=row, key=row, previous=row), now=NOW)
        (leased,) = await lease(outbox, NOW)
        ended = outcome(leased, DeliveryState.DEAD, answer=HOSTILE, error=HOSTILE)
        await outbox.finish("w", [ended], NOW)
        await outbox.add_backfill(Backfill("bkf_1", "main", HOSTILE, f"cli:{HOSTILE}", NOW))
    finally:
        await outbox.close()


def _controls(text: str) -> set[str]:
    """Return the characters of a text that control a terminal, besides colours and line ends."""
    plain = _OURS.sub("", text).replace("\r\n", "").replace("\n", "").replace("\t", "")
    return {
        f"{ord(sign):04x}"
        for sign in plain
        if unicodedata.category(sign) == "Cc" or unicodedata.bidirectional(sign) in _DIRECTIONS
    }


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_lets_foreign_text_control_the_terminal(folder: Path, arguments: tuple[str, ...]) -> None:
    seen = on_terminal(folder, *arguments, columns=200)
    assert _controls(seen) == set()
    assert "gpj.exe" in seen.replace("\r\n", "").replace(" ", "") or arguments[0] == "doctor"


def test_json_is_escaped_in_pipes_too_and_means_the_same(folder: Path) -> None:
    done = run_command("event", "tail", "--no-follow", "--json", folder=folder)
    assert _controls(done.stdout) == set()
    assert "\\u009b2J\\u202egpj.exe\\u2066\\u007f" in done.stdout
    assert json.loads(done.stdout)["data"][HOSTILE] == HOSTILE


@pytest.mark.parametrize("style", ["text", "json"])
def test_logs_are_escaped(style: str) -> None:
    stream = StringIO()
    configure_logs(style, "info", stream)
    try:
        structlog.get_logger().warning(
            f"said {HOSTILE}", answer=f"{HOSTILE}\n2026-11-29 a line of its own", all=[HOSTILE]
        )
    finally:
        structlog.reset_defaults()
    written = stream.getvalue()
    assert _controls(written) == set()
    assert written.count("\n") == 1
    if style == "json":
        assert json.loads(written)["all"] == [HOSTILE]


def test_a_finding_of_foreign_text_stays_a_line() -> None:
    finding = Finding("table", Severity.WRONG, printable(HOSTILE))
    assert _controls(finding.detail) == set()
    assert printable("tab\tline\nä€😀") == "tab\tline\nä€😀"
    assert printable_line("a\nb\tc") == "a\\u000ab\\u0009c"
