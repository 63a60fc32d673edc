"""A receiver in a process of its own: it appends each request to a file, and sometimes refuses, is slow or hangs.

    python -m support.fault.receiver FILE SEED SHARE

Prints its port.  ``SHARE`` of the first arrivals is not answered well; an event that comes again always is.  A line of
the file: the status answered, a tab, the body.  A request is in the file before it is answered.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import BinaryIO

from aiohttp import web

SLOW_SECONDS = 0.5
HANG_SECONDS = 30.0


class Receiver:
    def __init__(self, file: BinaryIO, dice: random.Random, share: float) -> None:
        self._file = file
        self._dice = dice
        self._share = share
        self._seen: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = request.headers["webhook-id"]
        first = name not in self._seen
        self._seen.add(name)
        bad = first and self._dice.random() < self._share
        behaviour = self._dice.choice(("refuse", "slow", "hang")) if bad else "well"
        status = 500 if behaviour == "refuse" else 204
        self._file.write(b"%d\t%s\n" % (status, body))
        self._file.flush()
        if behaviour == "slow":
            await asyncio.sleep(SLOW_SECONDS)  # the fault itself
        elif behaviour == "hang":
            await asyncio.sleep(HANG_SECONDS)
        return web.Response(status=status)


async def serve(path: str, seed: str, share: str) -> None:
    with open(path, "ab") as file:  # noqa: ASYNC230, PTH123 - opened once, before anything is served
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/hook", Receiver(file, random.Random(seed), float(share)).take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        try:
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
