"""``cdc run`` in a process of its own for the benchmarks, and a receiver that costs next to nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import cast

import psutil

from support.consumer import Consumer
from support.database import Database

#: Called with the time (`time.perf_counter`) at which a request was complete, and its body.
Arrived = Callable[[float, bytes], None]
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """Answers 204 to every request as soon as its body is complete."""

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._transport.write(_ANSWER)
            self._arrived(now, body)


@asynccontextmanager
async def receiving(arrived: Arrived) -> AsyncIterator[str]:
    """Its URL."""
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(arrived), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


@contextmanager
def consumer_of(
    database: Database, url: str, events: str = "*", *options: str, capture: str = "triggers"
) -> Iterator[Consumer]:
    """Configured with one endpoint; not started.  Its files, the outbox among them, are on a real disk."""
    with tempfile.TemporaryDirectory() as folder:
        consumer = Consumer.configure(Path(folder), database.info, f'capture = "{capture}"', as_installed=True)
        if capture != "binlog":
            consumer.run("install-triggers" if capture == "triggers" else "install-slot")
        consumer.add_endpoint(url, events, *options)
        try:
            yield consumer
        finally:
            if consumer.process is not None:
                consumer.end()


def start(consumer: Consumer) -> psutil.Process:
    """The process, once it reads the journal."""
    seen = consumer.log.stat().st_size if consumer.log.exists() else 0
    consumer.start()
    assert consumer.process is not None
    deadline = time.monotonic() + 30
    while b'"reading"' not in consumer.log.read_bytes()[seen:]:
        if time.monotonic() > deadline or consumer.process.poll() is not None:
            raise SystemExit(f"the consumer does not read: {consumer.log.read_text()[-2000:]}")
        time.sleep(0.002)
    return psutil.Process(consumer.process.pid)


def wait_for_position(consumer: Consumer) -> None:
    """Until it is stored where reading a log begins."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(f"file:{consumer.folder / 'cdc.db'}?mode=ro", uri=True)) as outbox:
            if outbox.execute("SELECT COUNT(*) FROM source_position").fetchone()[0]:
                return
        time.sleep(0.01)
    raise SystemExit("the consumer stores no position")


def journal_rows(database: Database) -> int:
    """How many changes wait."""
    table = "cdc.cdc_journal" if database.flavour == "postgresql" else "`cdc_journal`"
    return int(database.execute(f"SELECT COUNT(*) FROM {table}")[0][0])


def unfinished(consumer: Consumer) -> tuple[int, int]:
    """Deliveries of the outbox: all, and those without an end."""
    with closing(sqlite3.connect(f"file:{consumer.folder / 'cdc.db'}?mode=ro", uri=True)) as outbox:
        every, ended = outbox.execute("SELECT COUNT(*), COUNT(finished_at) FROM delivery").fetchone()
    return int(every), int(every) - int(ended)
