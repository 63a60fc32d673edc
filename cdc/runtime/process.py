"""This process and the system that runs it: its priority and open files, and notifications to the service manager over
the socket that it provides (sd_notify(3)).  Without one, in a terminal or a container, none is sent."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from cdc.model.clock import Clock

log = structlog.get_logger()

#: Open files: more is never needed, and a process that closes all it might have open would take long.
MOST = 65_536


def stand_back(nice: int) -> None:
    """Let others of this machine go first, to ``nice`` of 0 to 19; never forward again, which takes a privilege.

    To be called before threads begin: on Linux each has a priority of its own, and takes over that of its maker.
    Sandboxes may refuse it (systemd's ``SystemCallFilter=~@resources``): then it is said, and nothing else.
    """
    further = nice - os.getpriority(os.PRIO_PROCESS, 0)
    if further <= 0:
        return
    try:
        os.nice(further)
    except PermissionError:
        log.warning("priority kept", nice=nice, reason="the sandbox refuses another: set it there (Nice= of a unit)")


def raise_limit(most: int = MOST) -> None:
    """Raise the soft limit of open files as far as the hard one allows.  Shells set it to 1,024, though a process may
    take more by itself.  Sandboxes may refuse even the question (systemd's ``SystemCallFilter=~@resources``): the unit
    sets the limit there."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.debug("limit of open files kept", reason=str(error))


_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
#: Notifications within the time after which the service manager ends a silent process.
_TIMES = 3


class Supervisor:
    """The service manager's socket at ``address``; empty: there is none.  ``patience``: seconds of silence after which
    this process is ended and started again; None: never."""

    def __init__(self, address: str = "", patience: float | None = None) -> None:
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self.patience = patience if address else None

    @staticmethod
    def of(environment: Mapping[str, str]) -> Supervisor:
        """Return the service manager of the environment variables, if they are meant for this process."""
        watched = environment.get(_WATCHDOG, "")
        mine = environment.get(_WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        patience = int(watched) / 1_000_000 if mine and watched.isdecimal() and int(watched) else None
        return Supervisor(environment.get(_SOCKET, ""), patience)

    def ready(self, status: str) -> None:
        self._notify("READY=1", f"STATUS={status}")

    def reloading(self, clock: Clock) -> None:
        self._notify("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        self._notify("STOPPING=1", "STATUS=Stopping.")

    def waiting(self, status: str, seconds: float) -> None:
        """Report that the start takes longer, and is not hanging; the next report comes within ``seconds``."""
        self._notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", f"STATUS={status}")

    def alive(self, status: str) -> None:
        self._notify("WATCHDOG=1", f"STATUS={status}")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
                manager.setblocking(False)  # a manager that does not read must not delay this process
                manager.connect(self._address)
                manager.send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError as error:
            log.warning("service manager not notified", message=lines[0], error=error.strerror)


async def keep_alive(
    supervisor: Supervisor,
    hangs: Callable[[datetime], Sequence[str]],
    status: Callable[[datetime], str],
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Report until ``stop`` that this process works; be silent while a part of it hangs, so that the service manager
    starts it again."""
    if supervisor.patience is None:
        return
    while not stop.is_set():
        now = clock.now()
        if why := hangs(now):
            log.error("watchdog not notified", reasons=list(why))
        else:
            supervisor.alive(status(now))
        await clock.wait(stop, supervisor.patience / _TIMES)
