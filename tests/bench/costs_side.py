"""One side of `bench_costs.py`, run by the Python of either checkout: prints microseconds of processor time."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from cdc.capture.postgres_lookup import PostgresLookup
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.selection import Condition

COUNT = 300
#: The last one's search is charged by the length of its text.
FILTERS = (
    'event == "invoice.created" && data.total > 100.0',
    'data.codigo.matches("^[A-Z]{3}[0-9]{4}A[0-9]+$")',
    'data.observaciones.matches("(?i)garc[ií]a|pérez")',
)
EVENT = SimpleNamespace(
    name="invoice.created", data={"total": 121.0, "codigo": "FAC2026A17", "observaciones": "Entregar a las 10. " * 50}
)


def sched_us(process: int | str) -> float:
    """Processor time of a thread, to the nanosecond."""
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0]) / 1000


async def lookups(host: str, port: str, database: str, user: str, password: str) -> None:
    """Of a look-up of an invoice: here, in the server, and its latency."""
    info = ConnectionInfo(Engine.POSTGRESQL, host=host, port=int(port), database=database, user=user, password=password)
    lookup = PostgresLookup(info, [Capture("facturascli")])
    await lookup.connect()
    await lookup.use_schema("public")
    ((backend,),) = await lookup.link.query("SELECT pg_backend_pid()")
    for number in range(20):
        await lookup.rows("facturascli", "idfactura", [number])
    ours, theirs, latencies = time.process_time(), sched_us(backend), []
    for number in range(COUNT):
        started = time.perf_counter()
        assert len(await lookup.rows("facturascli", "idfactura", [number + 1])) == 1
        latencies.append((time.perf_counter() - started) * 1e6)
    print((time.process_time() - ours) * 1e6 / COUNT, (sched_us(backend) - theirs) / COUNT, median(latencies))
    await lookup.disconnect()


def filters() -> None:
    event: Any = EVENT
    for text in FILTERS:
        condition = Condition(text)
        started = time.process_time()
        for _ in range(50 * COUNT):
            condition.judge(event)
        print((time.process_time() - started) * 1e6 / (50 * COUNT))


if __name__ == "__main__":
    if sys.argv[1] == "filters":
        filters()
    else:
        asyncio.run(lookups(*sys.argv[2:]))
