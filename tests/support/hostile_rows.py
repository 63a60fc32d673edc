"""Journal rows that no trigger writes: the ERP's account may write them where it installed the journal."""

from __future__ import annotations

from support.database import Database

#: Forms for a table with the columns id, valor and nota; TABLE is its name.
POSTGRESQL = [
    "('TABLE', 'X', NULL, '{\"id\": 1}', clock_timestamp())",  # an operation that there is not
    "('TABLE', 'U', NULL, NULL, clock_timestamp())",
    "('TABLE', 'I', NULL, 'no json', clock_timestamp())",
    "('TABLE', 'I', NULL, '[1, 2]', clock_timestamp())",
    "('TABLE', 'I', NULL, '{}', clock_timestamp())",
    "('TABLE', 'I', NULL, '{\"id\": null}', clock_timestamp())",
    "('TABLE', 'U', '{\"id\": 1', '{\"id\": 1, \"valor\": \"x\"}', clock_timestamp())",
    "('TABLE', 'I', NULL, '{\"id\": 77, \"valor\": ' || repeat('[', 5000) || repeat(']', 5000) || '}', now())",
    "('TABLE', 'D', NULL, NULL, 'infinity')",
    "('TABLE', 'I', NULL, '{\"id\": 78, \"valor\": 1, \"nota\": null}', '-infinity')",
    "('no_such_table', 'I', NULL, '{\"id\": 1}', clock_timestamp())",
    "('', 'T', NULL, NULL, '294276-01-01')",
    "('TABLE', 'I', NULL, '{\"id\": 1e400}', clock_timestamp())",
]
MYSQL = [
    "(1, NOW(6), SHAPE, 9, NULL, '[1, 2, 3]', NULL)",  # an operation that there is not
    "(1, NOW(6), 4000000000, 1, NULL, '[1, 2, 3]', NULL)",  # a shape that there is not
    "(1, NOW(6), SHAPE, 1, NULL, 'no json', NULL)",
    "(1, NOW(6), SHAPE, 1, NULL, '{\"id\": 1}', NULL)",
    "(1, NOW(6), SHAPE, 1, NULL, '[]', NULL)",
    "(1, NOW(6), SHAPE, 1, NULL, '[79, 1, null, 4, 5]', NULL)",  # a key that can be read, and too many values
    "(1, NOW(6), SHAPE, 2, '[1', '[1, \"x\", 3, 4, 5]', NULL)",
    "(1, NOW(6), SHAPE, 1, NULL, CONCAT('[77, ', REPEAT('[', 5000), REPEAT(']', 5000), ', null]'), NULL)",
    "(1, '9999-12-31 23:59:59.999999', SHAPE, 1, NULL, '[78, 1, null]', NULL)",
    "(1, NOW(6), SHAPE, 2, '[1, 0, null]', '[1, 1, null]', 'a,b')",
    "(1, NOW(6), SHAPE, 2, '[1, 0, null]', '[1, 1, null]', '99')",
    "(18446744073709551615, NOW(6), SHAPE, 3, NULL, NULL, NULL)",
]


def plant(database: Database, table: str) -> None:
    """Write every form into the journal, as changes of this table."""
    if database.flavour == "postgresql":
        for number, values in enumerate(POSTGRESQL, 1):
            database.execute(
                f"""
                INSERT INTO cdc.cdc_journal (xid, lsn, table_name, operation, before, after, at)
                SELECT pg_current_xact_id(), pg_current_wal_insert_lsn() + {number}, t, o::"char", b, a, at::timestamptz
                FROM (VALUES {values.replace("TABLE", table)}) AS v (t, o, b, a, at)
                """
            )
        return
    ((shape,),) = database.execute("SELECT MAX(`id`) FROM cdc_shape WHERE `table_name` = %s", [table])
    columns = "`txn`, `at`, `shape`, `op`, `image_before`, `image_after`, `secrets`"
    database.execute("SET SESSION sql_mode = ''")
    # by one statement: they share a transaction's token, as rows of one transaction do
    rows = ", ".join(MYSQL).replace("SHAPE", str(shape))
    database.execute(f"INSERT INTO cdc_journal ({columns}) VALUES {rows}")
