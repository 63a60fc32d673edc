"""The statements that an outbox sends to its database, each with the plan that the same connection has for it.

Both databases are watched where every statement passes: at the connection.  So one that a page or a listing runs is
seen without being named anywhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from unittest.mock import patch

import psycopg
from psycopg import AsyncConnection

#: What reads tables; the others begin and end transactions, ask about settings, or lock.
_PLANNED = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")


@dataclass
class SeenStatements:
    """``texts``: in the order in which they ran; ``asked``: with parameters, of PostgreSQL.  ``plans``: of each text,
    if they are ``explained``: steps as the database writes them."""

    explained: bool = False
    texts: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    plans: dict[str, list[Any]] = field(default_factory=dict)

    def wants_plan(self, text: str) -> bool:
        return self.explained and text not in self.plans and text.lstrip().startswith(_PLANNED)


@contextmanager
def sqlite_seen(seen: SeenStatements) -> Iterator[None]:
    """Record the statements of connections that are made inside the block."""

    def note(db: sqlite3.Connection, text: str, parameters: Any) -> None:
        seen.texts.append(text)
        if seen.wants_plan(text):
            steps = sqlite3.Connection.execute(db, f"EXPLAIN QUERY PLAN {text}", parameters)
            seen.plans[text] = [step for *_, step in steps]

    class Cursor(sqlite3.Cursor):
        def execute(self, text: str, parameters: Any = ()) -> Self:
            note(self.connection, text, parameters)
            super().execute(text, parameters)
            return self

    class Connection(sqlite3.Connection):
        def execute(self, text: str, parameters: Any = ()) -> sqlite3.Cursor:
            note(self, text, parameters)
            return super().execute(text, parameters)

        def cursor(self, *_factory: Any) -> sqlite3.Cursor:  # type: ignore[override]  # this one's is the only one
            return super().cursor(Cursor)

    with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Connection)):
        yield


@contextmanager
def postgres_seen(seen: SeenStatements, planner: psycopg.Connection[Any] | None = None) -> Iterator[None]:
    """Record the statements of all connections inside the block.  ``planner``: plans them; it is not in a transaction
    of theirs."""
    execute = AsyncConnection.execute

    async def watched(self: Any, text: bytes, parameters: Any = None, **more: Any) -> Any:
        sql = text.decode()
        seen.texts.append(sql)
        seen.asked.append((sql, parameters))
        if planner is not None and seen.wants_plan(sql):
            row = planner.execute(b"EXPLAIN (FORMAT JSON) " + text, parameters, prepare=False).fetchone()
            assert row is not None
            seen.plans[sql] = list(plan_steps(row[0][0]["Plan"]))
        return await execute(self, text, parameters, **more)

    with patch.object(AsyncConnection, "execute", watched):
        yield


def plan_steps(node: Mapping[str, Any], above: str = "") -> Iterator[Mapping[str, Any]]:
    """The steps of a plan of PostgreSQL; ``Above`` is the kind of the step that asks one for rows."""
    yield {**node, "Above": above}
    for child in node.get("Plans", []):
        yield from plan_steps(child, node["Node Type"])
