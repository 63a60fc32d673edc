"""The recording of a real FacturaScripts (66 user actions) on MariaDB, and the events that it must give.

It is not part of the project: ``SHARED`` may not be there.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from support.actions import statements
from support.database import Database

#: What was recorded from a real FacturaScripts, where it is at hand: the project has examples of its own without it.
SHARED = Path(os.environ.get("CDC_SHARED", Path(__file__).parents[3] / "shared")) / "facturascripts"


@dataclass(frozen=True, slots=True)
class Recorded:
    number: int
    title: str
    statements: tuple[str, ...]


def recording() -> list[Recorded]:
    text = gzip.decompress((SHARED / "scenario-mariadb.sql.gz").read_bytes()).decode()
    head, *parts = re.split(r"^-- ##MARK (\d+) (.*)$", text, flags=re.MULTILINE)
    found = [Recorded(0, "before the first action", tuple(statements(head)))]
    for number, title, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        found.append(Recorded(int(number), title, tuple(statements(body))))
    return found


def expectation() -> dict[int, list[str]]:
    """Number of an action → one line a transaction."""
    lines: dict[int, list[str]] = {}
    number = 0
    for line in (SHARED / "scenario-events.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(\d+) ", line):
            number = int(heading[1])
            lines[number] = []
        elif line.startswith("    ") and line.strip() != "(none)":
            lines[number].append(as_named_now(line.strip()))
    return lines


def as_named_now(line: str) -> str:
    """The recording knows that the user signed out; the row shows only a new session key.  It has an update beside each
    sign-in from another browser, whose columns the sign-in's event has too.  It lacks the events of issued invoices;
    its refund is inserted and issued in one transaction."""
    line = line.replace("invoice.approved", "invoice.approved ; invoice.issued")
    line = line.replace("invoice.refunded", "invoice.refunded ; invoice.issued ; invoice.rectified")
    line = line.replace("user.updated(lastbrowser,lastip) ; user.login", "user.login")
    return line.replace("user.logout", "user.session_changed")


def load(database: Database) -> None:
    text = gzip.decompress((SHARED / "scenario-mariadb-init.sql.gz").read_bytes()).decode()
    connection = database.connect()
    run(connection, tuple(_loadable(text)))
    connection.commit()


def _loadable(text: str) -> Iterator[str]:
    """The dump's own comments (some of them commands to MariaDB's client) are not needed to load it."""
    yield "SET FOREIGN_KEY_CHECKS = 0"
    yield "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
    for statement in statements(text):
        if statement.startswith(("CREATE TABLE", "INSERT INTO")):
            yield statement
    yield "SET FOREIGN_KEY_CHECKS = 1"


def run(connection: Any, texts: tuple[str, ...]) -> None:
    """A few of the recorded statements fail, as they did when they were recorded."""
    cursor = connection.cursor()
    for text in texts:
        try:
            cursor.execute(text)
        except pymysql.err.IntegrityError:
            continue
