"""The planner's estimate of the rows that meet a condition: asked before they are read, it also shows whether the
condition is valid."""

from __future__ import annotations

from typing import Any, Final

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER

from cdc.capture.mysql_session import ProbeSession
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.mysql_connection import MISSING_TABLE, code_of
from cdc.database.mysql_connection import quote as quote_mysql
from cdc.database.sqlfile import load
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import SourceError, SourceUnavailable, UsageError

#: MySQL's errors of what is no SQL, of a column and of a function that there is not.
_OF_THE_TEXT: Final = frozenset({ER.PARSE_ERROR, ER.BAD_FIELD_ERROR, ER.SP_DOES_NOT_EXIST})
_EXPLAIN = "EXPLAIN SELECT 1 FROM {table} AS t WHERE ({where})"
_EXPLAIN_JSON = "EXPLAIN (FORMAT JSON) SELECT FROM {rows} AS t WHERE ({where})"


async def estimate(info: ConnectionInfo, table: str, where: str) -> int | None:
    """Estimate the number of rows; None when the account sees no such table.  Raises `UsageError` when ``where`` is not
    a condition on the table, `SourceError`."""
    condition = where or "TRUE"
    try:
        if info.engine is Engine.POSTGRESQL:
            return await _postgres(info, table, condition)
        return await _mysql(info, table, condition)
    except SourceUnavailable:
        raise
    except SourceError as error:
        if not where:
            raise
        # the server's own words, where they are about the text of the condition: a planner may also look at values
        words, cause = error.message.rpartition(": ")[2], error.__cause__
        if isinstance(cause, pymysql.err.MySQLError):
            code = code_of(cause)
            words = str(cause.args[-1]) if code in _OF_THE_TEXT else f"the server refuses it (error {code})"
        raise UsageError(
            f"The condition does not fit the table {table}: {words.rstrip('.')}.",
            "It is SQL of the database, for its WHERE.",
        ) from error


async def _postgres(info: ConnectionInfo, table: str, where: str) -> int | None:
    lookup = PostgresLookup(info, ())
    await lookup.connect()
    try:
        found = await lookup.link.query(load("postgres/read/find_table.sql"), [table])
        if not found:
            return None
        layout = await lookup.layout_of(found[0][0], table)
        explain = _EXPLAIN_JSON.format(rows=layout.rows, where=where.replace("%", "%%"))
        ((plan,),) = await lookup.read(layout, explain, {})
        return int(plan[0]["Plan"]["Plan Rows"])
    finally:
        await lookup.disconnect()


async def _mysql(info: ConnectionInfo, table: str, where: str) -> int | None:
    session = ProbeSession(info)

    def explained(connection: Connection[Any]) -> int:
        with connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(_EXPLAIN.format(table=quote_mysql(table), where=where))
            plan = cursor.fetchone() or {}
        return int(float(plan.get("rows") or 0) * float(plan.get("filtered") or 100) / 100)

    try:
        return await session.run(explained)
    except SourceError as error:
        if isinstance(error.__cause__, pymysql.err.MySQLError) and code_of(error.__cause__) == MISSING_TABLE:
            return None
        raise
    finally:
        await session.close()
