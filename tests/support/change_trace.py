"""Trace of the files of ``cdc/`` that one changed row passes from the journal to the POST.

    PYTHONPATH=tests python -m support.change_trace

Relay and dispatch of `cdc run` in one process, on a PostgreSQL of its own with triggers and an outbox in SQLite.  From
the row's change until its request is complete at the receiver, `sys.setprofile` notes each function of ``cdc/`` that is
called or resumed.  Several changes are traced one after the other; a file that each of them passed counts, so that what
happens to run at the same time (a check of the triggers) does not.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import mean
from types import FrameType
from typing import Any

from aiohttp import web

import cdc
from cdc.config import load_config
from cdc.model.clock import SystemClock
from cdc.model.delivery import Outcome
from cdc.model.worker import ProcessRole
from cdc.runtime.consumer import DISPATCH, ConsumerParts
from cdc.runtime.outboxes import open_outbox
from cdc.runtime.process import Supervisor
from cdc.web.monitor import Reported
from support.consumer import Consumer
from support.database import Database, fresh_database
from support.http_servers import served
from support.server import Spec
from support.servers import kept_servers, shared_server
from support.waiting import HANG_SECONDS

ROOT = Path(cdc.__file__).parent
CHANGES = 20
#: Files of what runs beside a change: the source acknowledges the change before, reads its position, looks for
#: backfills and for pages to read; processes report; and the dispatcher, which is handed the change, asks what is due
#: next.  On a busy machine it falls within each change.
BESIDE = {
    *("capture/base.py", "capture/pages.py", "capture/moving.py", "backfilling.py", "model/observer.py"),
    *("outbox/database.py", "outbox/dispatch.py", "outbox/sqlite/dispatch.py"),
}
_INSERT = (
    "INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif, telefono1) VALUES ('1', 'Ruiz', 'Ruiz', '', %s)"
)
_JOURNAL = "SELECT 1 FROM cdc.cdc_journal"
_UPDATE = "UPDATE clientes SET telefono1 = %s"


class Trace:
    """``changes``: for each change, how often functions of a file (below ``cdc/``) were called or resumed."""

    def __init__(self) -> None:
        self.changes: list[Counter[str]] = []
        self._on = False
        self._root = f"{ROOT}/"

    def begin(self) -> None:
        self.changes.append(Counter())
        self._on = True

    def end(self) -> None:
        self._on = False

    def passed(self) -> dict[str, float]:
        """Return the files that each change passed, with the calls of one change."""
        files = sorted(set.intersection(*map(set, self.changes)))
        return {file: mean(change[file] for change in self.changes) for file in files}

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if self._on and event == "call" and frame.f_code.co_filename.startswith(self._root):
            self.changes[-1][frame.f_code.co_filename.removeprefix(self._root)] += 1

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Trace this thread, and threads that begin inside the block."""
        before = sys.getprofile(), threading.getprofile()
        threading.setprofile(self.note)
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(before[0])
            threading.setprofile(before[1])


class Recorded(Reported):
    """``ended``: released once for each attempt whose outcome is stored."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), ("main",))
        self.ended = asyncio.Semaphore(0)

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        super().attempted(finished)
        for _ in finished:
            self.ended.release()


async def traced(database: Database, folder: Path) -> dict[str, float]:
    """Change rows of ``database``, which has FacturaScripts' tables, and return the files passed with their calls."""
    trace = Trace()

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        trace.end()
        return web.Response()

    app = web.Application()
    app.router.add_post("/any/path", receive)
    async with served(app) as url:
        consumer = Consumer.configure(folder, database.info)
        await consumer.call("install-triggers")
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*")
        with trace.installed():
            async with consuming(folder) as attempts:
                for number in range(1 + CHANGES):
                    if number:  # the first one makes the row, connects and imports
                        trace.begin()
                    await asyncio.to_thread(database.execute, _UPDATE if number else _INSERT, [f"965 000 00{number}"])
                    async with asyncio.timeout(HANG_SECONDS):
                        await attempts.acquire()
                        await asyncio.to_thread(_wait_until_acknowledged, database)
    return trace.passed()


def _wait_until_acknowledged(database: Database) -> None:
    """Wait until the journal is empty; nothing reports that."""
    while database.execute(_JOURNAL):
        time.sleep(0.02)


@asynccontextmanager
async def consuming(folder: Path) -> AsyncIterator[asyncio.Semaphore]:
    """Run what a change passes of `cdc run`, inside the block.  Yields a semaphore that each attempt releases."""
    config = load_config(folder / "cdc.toml", {})
    store = open_outbox(config)
    await store.open()
    reported, stop = Recorded(), asyncio.Event()
    try:
        consumer = ConsumerParts(store, reported, reported, ProcessRole.ALL, print, Supervisor())
        parts = consumer.parts(config)
        async with asyncio.TaskGroup() as group:
            for name in ("source main", DISPATCH):
                if (adopt := parts[name].adopt) is not None:
                    adopt()
                group.create_task(consumer.components.keep(name, parts[name].work, stop))
            yield reported.ended
            stop.set()
    finally:
        await store.close()


def main() -> None:
    with (
        kept_servers() as keeper,
        fresh_database(shared_server(keeper, Spec("postgresql")), erp=True) as database,
        tempfile.TemporaryDirectory() as folder,
    ):
        calls = asyncio.run(traced(database, Path(folder)))
    for file, count in calls.items():
        print(f"{count:8.1f}  cdc/{file}{'  (beside)' if file in BESIDE else ''}")
    print(f"{len(calls.keys() - BESIDE)} files, and {len(calls.keys() & BESIDE)} beside")


if __name__ == "__main__":
    main()
