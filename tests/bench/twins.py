"""Tables of FacturaScripts that are written with and without triggers: their rows and statements, for each engine."""

from __future__ import annotations

import random
from collections.abc import Sequence

KEYS = {"facturascli": "idfactura", "recibospagoscli": "idrecibo"}
_EMPTY = ("observaciones", "codigoenv", "numero2", "femail", "codtrans", "apartado")
_TEXT = "Calle de la Rosa 12 bajo Madrid España O&#39;Brien"
ROWS, TURN, BATCH = 1000, 20, 1000


def value(name: str, kind: str, length: int | None) -> str:
    """SQL of a value for a column of that type, as the engine names it."""
    if name in _EMPTY:
        return "NULL"
    simple = {
        "int": str(random.randint(1, 900)),
        "tinyint": random.choice("01"),
        "double": str(round(random.random() * 1000, 2)),
        "boolean": random.choice(("true", "false")),
        "date": "'2026-11-24'",
        "time": "'21:48:00'",
    }
    short = {"integer": "int", "double precision": "double", "time without time zone": "time"}.get(kind, kind)
    return simple.get(short) or f"'{_TEXT[: min(length or 20, max(4, (length or 20) // 4))]}'"


class TwinRows:
    """``columns``: name, type and length of each."""

    def __init__(self, table: str, columns: Sequence[tuple[str, str, int | None]]) -> None:
        self.table, self.key, self.columns = table, KEYS[table], columns
        self.rows = {number: self.row(number) for number in range(1, ROWS + 1)}

    def row(self, number: int) -> dict[str, str]:
        row = {name: value(name, kind, length) for name, kind, length in self.columns}
        return {**row, self.key: str(number)}

    def listed(self) -> str:
        return ", ".join(f"({', '.join(row.values())})" for row in self.rows.values())

    def statements(self, action: str, turn: int) -> list[str]:
        """With ``{twin}`` where the twin's name belongs; every column is written, as FacturaScripts does it."""
        statements = []
        for number in random.sample(range(1, ROWS + 1), TURN):
            if action == "insert":
                row = {**self.rows[number], self.key: str(ROWS * (turn + 1) + number)}
                statements.append(f"INSERT INTO {{twin}}_{self.table} VALUES ({', '.join(row.values())})")
                continue
            if action == "update":
                self.rows[number] = self.row(number)
            sets = ", ".join(f"{name} = {each}" for name, each in self.rows[number].items() if name != self.key)
            statements.append(f"UPDATE {{twin}}_{self.table} SET {sets} WHERE {self.key} = {number}")
        return statements
