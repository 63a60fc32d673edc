"""What twenty receivers that are well feel of one that is not: how long their events take, with it and without.

    python tests/bench/bench_isolation.py [--seconds 5] [--rounds 5] [--events 20] [--bad hangs resets ...]

One process dispatches from the SQLite outbox, as `cdc run` does; nginx answers for those that are well, and the bad one
is a process of its own.  Events come evenly, ``--events`` a second for each endpoint.  Timed is, for each delivery to
those that are well, from when its event was stored to the end of its answer.  Both sides run in turn; printed are
medians of the rounds, and the median of their ratios: the goal is a p99 of at most 1.5 times.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from bench_dispatch import make_events, nginx
from measure import percentile

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.web.monitor import Reported
from support.http_faults import Behaviour, answer, drips, hangs, receiver, refusing, resets, streams

HEALTHY = 20
BEHAVIOURS: dict[str, Behaviour | None] = {
    "refuses": None,
    "resets": resets(),
    "hangs": hangs,
    "drips": drips(b"HTTP/1.1 200 O"),
    "endless": streams(b"HTTP/1.1 200 OK\r\n\r\n"),
    "answers 500": answer("500 Internal Server Error"),
    "answers 429": answer("429 Too Many Requests", "Retry-After: 1"),
}


@contextmanager
def bad_receiver(name: str) -> Iterator[str]:
    """Its URL."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None, "a pipe"
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/hook"
    finally:
        process.terminate()
        process.wait()


async def serve(name: str) -> None:
    behaviour = BEHAVIOURS[name]
    async with receiver(behaviour) if behaviour else refusing() as port:
        print(port, flush=True)
        await asyncio.Event().wait()


class Times:
    """Milliseconds from storing to the end of the answer, of deliveries to those that are well."""

    def __init__(self, store: SqliteOutbox, wanted: int) -> None:
        self.taken: list[float] = []
        self.stored: dict[str, datetime] = {}
        self.done = asyncio.Event()
        self._wanted = wanted
        self._finish = store.finish

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await self._finish(worker, outcomes, now, announcements)
        for outcome in outcomes:
            attempt = outcome.attempt
            if outcome.endpoint_id != "ep_bad":
                assert outcome.state is DeliveryState.DELIVERED, attempt.error
                waited = (attempt.started_at - self.stored[attempt.event_id]).total_seconds()
                self.taken.append((waited + attempt.duration) * 1000)
        if len(self.taken) >= self._wanted:
            self.done.set()


class Taken(NamedTuple):
    """Milliseconds."""

    p50: float
    p99: float


async def run(well: str, bad: str | None, seconds: float, each_second: int) -> Taken:
    now, count = datetime.now(UTC), int(seconds * each_second)
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteOutbox(Path(folder, "outbox.db"))
        await store.open()
        for number in range(HEALTHY):
            await store.add_endpoint(Endpoint(f"ep_{number}", f"{well}/well/{number}", ("*",), new_secret(), now))
        if bad:
            await store.add_endpoint(Endpoint("ep_bad", bad, ("*",), new_secret(), now))
        times = Times(store, count * HEALTHY)
        store.finish = times.finish  # type: ignore[method-assign]  # measures, passes on
        async with HttpSender(allow_private=True) as sender:
            settings = DispatchSettings("bench", grace=0.1)
            observer = Reported(SystemClock())
            dispatcher = Dispatcher(store, sender, SystemClock(), settings, observer=observer)
            running = asyncio.create_task(dispatcher.run())
            await store_evenly(store, dispatcher, times, count, 1 / each_second)
            await asyncio.wait_for(times.done.wait(), 60)
            dispatcher.stop()
            await running
        await store.close()
    return Taken(percentile(times.taken, 50), percentile(times.taken, 99))


async def store_evenly(store: SqliteOutbox, dispatcher: Dispatcher, times: Times, count: int, pause: float) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for number, event in enumerate(make_events(count, 1)):
        await asyncio.sleep(max(begin + number * pause - loop.time(), 0))
        times.stored[event.id] = now = datetime.now(UTC)
        await store.store("main", Position(str(number)), [event], {}, now)
        dispatcher.notify()


def measure(name: str, well: str, options: Any) -> str:
    without, with_it = [], []
    with bad_receiver(name) as bad:
        for turn in range(options.rounds + 1):
            sides: list[tuple[list[Taken], str | None]] = [(without, None), (with_it, bad)]
            for results, url in sides if turn % 2 else sides[::-1]:
                taken = uvloop.run(run(well, url, options.seconds, options.events))
                if turn:  # the first round warms up
                    results.append(taken)
    p50 = [statistics.median(one.p50 for one in side) for side in (without, with_it)]
    p99 = [statistics.median(one.p99 for one in side) for side in (without, with_it)]
    ratio = statistics.median(b.p99 / a.p99 for a, b in zip(without, with_it, strict=True))
    return (
        f"{name:12} p50 {p50[0]:6.2f} → {p50[1]:6.2f} ms   p99 {p99[0]:6.2f} → {p99[1]:6.2f} ms   ({ratio:.2f} times)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--bad", nargs="*", default=list(BEHAVIOURS), choices=list(BEHAVIOURS))
    parser.add_argument("--serve", choices=list(BEHAVIOURS), help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        configure_logs("json", "info", nowhere)
        with nginx() as url:
            for name in options.bad:
                print(measure(name, url, options), flush=True)


if __name__ == "__main__":
    main()
