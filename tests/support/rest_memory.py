"""Polls a resource in a process of its own, and prints how much memory that took.

Arguments: the URL, the path of an outbox, how many events to wait for.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from cdc.config import SourceConfig
from cdc.config.rules import mapper_of
from cdc.config.source import RestConfig, RestResource
from cdc.model.clock import SystemClock
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.relay import Relay, nobody
from cdc.runtime.sources import RestParts, rest_source


def resident_mb(what: str) -> float:
    """``VmRSS`` now, ``VmHWM`` at most."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def main(url: str, outbox: str, events: int) -> None:
    # nothing else takes turns
    rest = RestConfig(
        url=url,
        token="n0t-a-secret",
        requests_per_minute=6000,
        interval_seconds=3600,
        compare_seconds=3600,
        resources={"facturascli": RestResource(compare_seconds=1)},
    )
    config = SourceConfig(capture="rest", rest=rest, rules=None)
    config._name = "main"
    store = SqliteOutbox(outbox)
    await store.open()
    started = resident_mb("VmRSS")
    source = rest_source(config, store, RestParts.from_config(config, store).client)
    stop = asyncio.Event()
    relay = Relay(source, mapper_of(config), store, SystemClock(), nobody)
    running = asyncio.create_task(relay.run(stop))
    after, told = 0, 0
    while told < events:
        await asyncio.sleep(0.2)
        found = await store.events(1000, after)
        told += len(found)
        after = found[-1].sequence if found else after
    stop.set()
    await running
    await store.close()
    print(json.dumps({"started": started, "most": resident_mb("VmHWM"), "told": told}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
