"""Rows that foreign keys change in silence are journaled by their parents' triggers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from support.database import Database
from support.mysql_capture import brief, drain, install

TABLES = """
CREATE TABLE familia (cod VARCHAR(8) PRIMARY KEY, madre VARCHAR(8),
  FOREIGN KEY (madre) REFERENCES familia (cod) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE producto (id INT PRIMARY KEY, codfamilia VARCHAR(8), ref VARCHAR(20) UNIQUE,
  FOREIGN KEY (codfamilia) REFERENCES familia (cod) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE variante (id INT PRIMARY KEY, idproducto INT, ref VARCHAR(20) UNIQUE,
  FOREIGN KEY (idproducto) REFERENCES producto (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE stock (id INT PRIMARY KEY, idproducto INT, ref VARCHAR(20),
  FOREIGN KEY (idproducto) REFERENCES producto (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (ref) REFERENCES variante (ref) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE linea (id INT PRIMARY KEY, idproducto INT,
  FOREIGN KEY (idproducto) REFERENCES producto (id) ON UPDATE CASCADE);
INSERT INTO familia VALUES ('F', NULL), ('G', 'F'), ('H', 'G');
INSERT INTO producto VALUES (1, 'F', 'p1'), (2, 'H', 'p2'), (3, NULL, 'p3');
INSERT INTO variante VALUES (10, 1, 'v10'), (11, 1, 'v11'), (20, 2, 'v20');
INSERT INTO stock VALUES (100, 1, 'v10'), (101, 1, 'v11'), (200, 2, NULL);
INSERT INTO linea VALUES (5, 3);
"""


def seen(database: Database) -> list[Any]:
    """Without repetitions: a row that two paths reach may come twice, which mapping merges."""
    rows = drain(database)
    assert len({row.token for row in rows}) <= 1
    return sorted(set(brief(rows, "id", "idproducto", "codfamilia", "cod", "madre", "ref")), key=repr)


def prepared(database: Database, *captured: str) -> None:
    database.script(TABLES)
    install(database, *captured)


def test_a_deleted_parent_takes_its_children_along(db: Database) -> None:
    prepared(db, "producto", "variante", "stock")
    db.execute("DELETE FROM producto WHERE id = 1")
    assert seen(db) == [
        ("delete", "producto", (1, "F", "p1"), None),
        ("delete", "stock", (100, 1, "v10"), None),
        ("delete", "stock", (101, 1, "v11"), None),
        ("delete", "variante", (10, 1, "v10"), None),
        ("delete", "variante", (11, 1, "v11"), None),
    ]
    assert db.execute("SELECT COUNT(*) FROM stock") == [(1,)]


def test_through_parents_that_are_not_captured(db: Database) -> None:
    prepared(db, "stock")
    db.execute("DELETE FROM producto WHERE id = 1")
    assert seen(db) == [("delete", "stock", (100, 1, "v10"), None), ("delete", "stock", (101, 1, "v11"), None)]


def test_a_nulled_reference_is_an_update(db: Database) -> None:
    prepared(db, "producto")
    db.execute("DELETE FROM familia WHERE cod = 'H'")
    assert seen(db) == [("update", "producto", (2, "H", "p2"), (2, None, "p2"))]


def test_a_tree_that_references_itself_is_followed_down(db: Database) -> None:
    db.execute(
        "CREATE TABLE rama (cod VARCHAR(8) PRIMARY KEY, madre VARCHAR(8), "
        "FOREIGN KEY (madre) REFERENCES rama (cod) ON DELETE CASCADE)"
    )
    db.execute("INSERT INTO rama VALUES ('F', NULL), ('G', 'F'), ('H', 'G'), ('I', 'G'), ('Z', NULL)")
    install(db, "rama")
    db.execute("DELETE FROM rama WHERE cod = 'F'")
    assert seen(db) == [
        ("delete", "rama", (cod, madre), None) for cod, madre in (("F", None), ("G", "F"), ("H", "G"), ("I", "G"))
    ]
    assert db.execute("SELECT cod FROM rama") == [("Z",)]


def test_from_such_a_tree_to_other_tables(mariadb_db: Database) -> None:
    """MySQL 9.7 itself refuses this delete (error 6575)."""
    db = mariadb_db
    prepared(db, "producto", "familia")
    db.execute("DELETE FROM familia WHERE cod = 'F'")
    assert seen(db) == [
        ("delete", "familia", ("F", None), None),
        ("delete", "familia", ("G", "F"), None),
        ("delete", "familia", ("H", "G"), None),
        ("update", "producto", (1, "F", "p1"), (1, None, "p1")),
        ("update", "producto", (2, "H", "p2"), (2, None, "p2")),
    ]


def test_a_renamed_key_renames_references(db: Database) -> None:
    prepared(db, "producto", "variante", "stock")
    db.execute("UPDATE producto SET id = 7 WHERE id = 1")
    assert seen(db) == [
        ("update", "producto", (1, "F", "p1"), (7, "F", "p1")),
        ("update", "stock", (100, 1, "v10"), (100, 7, "v10")),
        ("update", "stock", (101, 1, "v11"), (101, 7, "v11")),
        ("update", "variante", (10, 1, "v10"), (10, 7, "v10")),
        ("update", "variante", (11, 1, "v11"), (11, 7, "v11")),
    ]
    db.execute("UPDATE variante SET ref = 'v10b' WHERE id = 10")
    assert seen(db) == [
        ("update", "stock", (100, 7, "v10"), (100, 7, "v10b")),
        ("update", "variante", (10, 7, "v10"), (10, 7, "v10b")),
    ]
    assert db.execute("SELECT ref FROM stock WHERE id = 100") == [("v10b",)]


def test_what_is_said_of_a_key_renamed_in_case_only_is_what_happens(db: Database) -> None:
    prepared(db, "producto")
    db.execute("UPDATE familia SET cod = 'h' WHERE cod = 'H'")
    now = db.execute("SELECT codfamilia FROM producto WHERE id = 2")[0][0]
    expected = [("update", "producto", (2, "H", "p2"), (2, now, "p2"))] if now == "h" else []
    assert seen(db) == expected


def test_an_update_of_other_columns_concerns_no_child(db: Database) -> None:
    prepared(db, "variante")
    db.execute("UPDATE producto SET codfamilia = NULL WHERE id = 1")
    assert seen(db) == []


def test_a_refused_delete_leaves_nothing(db: Database) -> None:
    prepared(db, "producto", "stock")
    with pytest.raises(pymysql.err.IntegrityError):
        db.execute("DELETE FROM producto WHERE id IN (1, 3)")
    assert seen(db) == []


def test_nothing_cascades_while_foreign_keys_are_off(db: Database) -> None:
    prepared(db, "stock")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION foreign_key_checks = 0")
    cursor.execute("DELETE FROM producto WHERE id = 1")
    assert seen(db) == []


def test_current_rows_are_journaled_not_those_of_an_old_snapshot(db: Database) -> None:
    prepared(db, "variante")
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT COUNT(*) FROM variante")
    db.execute("INSERT INTO variante VALUES (12, 1, 'new')")
    drain(db)
    cursor.execute("DELETE FROM producto WHERE id = 1")
    connection.commit()
    assert [row[2][0] for row in seen(db)] == [10, 11, 12]


def test_a_renamed_referenced_column_leaves_gaps_and_never_a_failed_write(db: Database) -> None:
    prepared(db, "variante")
    db.execute("ALTER TABLE producto CHANGE id number INT")
    db.execute("UPDATE producto SET number = 7 WHERE number = 1")
    db.execute("DELETE FROM producto WHERE number = 7")
    rows = drain(db)
    assert [(row.gap, row.change.table, row.change.operation.value) for row in rows] == [
        (True, "variante", "update"),
        (True, "variante", "delete"),
    ]


def test_a_changed_child_leaves_gaps_and_never_a_failed_write(db: Database) -> None:
    prepared(db, "variante")
    db.execute("ALTER TABLE variante ADD COLUMN extra INT, CHANGE idproducto product INT")
    db.execute("DELETE FROM producto WHERE id = 1")
    assert [(row.gap, row.change.table) for row in drain(db)] == [(True, "variante")]
    assert db.execute("SELECT COUNT(*) FROM variante") == [(1,)]


def test_where_children_s_triggers_run_parents_are_silent(mysql_db: Database) -> None:
    db = mysql_db
    if not db.execute("SHOW VARIABLES LIKE 'enable_cascade_triggers'"):
        pytest.skip("this MySQL never runs children's triggers")
    prepared(db, "producto", "variante", "stock")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION enable_cascade_triggers = ON")
    cursor.execute("DELETE FROM producto WHERE id = 1")
    rows = brief(drain(db), "id")
    assert sorted(rows) == [
        ("delete", "producto", (1,), None),
        ("delete", "stock", (100,), None),
        ("delete", "stock", (101,), None),
        ("delete", "variante", (10,), None),
        ("delete", "variante", (11,), None),
    ]


def test_a_changed_automatic_number_leaves_gaps_for_its_children(db: Database) -> None:
    db.execute("CREATE TABLE factura (id INT AUTO_INCREMENT PRIMARY KEY)")
    db.execute(
        "CREATE TABLE recibo (id INT AUTO_INCREMENT PRIMARY KEY, idfactura INT, "
        "FOREIGN KEY (idfactura) REFERENCES factura (id) ON DELETE CASCADE ON UPDATE CASCADE)"
    )
    db.execute("INSERT INTO factura VALUES (1)")
    db.execute("INSERT INTO recibo VALUES (1, 1)")
    install(db, "factura", "recibo")
    db.execute("UPDATE factura SET id = 5")
    assert brief(drain(db), "id") == [("gap", "update", "recibo"), ("update", "factura", (1,), (5,))]


def test_with_native_foreign_keys_parents_speak_whatever_the_other_switch_says(
    own_server: Callable[..., Database],
) -> None:
    """InnoDB's own cascades run no triggers, even where `enable_cascade_triggers` is on."""
    db = own_server("mysql", "--loose-innodb-native-foreign-keys=ON", "--loose-enable-cascade-triggers=ON")
    prepared(db, "variante", "stock")
    db.execute("DELETE FROM producto WHERE id = 2")
    assert seen(db) == [("delete", "stock", (200, 2, None), None), ("delete", "variante", (20, 2, "v20"), None)]
