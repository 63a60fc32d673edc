"""Schema changes while the ERP writes: ALTER in all forms, tables swapped, dropped and created again, partitions."""

from __future__ import annotations

from dataclasses import dataclass

from support.fault import tables
from support.fault.actions import update_all
from support.fault.run import Run
from support.waiting import until

ITEMS, PARTS = "fault_items", "fault_parts"
_ITEMS_THERE = f"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{ITEMS}'"


@dataclass(frozen=True, slots=True)
class Alteration:
    """A statement and its opposite, so that it can be repeated.  ``fills``: a column that a plugin then fills."""

    table: str
    do: str
    undo: str
    fills: str = ""

    @property
    def name(self) -> str:
        return f"{self.table} {self.do}"


_COMMON = (
    Alteration("clientes", "ADD COLUMN extra varchar(20) DEFAULT 'n'", "DROP COLUMN extra", "extra"),
    Alteration(ITEMS, "ADD COLUMN extra varchar(20)", "DROP COLUMN extra", "extra"),
    Alteration(ITEMS, "ADD COLUMN tasa double precision NOT NULL DEFAULT 1.5", "DROP COLUMN tasa"),
    Alteration("clientes", "RENAME COLUMN fax TO telefax", "RENAME COLUMN telefax TO fax"),
    Alteration("clientes", "DROP COLUMN web", "ADD COLUMN web varchar(100)"),
    Alteration("clientes", "ALTER COLUMN telefono1 SET DEFAULT '0'", "ALTER COLUMN telefono1 SET DEFAULT NULL"),
    Alteration("clientes", "ADD CONSTRAINT riesgo_ok CHECK (riesgomax < 1e30)", "DROP CONSTRAINT riesgo_ok"),
    # parents and children of foreign keys: triggers of one name columns of the other
    Alteration("familias", "ADD COLUMN extra varchar(20)", "DROP COLUMN extra"),
    *(
        Alteration(table, "ADD COLUMN extra varchar(20) DEFAULT 'n'", "DROP COLUMN extra", "extra")
        for table in ("contactos", "productos", "variantes", "stocks")
    ),
)
_POSTGRES = (
    *_COMMON,
    Alteration("clientes", "ALTER COLUMN telefono2 TYPE text", "ALTER COLUMN telefono2 TYPE varchar(30)"),
    Alteration(ITEMS, "ALTER COLUMN codigo TYPE varchar(40)", "ALTER COLUMN codigo TYPE varchar(20)"),
    Alteration(ITEMS, "SET (fillfactor = 70)", "RESET (fillfactor)"),
)
_MYSQL = (
    *_COMMON,
    Alteration("clientes", "MODIFY COLUMN telefono2 text", "MODIFY COLUMN telefono2 varchar(30)"),
    Alteration("clientes", "ADD COLUMN primera integer FIRST", "DROP COLUMN primera"),
    Alteration("clientes", "ADD COLUMN media integer AFTER nombre", "DROP COLUMN media"),
    Alteration("clientes", "ADD INDEX fault_index (cifnif)", "DROP INDEX fault_index"),
    Alteration(ITEMS, "MODIFY COLUMN codigo varchar(40)", "MODIFY COLUMN codigo varchar(20)"),
    *(Alteration(table, "FORCE", "ENGINE = InnoDB") for table in (ITEMS, "clientes", "productos", "stocks")),
    Alteration("variantes", "ADD INDEX fault_index (codbarras)", "DROP INDEX fault_index"),
    Alteration("stocks", "MODIFY COLUMN ubicacion text", "MODIFY COLUMN ubicacion varchar(100)"),
)


def alter(run: Run) -> None:
    """An ALTER, or the opposite of one that is in force; where it adds a column, a plugin fills it at once."""
    found = run.dice.choice(_POSTGRES if run.route.flavour == "postgresql" else _MYSQL)
    _changes_shape(run, found.table)
    undo = found.name in run.altered
    run.altered ^= {found.name}
    run.admin(f"ALTER TABLE {found.table} {found.undo if undo else found.do}")
    if found.fills and not undo:
        run.writers.apply(lambda session, mark: update_all(session, found.table, found.fills, mark))


