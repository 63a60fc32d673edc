"""Row changes mapped per second on one core: ``python tests/bench/bench_mapping.py [ROWS]``.

Single-row updates of a wide table, each its own transaction, one column changed; then whole invoices as FacturaScripts
writes them (several changes a record in one transaction).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.event import event_payload

_START = datetime(2026, 11, 24, 8, tzinfo=UTC)


def _invoice(number: int) -> dict[str, Value]:
    row: dict[str, Value] = {"idfactura": number, "idestado": 10, "editable": True, "pagada": False, "vencida": False}
    row.update({f"texto{column:02}": f"valor {column} de la factura {number}" for column in range(25)})
    row.update({f"importe{column:02}": column + number / 100 for column in range(20)})
    row.update({"femail": None, "idfacturarect": None, "observaciones": "", "total": 0.0})
    return row


def _change(operation: Operation, before: Row | None, after: Row, ordinal: int) -> RowChange:
    time_ = _START + timedelta(microseconds=ordinal)
    return RowChange(operation, "facturascli", {"idfactura": after["idfactura"]}, before, after, time_, ordinal)


def updates(count: int) -> list[Transaction]:
    made = []
    for number in range(count):
        before = _invoice(number)
        after = {**before, "observaciones": "urgente"}
        made.append(Transaction(f"t{number}", (_change(Operation.UPDATE, before, after, number),)))
    return made


def invoices(count: int) -> list[Transaction]:
    made = []
    for number in range(count // 4):
        rows = [_invoice(number)]
        for column, value in (("vencida", True), ("observaciones", ""), ("total", 121.0)):
            rows.append({**rows[-1], column: value})
        changes = [_change(Operation.CREATE, None, rows[0], 1)]
        changes += [_change(Operation.UPDATE, rows[n], rows[n + 1], n + 2) for n in range(3)]
        made.append(Transaction(f"t{number}", tuple(changes)))
    return made


def escaped(count: int) -> list[Transaction]:
    made = []
    for number in range(count):
        before = {**_invoice(number), "texto03": "O&#39;Brien &amp; Sons"}
        after = {**before, "observaciones": "&quot;urgente&quot;"}
        made.append(Transaction(f"t{number}", (_change(Operation.UPDATE, before, after, number),)))
    return made


def main(count: int) -> None:
    mapper = Mapper(load_catalogue())
    cases: tuple[Callable[[int], list[Transaction]], ...] = (updates, invoices, escaped)
    for case in cases:
        transactions = case(count)
        changes = sum(len(transaction.changes) for transaction in transactions)
        best = 0.0
        for _ in range(3):
            begin = time.process_time()
            batch = mapper.batch("main", transactions, {})
            batch.facts_needed()
            events = batch.map().events
            best = max(best, changes / (time.process_time() - begin))
        begin = time.process_time()
        for event in events:
            event_payload(event)
        payloads = len(events) / (time.process_time() - begin)
        print(f"{case.__name__}: {best:,.0f} rows/s mapped, {len(events)} events; payloads {payloads:,.0f} events/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
