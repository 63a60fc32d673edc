"""What the tables of a PostgreSQL outbox are like, for whoever helps."""

from __future__ import annotations

import psycopg

from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.errors import sentence
from cdc.outbox.postgres.session import connect_plainly
from cdc.outbox.statements import postgres_statements


async def read_schema(info: ConnectionInfo) -> dict[str, object]:
    """The server's version, the newest migration, and the columns of each table.  Raises `OutboxError`."""
    connection = await connect_plainly(info)
    try:
        cursor = await connection.execute("SELECT max(number) FROM cdc_outbox.migration")
        newest = await cursor.fetchone()
        columns = await (await connection.execute(postgres_statements()["schema"].encode())).fetchall()
        server = connection.info.server_version
    except psycopg.Error as error:
        raise sentence(error, info) from error
    finally:
        await connection.close()
    return {"server": server, "version": newest[0] if newest else None, "columns": columns}
