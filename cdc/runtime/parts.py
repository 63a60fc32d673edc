"""Parts of a process that run side by side, of which some may be replaced while the others go on."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cdc.runtime.components import Components, Work

#: An event leaves no cycles behind, so the collector of garbage finds little however often it looks; by default it
#: looks so often that a twelfth of the time is its (`bench_end_to_end`).
_COLLECTION: Final = (20_000, 20, 100)


def settled() -> None:
    """What there is by now lives as long as the process: no collection of garbage looks through it any more, and there
    are fewer of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION)


@dataclass(frozen=True, slots=True)
class ProcessPart:
    """``key``: a part of the same name with an equal key is the same part, and goes on undisturbed."""

    key: object = field(repr=False)  # may hold passwords
    work: Work


@dataclass(frozen=True, slots=True)
class _Running:
    key: object = field(repr=False)
    task: asyncio.Task[None]
    stop: asyncio.Event


class Parts:
    """Those that run now, as tasks of ``group``."""

    def __init__(self, group: asyncio.TaskGroup, components: Components) -> None:
        self._group = group
        self._components = components
        self._running: dict[str, _Running] = {}
        self._stopped = False

    async def become(self, wanted: Mapping[str, ProcessPart]) -> list[str]:
        """End what is not wanted as it is, all of it at once, and begin what is new once that has ended; the names of
        both.  After `stop` nothing begins."""
        ending = {
            name: running
            for name, running in self._running.items()
            if name not in wanted or wanted[name].key != running.key
        }
        for running in ending.values():
            running.stop.set()
        if ending:
            await asyncio.wait([running.task for running in ending.values()])
        for name in ending:
            del self._running[name]
        beginning = [name for name in wanted if name not in self._running and not self._stopped]
        for name in beginning:
            stop = asyncio.Event()
            task = self._group.create_task(self._components.keep(name, wanted[name].work, stop), name=name)
            self._running[name] = _Running(wanted[name].key, task, stop)
        return [*(name for name in ending if name not in wanted), *beginning]

    def stop(self) -> None:
        """All at once; their tasks end by themselves."""
        self._stopped = True
        for running in self._running.values():
            running.stop.set()
