"""The tables that the workload writes: FacturaScripts' own and those of a plugin, which the harness creates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """``mark``: a text column that names the statement which wrote the row last.  ``keys``: the keys that are used."""

    name: str
    entity: str
    key: str
    mark: str


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("clientes", "customer", "codcliente", "observaciones"),
        Table("contactos", "contact", "idcontacto", "observaciones"),
        Table("productos", "product", "idproducto", "observaciones"),
        Table("variantes", "variant", "idvariante", "codbarras"),
        Table("stocks", "stock", "idstock", "ubicacion"),
        Table("fault_items", "fault_items", "codigo", "nota"),
        Table("fault_bulk", "fault_bulk", "id", "nota"),
        Table("fault_parts", "fault_parts", "id", "nota"),
    )
}
ENTITIES = {table.entity: table.name for table in TABLES.values()}
KEYS = {table.name: table.key for table in TABLES.values()}
#: For the configuration: tables that no built-in rule names.
PLUGIN = ("fault_items", "fault_bulk", "fault_parts")

_ITEMS = "(codigo varchar(20) PRIMARY KEY, importe {double}, activo {boolean} DEFAULT {true}, dia date, hora time, "
_DDL = {
    "fault_commits": "(id varchar(40) PRIMARY KEY)",
    "fault_items": _ITEMS + "momento {timestamp} NULL, nota text)",
    "fault_bulk": "(id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(60))",
    "fault_nokey": "(id integer, nota text)",
}
_PARTS = "(id integer PRIMARY KEY, valor integer, nota varchar(60)) PARTITION BY "
_POSTGRES = {"double": "double precision", "boolean": "boolean", "timestamp": "timestamp", "true": "true"}
_MYSQL = {"double": "double", "boolean": "tinyint(1)", "timestamp": "timestamp", "true": "1"}


def ddl(flavour: str) -> list[str]:
    found = [create(name, flavour) for name in _DDL]
    if flavour == "postgresql":
        found.append(f"CREATE TABLE fault_parts {_PARTS} RANGE (id)")
        found += [_partition(number) for number in range(2)]
    else:
        bounds = "PARTITION p0 VALUES LESS THAN (20), PARTITION p1 VALUES LESS THAN MAXVALUE"
        found.append(f"CREATE TABLE fault_parts {_PARTS} RANGE (id) ({bounds})")
    return found


def create(name: str, flavour: str) -> str:
    """The statement that creates one of the tables without partitions."""
    types = _POSTGRES if flavour == "postgresql" else _MYSQL
    suffix = "" if flavour == "postgresql" else " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci"
    return f"CREATE TABLE {name} {_DDL[name].format(**types)}{suffix}"


def _partition(number: int) -> str:
    first, last = ("MINVALUE", "20") if number == 0 else ("20", "MAXVALUE")
    return f"CREATE TABLE fault_parts_{number} PARTITION OF fault_parts FOR VALUES FROM ({first}) TO ({last})"