def _changes_shape(run: Run, table: str) -> None:
    """Note that a table's events may differ in shape from here on, except with nothing but PostgreSQL's triggers: they
    record rows with any columns."""
    triggers = run.capture == "triggers" and not run.route.moving
    if table not in tables.TABLES or (triggers and run.route.flavour == "postgresql"):
        return
    run.gaps.add(table)
    run.shapes.add(table)


def swap(run: Run) -> None:
    """An online schema change as its tools end it: a copy takes the table's place by RENAME.  MariaDB's and MySQL's
    triggers go with the old table, whose rows are changed when the consumer has moved them.  The new one may be altered
    before it is read."""
    copy, old = f"{ITEMS}_new", f"{ITEMS}_old"
    like = "(LIKE {} INCLUDING ALL)" if run.route.flavour == "postgresql" else "LIKE {}"
    run.gaps.add(ITEMS)
    run.shapes.add(ITEMS)
    if run.route.flavour != "postgresql":
        # servers give the creation time, by which a swap is noticed at once, in whole seconds; else within a minute
        age = f"SELECT TIMESTAMPDIFF(SECOND, CREATE_TIME, NOW()) FROM information_schema.TABLES {_ITEMS_THERE}"
        until(lambda: run.database.execute(age) > [(0,)])
    with run.writers.work.paused():
        run.admin(f"DROP TABLE IF EXISTS {old}", f"CREATE TABLE {copy} {like.format(ITEMS)}")
        run.admin(f"INSERT INTO {copy} SELECT * FROM {ITEMS}")
        if run.route.flavour == "postgresql":
            run.admin(f"BEGIN; ALTER TABLE {ITEMS} RENAME TO {old}; ALTER TABLE {copy} RENAME TO {ITEMS}; COMMIT")
        else:
            run.admin(f"RENAME TABLE {ITEMS} TO {old}, {copy} TO {ITEMS}")
    left = "SELECT 1 FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()"
    left = f"{left} AND EVENT_OBJECT_TABLE = '{old}'"
    triggers = run.capture == "triggers" and run.route.flavour != "postgresql"
    if triggers and not until(lambda: not run.database.execute(left)):
        run.stuck += 1
    run.admin(f"UPDATE {old} SET nota = 'of the old table'")


def recreate(run: Run) -> None:
    """The table is dropped and created again, empty.  It may be altered before it is read again."""
    run.gaps.add(ITEMS)
    run.shapes.add(ITEMS)
    with run.writers.work.paused():
        run.altered = {name for name in run.altered if not name.startswith(f"{ITEMS} ")}
        run.admin(f"DROP TABLE {ITEMS}", tables.create(ITEMS, run.route.flavour))
        run.writers.resync(ITEMS)


def repartition(run: Run) -> None:
    """Partitions get other bounds, or leave and come back; no row changes."""
    if run.route.flavour == "postgresql":
        with run.writers.work.paused():
            run.admin(
                f"ALTER TABLE {PARTS} DETACH PARTITION {PARTS}_1",
                f"ALTER TABLE {PARTS} ATTACH PARTITION {PARTS}_1 FOR VALUES FROM (20) TO (MAXVALUE)",
            )
        return
    bound = run.dice.randrange(5, 35)
    parts = f"PARTITION p0 VALUES LESS THAN ({bound}), PARTITION p1 VALUES LESS THAN MAXVALUE"
    run.admin(f"ALTER TABLE {PARTS} REORGANIZE PARTITION p0, p1 INTO ({parts})")


def truncate_partition(run: Run) -> None:
    """Rows are gone without a row change."""
    run.gaps.add(PARTS)
    with run.writers.work.paused():
        postgres = run.route.flavour == "postgresql"
        run.admin(f"TRUNCATE TABLE {PARTS}_0" if postgres else f"ALTER TABLE {PARTS} TRUNCATE PARTITION p0")
        run.writers.resync(PARTS)
