"""A PostgreSQL outbox as one side of a move (`cdc.outbox.transfer`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from cdc.database.postgres_connection import connect
from cdc.model.connection import ConnectionInfo
from cdc.outbox.database import Row, postgres_statements
from cdc.outbox.postgres.database import CODEC, sentence
from cdc.outbox.shared import storable
from cdc.outbox.transfer import BATCH, COLUMNS, TransferPart

#: Excludes storing and finishing (it is the lock of the statement `begin`), and a second transfer.
_ALONE = "SET lock_timeout = '10s'; SET TIME ZONE 'UTC'; SELECT pg_advisory_lock(1667523328, 4)"
_LEASED = "SELECT count(*) FROM cdc_outbox.delivery WHERE state = 1 AND worker IS NOT NULL AND due > %s"
_RENUMBER = "UPDATE cdc_outbox.endpoint SET number = %s, removed_at = %s WHERE id = %s"


class PostgresSide:
    def __init__(self, info: ConnectionInfo, connection: psycopg.Connection[Any]) -> None:
        self.name = f"The outbox in {info.describe()}"
        self._db = connection

    def counts(self) -> dict[TransferPart, int]:
        return {part: self._one(sql.SQL("SELECT count(*) FROM {}").format(_table(part))) for part in TransferPart}

    def leased(self, now: datetime) -> int:
        return self._one(sql.SQL(_LEASED), now)

    def _one(self, query: sql.SQL | sql.Composed, *parameters: object) -> int:
        row = self._db.execute(query, parameters).fetchone()
        assert row is not None, "a count is a row"
        return int(row[0])

    def read(self, part: TransferPart) -> Iterator[list[Row]]:
        with self._db.cursor(name=f"move_{part}", withhold=False) as cursor:
            if part is TransferPart.ENDPOINTS:
                cursor.execute(postgres_statements()["all_endpoints"].encode())
            else:
                columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[part]))
                cursor.execute(sql.SQL("SELECT {} FROM {} ORDER BY 1").format(columns, _table(part)))
            while rows := cursor.fetchmany(BATCH):
                endpoints = part is TransferPart.ENDPOINTS
                yield [(row[0], CODEC.endpoint(row[2:]), row[1]) for row in rows] if endpoints else rows

    def write(self, part: TransferPart, rows: Sequence[Row]) -> None:
        if part is TransferPart.ENDPOINTS:
            for number, endpoint, removed_at in rows:
                self._db.execute(postgres_statements()["insert_endpoint"].encode(), CODEC.row(endpoint))
                self._db.execute(_RENUMBER, (number, removed_at, endpoint.id))
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[part]))
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(_table(part), columns)
        with self._db.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row([storable(value) if isinstance(value, str) else value for value in row])

    def complete(self) -> None:
        self._db.execute(postgres_statements()["complete"].encode())
        self._db.execute("COMMIT")


def _table(part: TransferPart) -> sql.Identifier:
    return sql.Identifier("cdc_outbox", part.value)


@contextmanager
def postgres_side(info: ConnectionInfo) -> Iterator[PostgresSide]:
    """Open the side of an outbox whose schema is up to date.  Raises `OutboxError`."""
    try:
        with connect(info, "cdc outbox migrate") as connection:
            connection.execute(_ALONE)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            yield PostgresSide(info, connection)
    except psycopg.Error as error:
        raise sentence(error, info) from error
