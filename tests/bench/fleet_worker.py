"""`cdc run` whose sources are journals in memory: a worker of `bench_fleet.py --fake`.

A datagram to the port in ``FLEET_PORT``, ``SOURCE NUMBER``, is a change in that source, if this process reads it.
Everything else is the product: configuration, leases, relay, mapping, outbox, dispatch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cdc.capture.base import JournalLimits, Source
from cdc.capture.journal.database import JournalRow, Marker
from cdc.capture.journal.source import JournalSource
from cdc.capture.probe import Backlog
from cdc.cli import main
from cdc.config import SourceConfig
from cdc.model.change import Operation, Position, Row, RowChange
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.finding import Repaired
from cdc.runtime import sources
from cdc.runtime.sharing import Share
from support.memory_journal import MemoryJournal

KINDS = {"codcliente": ColumnKind.TEXT, "nombre": ColumnKind.TEXT, "cifnif": ColumnKind.TEXT,
         "telefono1": ColumnKind.TEXT, "riesgomax": ColumnKind.DOUBLE}  # fmt: skip
CUSTOMER: Final = Table("clientes", tuple(Column(name, kind) for name, kind in KINDS.items()), ("codcliente",))
ROW: Final[Row] = {"codcliente": "1", "nombre": "O'Brien SL", "cifnif": "B12345678", "telefono1": "", "riesgomax": 0.0}


@dataclass
class FleetJournal(MemoryJournal):
    name: str = ""
    marked: Marker | None = None  # nothing is left of it in another process

    async def connect(self) -> None:
        if "" not in READ:
            READ[""] = self
            where = ("127.0.0.1", int(os.environ["FLEET_PORT"]))
            await asyncio.get_running_loop().create_datagram_endpoint(Changes, local_addr=where)
        READ[self.name] = self

    async def disconnect(self) -> None:
        READ.pop(self.name, None)

    async def tables(self) -> dict[str, Table]:
        return {CUSTOMER.name: CUSTOMER}

    async def table_names(self) -> list[str]:
        return [CUSTOMER.name]

    async def installed(self) -> list[str]:
        return [CUSTOMER.name]

    async def wait(self, seconds: float) -> None:
        self.changed.clear()
        if not self.visible:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, 0.005)):
                    await self.changed.wait()

    def change(self, number: int) -> None:
        self._order += 1
        after, now = {**ROW, "riesgomax": float(number)}, datetime.now(UTC)
        change = RowChange(Operation.UPDATE, CUSTOMER.name, {"codcliente": "1"}, ROW, after, now, self._order)
        self.commit([JournalRow(str(number), change)])


READ: dict[str, FleetJournal] = {}


class Changes(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, _address: object) -> None:
        name, number = data.decode().split()
        if (journal := READ.get(name)) is not None:
            journal.change(int(number))


class Probe:
    server = "memory"

    async def ask(self, _position: Position | None, /) -> Backlog:
        return Backlog(0.0, 0)

    async def close(self) -> None: ...


def journal_source(source: SourceConfig, share: Share) -> Source:
    async def no_repair(_tables: Sequence[str]) -> Repaired:
        return Repaired()

    limits = JournalLimits(idle=share.pace.idle, silent=share.pace.silent, check_pause=share.pace.check)
    return JournalSource(source.name, FleetJournal(name=source.name), no_repair, limits)


if __name__ == "__main__":
    sources._journal_source = journal_source
    sources._probe = lambda _source: Probe()
    main()
