"""Acts of an ERP or its administrator on a table that triggers capture: journaled, or documented in docs/sources.md as
not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.database import Database
from support.mysql_capture import brief, drain, install
from support.mysql_pair import RESET

TABLES = """
CREATE TABLE partes (id INT, n INT, PRIMARY KEY (id)) PARTITION BY RANGE (id)
  (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20));
CREATE TABLE otra (id INT PRIMARY KEY, n INT);
INSERT INTO partes VALUES (1, 1), (11, 1);
INSERT INTO otra VALUES (2, 2)
"""
Told = list[tuple[Any, ...]]
CREATED: Told = [("create", "partes", None, (3, 3))]
#: Statements → what is journaled of them.
ACTS: dict[str, tuple[str, Told]] = {
    "rows of partitions": (
        "INSERT INTO partes VALUES (3, 3); UPDATE partes SET id = 13 WHERE id = 3; DELETE FROM partes WHERE id = 13",
        [*CREATED, ("update", "partes", (3, 3), (13, 3)), ("delete", "partes", (13, 3), None)],
    ),
    "partitions reorganised": (
        """ALTER TABLE partes ADD PARTITION (PARTITION p2 VALUES LESS THAN (30));
        ALTER TABLE partes REORGANIZE PARTITION p1, p2 INTO (PARTITION p1 VALUES LESS THAN (40));
        ALTER TABLE partes REMOVE PARTITIONING; INSERT INTO partes VALUES (3, 3)""",
        CREATED,
    ),
    "statements in the log": (
        "SET SESSION binlog_format = 'STATEMENT'; INSERT INTO partes VALUES (3, 3); SET binlog_format = 'ROW'",
        CREATED,
    ),
    "parts of rows in the log": (
        "SET SESSION binlog_row_image = 'MINIMAL'; INSERT INTO partes VALUES (3, 3); SET binlog_row_image = 'FULL'",
        CREATED,
    ),
    "rolled back": (
        """BEGIN; INSERT INTO partes VALUES (4, 4); ROLLBACK; BEGIN; INSERT INTO partes VALUES (3, 3); SAVEPOINT s;
        INSERT INTO partes VALUES (5, 5); ROLLBACK TO s; COMMIT""",
        CREATED,
    ),
    "prepared": (
        """XA START '{0}'; INSERT INTO partes VALUES (4, 4); XA END '{0}'; XA PREPARE '{0}'; XA ROLLBACK '{0}';
        XA START '{0}'; INSERT INTO partes VALUES (3, 3); XA END '{0}'; XA PREPARE '{0}'; XA COMMIT '{0}'""",
        CREATED,
    ),
    # no trigger fires
    "truncated": ("TRUNCATE TABLE partes; INSERT INTO partes VALUES (3, 3)", CREATED),
    "partition truncated": ("ALTER TABLE partes TRUNCATE PARTITION p0; INSERT INTO partes VALUES (3, 3)", CREATED),
    "partition dropped": ("ALTER TABLE partes DROP PARTITION p1; INSERT INTO partes VALUES (3, 3)", CREATED),
    "partition exchanged": (
        "ALTER TABLE partes EXCHANGE PARTITION p0 WITH TABLE otra; INSERT INTO partes VALUES (3, 3)",
        CREATED,
    ),
    "journal emptied": ("UPDATE partes SET n = 9; DELETE FROM cdc_journal; INSERT INTO partes VALUES (3, 3)", CREATED),
}


@pytest.mark.parametrize("act", ACTS)
def test_act_on_a_captured_table(db: Database, act: str) -> None:
    db.script(TABLES)
    there = install(db, "partes")
    statements, expected = ACTS[act]
    db.script(statements.format(db.name))
    assert brief(drain(db), "id", "n") == expected
    assert there.repair().done == ()


@pytest.mark.parametrize(("flavour", "options"), [("mariadb", ()), ("mysql", ()), ("mysql", ("--binlog-do-db=other",))])
def test_log_reset_purged_or_filtered_beside_triggers(
    flavour: str, options: tuple[str, ...], own_server: Callable[..., Database]
) -> None:
    """MariaDB's triggers tell transactions apart by GTIDs, which begin once more."""
    db = own_server(flavour, *options, binlog=True)
    db.script(TABLES)
    install(db, "partes")
    writer = db.connect()
    for number, act in enumerate(
        ("DO 0", "FLUSH BINARY LOGS", RESET[flavour], "PURGE BINARY LOGS BEFORE NOW()", RESET[flavour])
    ):
        db.execute(act)
        for step in range(2):
            writer.cursor().execute("UPDATE partes SET n = %s WHERE id = %s", (10 * number + step, 1))
            writer.cursor().execute("UPDATE partes SET n = %s WHERE id = %s", (10 * number + step, 11))
            writer.commit()
    found = drain(db)
    assert (len(found), len({row.token for row in found})) == (20, 10)
