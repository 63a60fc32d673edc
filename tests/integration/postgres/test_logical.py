"""Reading PostgreSQL's log through a slot: what is seen, in which order, from where, and what is said of losses."""

from __future__ import annotations

from cdc.change import Operation
from support.database import Database
from support.logical import install_slot, reading
from support.postgres_capture import CAPTURES, SCHEMA


async def test_rows_as_the_contract_says(postgres_log_db: Database) -> None:
    postgres_log_db.script(SCHEMA)
    install_slot(postgres_log_db, CAPTURES)
    writer = postgres_log_db.connect()
    writer.execute("INSERT INTO users VALUES ('a', 'p', 'k', 1)")
    writer.execute("UPDATE users SET password = 'q', level = 2")
    writer.execute("UPDATE users SET level = 2")
    writer.execute("DELETE FROM users")
    writer.execute("TRUNCATE odd")
    writer.commit()
    async with reading(postgres_log_db, CAPTURES) as read:
        (transaction,) = await read.drain()
    changes = transaction.changes
    assert [change.operation for change in changes] == [*[*Operation][:3], Operation.TRUNCATE]
    assert [(change.before, change.after) for change in changes[:2]] == [
        (None, {"nick": "a", "level": 1}),
        ({"nick": "a", "level": 1}, {"nick": "a", "level": 2}),
    ]
    assert (changes[3].key, changes[3].before, changes[3].after) == ({}, None, None)
    assert [change.secrets_changed for change in changes[:2]] == [frozenset(), frozenset({"password"})]
    assert [change.ordinal for change in changes] == [0, 1, 3, 4]
    assert len({change.time for change in changes}) == 1
