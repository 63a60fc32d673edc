"""Random actions of the ERP and its plugins within a transaction."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from support.fault.session import Session, Touched
from support.fault.tables import TABLES

#: Keys of each table; few, so that writers meet and keys are used again.
CUSTOMERS = [f"F{number}" for number in range(40)]
PRODUCTS = range(1001, 1031)
CONTACTS = range(1001, 1041)
ITEMS = [f"{letter}{number}" for letter in ("a", "Ñ ") for number in range(20)]
PARTS = range(40)
TEXTS = ("", "O&#39;Brien &amp; Sons", "Ñandú 漢字 🧾", "tab\tline\nbreak", 'quote " and \\', "x" * 90, "0", "null")
DOUBLES = (0.0, 1.0, -1.5, 0.1, 121.0, 1e15, 1e-7, 123456.125)

Action = Callable[[Session, random.Random, str], None]


def by_key(table: str, key: Any) -> Touched:
    return Touched(table, f"{TABLES[table].key} = %s", [key])


def update(session: Session, table: str, key: Any, mark: str, **columns: Any) -> None:
    """``mark``: written to the table's marker column."""
    values = {**columns, TABLES[table].mark: mark}
    sets = ", ".join(f"{name} = %s" for name in values)
    sql = f"UPDATE {table} SET {sets} WHERE {TABLES[table].key} = %s"
    session.change(sql, [*values.values(), key], by_key(table, key))


def insert_customer(session: Session, dice: random.Random, mark: str) -> None:
    row = {"codcliente": dice.choice(CUSTOMERS), "cifnif": "B0", "nombre": dice.choice(TEXTS) or "-"}
    session.insert("clientes", {**row, "observaciones": mark, "fechaalta": "2026-11-24", "debaja": dice.random() < 0.5})


def update_customer(session: Session, dice: random.Random, mark: str) -> None:
    name = dice.choice(TEXTS) or "-"
    update(session, "clientes", dice.choice(CUSTOMERS), mark, nombre=name, riesgomax=dice.choice(DOUBLES))


def save_customer_unchanged(session: Session, dice: random.Random, mark: str) -> None:
    """FacturaScripts writes every column, changed or not: no event may come of it."""
    key = dice.choice(CUSTOMERS)
    session.change("UPDATE clientes SET nombre = nombre WHERE codcliente = %s", [key], by_key("clientes", key))


def rename_customer(session: Session, dice: random.Random, mark: str) -> None:
    """Foreign keys change the contacts."""
    old, new = dice.sample(CUSTOMERS, 2)
    if _changed(session, "clientes", old, new) or session.rows("clientes", "codcliente = %s", [new], lock=False):
        return
    contacts = ("codcliente = %s", [old])
    session.change(
        "UPDATE clientes SET codcliente = %s, observaciones = %s WHERE codcliente = %s",
        [new, mark, old],
        Touched("clientes", "codcliente = %s", [old], ("codcliente = %s", [new]), {old: new}),
        Touched("contactos", *contacts, ("codcliente IN (%s, %s)", [old, new])),
    )


def _changed(session: Session, table: str, *keys: Any) -> bool:
    return any(entry.table == table and not {entry.old, entry.new}.isdisjoint(keys) for entry in session.entries)


def delete_customer(session: Session, dice: random.Random, mark: str) -> None:
    """Foreign keys null the customer of its contacts."""
    key = dice.choice(CUSTOMERS)
    session.rows("clientes", "codcliente = %s", [key])  # from here on nobody adds a contact to it
    found = session.rows("contactos", "codcliente = %s", [key])
    session.change(
        "DELETE FROM clientes WHERE codcliente = %s", [key], by_key("clientes", key), *_each("contactos", found)
    )


def _each(table: str, keys: Any) -> list[Touched]:
    return [by_key(table, key) for key in sorted(keys)]


