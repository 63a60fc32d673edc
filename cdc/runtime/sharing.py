"""Resources that the sources of one process share, so that three hundred cost little more than a few, and none delays
another.

Per database server: how many of its sources are opened at once, and the threads in which installers work.  A server
that hangs uses up its own share only.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from cdc.capture.base import SILENT_LEASED, SILENT_SECONDS
from cdc.config import SourceConfig
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError

if TYPE_CHECKING:
    from cdc.capture.journal.mysql_watch import JournalWatch

T = TypeVar("T")

#: Sources of one server that are being opened at once, and seconds after which the next one need not wait any more:
#: who waits as a standby holds up nobody.  Workers with leases have no standbys, and take over hundreds of sources at
#: once: more connections than a busy server can answer in time would all fail.
OPENED_AT_ONCE: Final = 8
OPENING_SECONDS: Final = 2.0
OPENING_LEASED: Final = 15.0
#: Installers at work on one server at once.
THREADS: Final = 2
#: Seconds between looks from outside at two sources.
PROBES_APART: Final = 0.2


@dataclass(frozen=True, slots=True)
class SourcePace:
    """Seconds between the regular tasks of an idle source.

    ``look``: between two polls of a journal that cannot notify; ``quick``: while it is busy.  ``together``: one
    connection polls all journals of the server that one account reads.  ``round``: of waiting, after which an end is
    noticed.  ``idle``: after which the source checks itself and its backfills.  ``probe``: between two probes from
    outside; ``keep``: their connection stays open in between; ``sign_in``: between two trials of a new one.
    ``check``: between two checks of all triggers; ``names``: of the tables that exist, as a multiple of the configured
    time.  ``retry``: before the first new try after a failure.  ``silent``: after which the server takes the consumer
    lock from a silent consumer.
    """

    look: float = 0.03
    quick: float = 0.005
    together: bool = False
    round: float = 0.4
    idle: float = 1.0
    probe: float = 5.0
    keep: bool = True
    sign_in: float = 55.0
    check: timedelta = timedelta(minutes=1)
    names: float = 1.0
    retry: float = 0.5
    silent: int = SILENT_SECONDS

    @classmethod
    def among(cls, all_sources: int, of_server: int) -> Self:
        """Return the pace of one of ``all_sources``: a few are polled as often as one, many cost as much in all."""
        least = cls()
        return cls(
            look=max(least.look, of_server * 0.001),
            quick=max(least.quick, of_server * 0.0001),
            together=of_server * 0.001 > least.look,
            round=min(max(least.round, all_sources * 0.00625), 2.0),
            idle=min(max(least.idle, all_sources * 0.025), 5.0),
            probe=max(least.probe, all_sources * PROBES_APART),
            keep=all_sources * PROBES_APART <= least.probe,
            check=max(least.check, timedelta(seconds=all_sources * 2)),
            names=max(least.names, all_sources * 0.02),
            retry=max(least.retry, of_server * 0.02),
        )


class Share:
    """The share of one source; several have the same ``_server``."""

    def __init__(self, pace: SourcePace, server: _Server) -> None:
        self.pace = pace
        self._server = server
        self.watches = server.watches
        self._one = asyncio.Lock()  # two installers on one database would undo each other's work

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Hold one of the server's openings while a source is opened, for a time at most; others wait for it."""
        await self._server.openings.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:  # the timer and the end may come in one pass of the loop
                held = False
                self._server.openings.release()

        timer = asyncio.get_running_loop().call_later(self._server.seconds, release)
        try:
            yield
        finally:
            timer.cancel()
            release()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """``work``, which may take long, in one of the server's threads.  Cancelled, it ends by itself."""
        async with self._one, self._server.threads:
            return await _in_daemon(work)


class _Server:
    """``seconds``: that an opening is held at most."""

    def __init__(self, seconds: float = OPENING_SECONDS) -> None:
        self.seconds = seconds
        self.openings = asyncio.Semaphore(OPENED_AT_ONCE)
        self.threads = asyncio.Semaphore(THREADS)
        self.watches: dict[ConnectionInfo, JournalWatch] = {}


def alone() -> Share:
    """Return the share of the only source of a process."""
    return Share(SourcePace(), _Server())


class Sharing:
    """The shares of one process, also when its sources change.  ``leased``: other processes share its sources."""

    def __init__(self, *, leased: bool = False) -> None:
        self._silent = SILENT_SECONDS if not leased else SILENT_LEASED
        self._servers: dict[tuple[str, ...], _Server] = defaultdict(
            lambda: _Server(OPENING_LEASED if leased else OPENING_SECONDS)
        )

    def shares(self, sources: Iterable[SourceConfig]) -> dict[str, Share]:
        """Return the shares by the source's name."""
        places = {source.name: server_of(source) for source in sources}
        counts = Counter(places.values())
        return {
            name: Share(
                replace(SourcePace.among(len(places), counts[place]), silent=self._silent), self._servers[place]
            )
            for name, place in places.items()
        }


def server_of(source: SourceConfig) -> tuple[str, ...]:
    """Return the key of a source's server; a key of its own where the server cannot be determined."""
    try:
        info: ConnectionInfo = source.connection()
    except ConfigError:
        return (source.name,)
    return (info.engine.value, info.socket or f"{info.host}:{info.port}")


async def _in_daemon(work: Callable[[], T]) -> T:
    """Run the work in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - passed on to the awaiting task
            report(done.set_exception, error)
        else:
            report(done.set_result, answer)

    def report(how: Callable[[Any], None], what: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if done.done() else how(what))

    threading.Thread(target=run, name="cdc-installer", daemon=True).start()
    return await done
