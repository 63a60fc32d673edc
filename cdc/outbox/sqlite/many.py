"""Many rows into a table, with few steps of SQLite.

Between two steps a thread gives up Python's interpreter lock, and the event loop's thread, which takes it, gives it
back when it likes: what a step costs is the waiting, not the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any

from cdc.sqlfile import load

#: Rows of a statement; the rest of them go one by one, so that two texts are all that there are to prepare.
AT_ONCE = 16


def insert_many(db: sqlite3.Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """``name``: of a file that ends with the parameters of one row, in parentheses."""
    together = len(rows) - len(rows) % AT_ONCE
    for first in range(0, together, AT_ONCE):
        db.execute(_of_many(name), [value for row in rows[first : first + AT_ONCE] for value in row])
    db.executemany(load(name), rows[together:])


@cache
def _of_many(name: str) -> str:
    text = load(name).rstrip()
    one = text[text.rindex("(") :]
    return text + f", {one}" * (AT_ONCE - 1)
