"""Random transactions on tables of FacturaScripts' column types: the same statements for every engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Tables of the work, without and with a secret column, keyed by number and by code.
TABLES = ("work_number", "work_code")
_DDL = """
CREATE TABLE work_number (
    id INTEGER PRIMARY KEY, amount {double}, rate {double} NOT NULL DEFAULT 0, paid {boolean}, day DATE, hour TIME,
    moment {timestamp} NULL, name VARCHAR(60), note TEXT, pin VARCHAR(20)
);
CREATE TABLE work_code (
    code VARCHAR(20) PRIMARY KEY, number INTEGER, active {boolean} NOT NULL DEFAULT {true}, name VARCHAR(60) NOT NULL,
    price {double}
)
"""
_POSTGRES = {"double": "DOUBLE PRECISION", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "true": "true"}
_MYSQL = {"double": "DOUBLE", "boolean": "TINYINT(1)", "timestamp": "TIMESTAMP", "true": "1"}
#: Rules for `cdc.mapping.catalogue.load_catalogue`: both tables by their own names, the pin secret.
RULES = """
tables = ["work_number", "work_code"]

[secret]
work_number = ["pin"]
"""
_TEXTS = (
    "", " ", "trailing ", "O&#39;Brien &amp; Sons", 'quote " and \\ back', "Ñandú £ 漢字 \U0001f9fe",
    "tab\tline\nbreak",
    "null", "NULL", "0", "{}", "[1]", "&lt;b&gt;", "é", "e\u0301", "x" * 50,
)  # fmt: skip
_DOUBLES = (0.0, 1.0, -1.0, 0.1, 121.0, 1e15, 1e-7, 123456789.125, 2.5e20, -0.005, 1 / 3, 1e300, 5e-324)
_DAYS = ("2026-11-24", "1970-01-01", "2000-02-29", "2037-12-31", "1999-12-31")
_HOURS = ("00:00:00", "23:59:59", "21:48:07")
_MOMENTS = ("2026-11-24 21:48:07", "2001-01-01 00:00:00", "2037-12-31 23:59:59", "2026-07-01 12:00:00")
#: Column → what it may hold.
_VALUES: dict[str, tuple[Any, ...]] = {
    "amount": (*_DOUBLES, None),
    "rate": _DOUBLES,
    "paid": (True, False, None),
    "day": (*_DAYS, None),
    "hour": (*_HOURS, None),
    "moment": (*_MOMENTS, None),
    "name": _TEXTS,
    "note": (*_TEXTS, None, "long " * 200),
    "pin": ("planted-secret-1", "planted-secret-2", None),
    "number": (0, 1, -1, 2**31 - 1, -(2**31), None),
    "active": (True, False),
    "price": (*_DOUBLES, None),
}
_COLUMNS = {
    "work_number": ("amount", "rate", "paid", "day", "hour", "moment", "name", "note", "pin"),
    "work_code": ("number", "active", "name", "price"),
}
_KEY = {"work_number": "id", "work_code": "code"}


def ddl(flavour: str) -> str:
    return _DDL.format(**(_POSTGRES if flavour == "postgresql" else _MYSQL))


@dataclass
class RandomWork:
    """Transactions from a seed: with the same one, the same statements on every engine.

    It knows which keys there are, so that no statement fails; savepoints and rollbacks take that back too.
    """

    seed: int
    keys: dict[str, set[Any]] = field(default_factory=lambda: {table: set() for table in TABLES})

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, connection: Any, transactions: int) -> None:
        """Run transactions on a connection without autocommit."""
        cursor = connection.cursor()
        for _ in range(transactions):
            before = {table: set(keys) for table, keys in self.keys.items()}
            for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
                self._part(cursor)
            if self._random.random() < 0.1:
                connection.rollback()
                self.keys = before
            else:
                connection.commit()

    def _part(self, cursor: Any) -> None:
        if self._random.random() > 0.15:
            self._change(cursor)
            return
        before = {table: set(keys) for table, keys in self.keys.items()}
        cursor.execute("SAVEPOINT work")
        self._change(cursor)
        self._change(cursor)
        if self._random.random() < 0.5:
            cursor.execute("ROLLBACK TO SAVEPOINT work")
            self.keys = before
        else:
            cursor.execute("RELEASE SAVEPOINT work")

    def _change(self, cursor: Any) -> None:
        table = self._random.choice(TABLES)
        there = self.keys[table]
        changes: list[Callable[[Any, str], None]] = [self._insert]
        if there:
            changes += [self._update, self._update, self._update_nothing, self._rename, self._update_many]
            changes += [self._delete] if len(there) > 20 else []
        self._random.choice(changes)(cursor, table)

    def _values(self, table: str) -> dict[str, Any]:
        return {column: self._random.choice(_VALUES[column]) for column in _COLUMNS[table]}

    def _new_key(self, table: str) -> Any:
        while True:
            number = self._random.randint(1, 10_000)
            key = number if table == "work_number" else self._random.choice(("A", "a", "Ñ", "é ")) + str(number)
            # keys that differ in case, accents or trailing spaces only are one key to some collations
            if all(str(key).strip().lower() != str(other).strip().lower() for other in self.keys[table]):
                return key

    def _some_key(self, table: str) -> Any:
        return self._random.choice(sorted(self.keys[table]))

    def _insert(self, cursor: Any, table: str) -> None:
        values = {_KEY[table]: self._new_key(table), **self._values(table)}
        marks = ", ".join(["%s"] * len(values))
        cursor.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))
        self.keys[table].add(values[_KEY[table]])

    def _update(self, cursor: Any, table: str) -> None:
        values = self._values(table)
        names = self._random.sample(sorted(values), self._random.randint(1, len(values)))
        sets = ", ".join(f"{name} = %s" for name in names)
        cursor.execute(
            f"UPDATE {table} SET {sets} WHERE {_KEY[table]} = %s", [*(values[n] for n in names), self._some_key(table)]
        )

    def _update_nothing(self, cursor: Any, table: str) -> None:
        column = _COLUMNS[table][0]
        cursor.execute(f"UPDATE {table} SET {column} = {column} WHERE {_KEY[table]} = %s", [self._some_key(table)])

    def _update_many(self, cursor: Any, table: str) -> None:
        column = "rate" if table == "work_number" else "price"
        keys = [self._some_key(table) for _ in range(5)]
        marks = ", ".join(["%s"] * len(keys))
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE {_KEY[table]} IN ({marks})", [0.5, *keys])

    def _rename(self, cursor: Any, table: str) -> None:
        old, new = self._some_key(table), self._new_key(table)
        cursor.execute(f"UPDATE {table} SET {_KEY[table]} = %s WHERE {_KEY[table]} = %s", [new, old])
        self.keys[table] -= {old}
        self.keys[table].add(new)

    def _delete(self, cursor: Any, table: str) -> None:
        key = self._some_key(table)
        cursor.execute(f"DELETE FROM {table} WHERE {_KEY[table]} = %s", [key])
        self.keys[table] -= {key}