def insert_contact(session: Session, dice: random.Random, mark: str) -> None:
    customers = sorted(session.rows("clientes", "codcliente IN (%s, %s)", dice.sample(CUSTOMERS, 2), lock=False))
    row = {"idcontacto": dice.choice(CONTACTS), "nombre": dice.choice(TEXTS), "observaciones": mark}
    session.insert("contactos", {**row, "codcliente": dice.choice([None, *customers])})


def update_contact(session: Session, dice: random.Random, mark: str) -> None:
    update(session, "contactos", dice.choice(CONTACTS), mark, ciudad=dice.choice(TEXTS))


def delete_contact(session: Session, dice: random.Random, mark: str) -> None:
    _delete(session, "contactos", dice.choice(CONTACTS))


def _delete(session: Session, table: str, key: Any) -> None:
    session.change(f"DELETE FROM {table} WHERE {TABLES[table].key} = %s", [key], by_key(table, key))


def insert_product(session: Session, dice: random.Random, mark: str) -> None:
    """Insert a product with its variant and its stock, as FacturaScripts does it."""
    key = dice.choice(PRODUCTS)
    reference = f"R{key}"
    product = {"idproducto": key, "referencia": reference, "descripcion": dice.choice(TEXTS), "observaciones": mark}
    session.insert("productos", {**product, "precio": dice.choice(DOUBLES), "actualizado": "2026-11-24 21:48:00"})
    variant = {"idvariante": key, "idproducto": key, "referencia": reference, "codbarras": mark}
    session.insert("variantes", {**variant, "precio": dice.choice(DOUBLES)})
    stock = {"idstock": key, "idproducto": key, "referencia": reference, "codalmacen": "ALG", "ubicacion": mark}
    session.insert("stocks", {**stock, "cantidad": dice.choice(DOUBLES)})


def update_product(session: Session, dice: random.Random, mark: str) -> None:
    key = dice.choice(PRODUCTS)
    update(session, "productos", key, mark, precio=dice.choice(DOUBLES), bloqueado=dice.random() < 0.5)
    if dice.random() < 0.5:
        update(session, "stocks", key, mark, cantidad=dice.choice(DOUBLES))


def rekey_product(session: Session, dice: random.Random, mark: str) -> None:
    """Foreign keys change variant and stock.  On MariaDB and MySQL a new key in place of a number that the server gave
    is a gap by design; nobody changes it there."""
    old, new = dice.sample(PRODUCTS, 2)
    if session.flavour != "postgresql":
        rename_reference(session, old, mark)
        return
    if _changed(session, "productos", old, new) or session.rows("productos", "idproducto = %s", [new], lock=False):
        return
    children = ("idproducto = %s", [old], ("idproducto = %s", [new]))
    session.change(
        "UPDATE productos SET idproducto = %s, observaciones = %s WHERE idproducto = %s",
        [new, mark, old],
        Touched("productos", "idproducto = %s", [old], ("idproducto = %s", [new]), {old: new}),
        Touched("variantes", *children),
        Touched("stocks", *children),
    )


def rename_reference(session: Session, key: int, mark: str) -> None:
    """A foreign key changes the stock of the variant.  Its product is read with a lock: a subquery of a locking read
    sees the transaction's snapshot, on MySQL and MariaDB."""
    variants = session.rows("variantes", "idvariante = %s", [key])
    if not variants:
        return
    session.change(
        "UPDATE variantes SET referencia = %s, codbarras = %s WHERE idvariante = %s",
        [f"R{mark}", mark, key],
        by_key("variantes", key),
        Touched("stocks", "idproducto = %s", [variants[key]["idproducto"]]),
    )


def delete_product(session: Session, dice: random.Random, mark: str) -> None:
    """Foreign keys delete variant and stock."""
    key = dice.choice(PRODUCTS)
    children = ("idproducto = %s", [key])
    session.change(
        "DELETE FROM productos WHERE idproducto = %s",
        [key],
        by_key("productos", key),
        Touched("variantes", *children),
        Touched("stocks", *children),
    )


