"""The service manager that started this process, told how it does over the socket that it gave (sd_notify(3)).

Where there is none, in a terminal or a container, nothing is told to anybody.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from cdc.model.clock import Clock

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
#: Told so many times within the time after which the service manager ends a process that tells nothing.
_TIMES = 3

log = structlog.get_logger()


class Supervisor:
    """``address``: of the socket; empty: nobody is told.  ``patience``: seconds of silence after which this process is
    ended and started again; None: never."""

    def __init__(self, address: str = "", patience: float | None = None) -> None:
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self.patience = patience if address else None

    @staticmethod
    def of(environment: Mapping[str, str]) -> Supervisor:
        """The one that the variables name which it sets for this very process."""
        watched = environment.get(_WATCHDOG, "")
        mine = environment.get(_WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        patience = int(watched) / 1_000_000 if mine and watched.isdecimal() and int(watched) else None
        return Supervisor(environment.get(_SOCKET, ""), patience)

    def ready(self, status: str) -> None:
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self, clock: Clock) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=Stopping.")

    def waiting(self, status: str, seconds: float) -> None:
        """Not ready yet, and not hanging: it will be told again within ``seconds``."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", f"STATUS={status}")

    def alive(self, status: str) -> None:
        self._tell("WATCHDOG=1", f"STATUS={status}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)  # whoever does not listen must not hold up what is told of
                told.connect(self._address)
                told.send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError as error:
            log.warning("service manager not told", told=lines[0], error=error.strerror)


async def keep_alive(
    supervisor: Supervisor,
    hangs: Callable[[datetime], Sequence[str]],
    status: Callable[[datetime], str],
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Tell, until ``stop``, that this process works, for as long as nothing of it hangs; then be silent, so that the
    service manager starts it again."""
    if supervisor.patience is None:
        return
    while not stop.is_set():
        now = clock.now()
        if why := hangs(now):
            log.error("the watchdog is not told", reasons=list(why))
        else:
            supervisor.alive(status(now))
        await clock.wait(stop, supervisor.patience / _TIMES)
