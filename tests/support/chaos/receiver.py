"""Receivers in a process of their own, each with a port, and the ailments that they have while there is chaos.

    python -m support.chaos.receiver PLAN FOLDER healthy|sick

Prints their ports as JSON.  A line ``chaos`` on standard input begins the ailments, ``calm`` ends them; its end ends
the process.  A line of the file ``FOLDER/NUMBER``: when the request had arrived (`time.monotonic`), 1 when the answer
is a success, the body; it is written before the answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from support.chaos.plan import OF_RECEIVERS, Plan
from support.chaos.plan import Receiver as Planned
from support.http_faults import read_request

#: Seconds of an ailment, and between two.
AILING, WELL = (5.0, 40.0), (4.0, 20.0)
_CHUNK = b"0123456789abcdef" * 4096
_SUCCESS = frozenset({"huge"})


class Receiver:
    def __init__(self, planned: Planned, file: Path, dice: random.Random) -> None:
        self._ailment = planned.ailment if planned.ailment in OF_RECEIVERS else ""
        self._file = file.open("ab", buffering=0)
        self._dice = dice
        self._ails = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=128)
        self.port = self._server.sockets[0].getsockname()[1]

    async def ail(self, chaos: asyncio.Event, calm: asyncio.Event) -> None:
        """Fail and work in turn, from one event to the other."""
        await chaos.wait()
        while self._ailment and not calm.is_set():
            await self._set(ails=True)
            await _until(calm, self._dice.uniform(*AILING))
            await self._set(ails=False)
            await _until(calm, self._dice.uniform(*WELL))

    async def _set(self, *, ails: bool) -> None:
        self._ails = ails
        for writer in list(self._writers):
            writer.transport.abort()
        if self._ailment == "refuse":
            if ails and self._server is not None:
                self._server.close()
            else:
                await self.listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                _, body = await read_request(reader)
                ailment = self._ailment if self._ails else ""
                well = not ailment or ailment in _SUCCESS
                self._file.write(b"%.6f\t%d\t%s\n" % (time.monotonic(), well, body))
                if ailment:
                    await self._misbehave(ailment, reader, writer)
                    return
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the sender went away
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _misbehave(self, ailment: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match ailment:
            case "hang":
                await reader.read()
            case "reset":
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case "continue":
                await _endless(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            case "huge":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 109951162777600\r\n\r\n")
                await _endless(writer, _CHUNK)
            case "drip":
                await _endless(writer, b"H", 0.05)
            case _:
                writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()


async def _endless(writer: asyncio.StreamWriter, chunk: bytes, pause: float = 0.0) -> None:
    while True:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(pause)


async def _until(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _commands(chaos: asyncio.Event, calm: asyncio.Event) -> None:
    """Follow standard input until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        (chaos if line.strip() == "chaos" else calm).set()
    chaos.set()
    calm.set()


async def serve(plan_file: str, folder: str, which: str) -> None:
    plan = Plan.load(Path(plan_file))
    planned = [each for each in plan.receivers() if bool(each.ailment) == (which == "sick")]
    chaos, calm = asyncio.Event(), asyncio.Event()
    receivers: dict[int, Receiver] = {}
    for each in planned:
        made = receivers[each.number] = Receiver(
            each, Path(folder, str(each.number)), plan.dice(f"receiver {each.number}")
        )
        await made.listen()
    print(json.dumps({number: each.port for number, each in receivers.items()}), flush=True)
    async with asyncio.TaskGroup() as group:
        for receiver in receivers.values():
            group.create_task(receiver.ail(chaos, calm))
        await _commands(chaos, calm)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