def replace_item(session: Session, dice: random.Random, mark: str) -> None:
    """REPLACE deletes and inserts; PostgreSQL has ON CONFLICT instead."""
    row = _item(dice, mark)
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    if session.flavour == "postgresql":
        sets = ", ".join(f"{name} = excluded.{name}" for name in row)
        sql = f"INSERT INTO fault_items ({names}) VALUES ({marks}) ON CONFLICT (codigo) DO UPDATE SET {sets}"
    else:
        sql = f"REPLACE INTO fault_items ({names}) VALUES ({marks})"
    before = session.rows("fault_items", "codigo = %s", [row["codigo"]])
    if before:
        session.change(sql, list(row.values()), by_key("fault_items", row["codigo"]))
    else:
        session.insert("fault_items", row)


def _item(dice: random.Random, mark: str) -> dict[str, Any]:
    return {
        "codigo": dice.choice(ITEMS),
        "importe": dice.choice((*DOUBLES, None)),
        "activo": dice.choice((True, False, None)),
        "dia": dice.choice(("2026-11-24", "1999-12-31", None)),
        "hora": dice.choice(("00:00:00", "23:59:59", None)),
        "momento": dice.choice(("2026-11-24 21:48:07", "2001-01-01 00:00:00", None)),
        "nota": mark,
    }


def update_item(session: Session, dice: random.Random, mark: str) -> None:
    row = _item(dice, mark)
    update(session, "fault_items", row.pop("codigo"), row.pop("nota"), **row)


def delete_item(session: Session, dice: random.Random, mark: str) -> None:
    _delete(session, "fault_items", dice.choice(ITEMS))


def write_part(session: Session, dice: random.Random, mark: str) -> None:
    key = dice.choice(PARTS)
    if session.rows("fault_parts", "id = %s", [key], lock=False):
        update(session, "fault_parts", key, mark, valor=dice.randrange(1000))
    else:
        session.insert("fault_parts", {"id": key, "valor": 0, "nota": mark})


def move_part(session: Session, dice: random.Random, mark: str) -> None:
    """A new key that belongs to the other partition: to PostgreSQL a deletion and an insertion."""
    old = dice.choice(PARTS)
    new = (old + 20) % 40
    if _changed(session, "fault_parts", old, new) or session.rows("fault_parts", "id = %s", [new], lock=False):
        return
    postgres = session.flavour == "postgresql"
    session.change(
        "UPDATE fault_parts SET id = %s, nota = %s WHERE id = %s",
        [new, mark, old],
        Touched("fault_parts", "id = %s", [old], ("id = %s", [new]), {} if postgres else {old: new}),
    )


def write_without_key(session: Session, dice: random.Random, mark: str) -> None:
    """A table without a primary key is not captured, and disturbs nothing."""
    session.execute("INSERT INTO fault_nokey VALUES (%s, %s)", [dice.randrange(10), mark])


def update_all(session: Session, table: str, column: str, value: str) -> None:
    """One column of every row."""
    keys = sorted(session.rows(table, "1 = 1", []))
    if keys:
        where = f"{TABLES[table].key} IN ({', '.join(['%s'] * len(keys))})"
        session.change(f"UPDATE {table} SET {column} = %s WHERE {where}", [value, *keys], Touched(table, where, keys))


def update_bulk(session: Session, mark: str) -> None:
    """All rows of the table in one statement."""
    rows = Touched("fault_bulk", "id >= 0", [])
    session.change("UPDATE fault_bulk SET valor = valor + 1, nota = %s", [mark], rows)


ACTIONS: dict[Action, int] = {
    insert_customer: 6,
    update_customer: 10,
    save_customer_unchanged: 2,
    rename_customer: 2,
    delete_customer: 2,
    insert_contact: 4,
    update_contact: 4,
    delete_contact: 1,
    insert_product: 4,
    update_product: 8,
    rekey_product: 1,
    delete_product: 1,
    replace_item: 6,
    update_item: 6,
    delete_item: 2,
    write_part: 4,
    move_part: 1,
    write_without_key: 1,
}
