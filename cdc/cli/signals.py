"""Signals of a command.  Windows has neither SIGHUP nor masks, and its event loop handles no signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

#: What tells a process to end; Windows sends SIGBREAK for Ctrl-Break and when a console or service ends.
ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))
HANGUP: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)


def hold_hangup() -> None:
    """Block SIGHUP, where there is one, until `release_hangup`."""
    if HANGUP is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {HANGUP})


def release_hangup() -> None:
    """Let a blocked SIGHUP arrive."""
    if HANGUP is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {HANGUP})


def handle(received: signal.Signals, handler: Callable[[], object]) -> None:
    """Have the running event loop call ``handler`` for each such signal."""
    import asyncio  # noqa: PLC0415 - help must not wait for it

    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(received, handler)
    except NotImplementedError:
        signal.signal(received, lambda _number, _frame: loop.call_soon_threadsafe(handler))


def unhandle(received: signal.Signals) -> None:
    """Undo `handle`."""
    import asyncio  # noqa: PLC0415 - as above

    try:
        asyncio.get_running_loop().remove_signal_handler(received)
    except NotImplementedError:
        signal.signal(received, signal.SIG_DFL)


def end_by(received: signal.Signals) -> None:
    """End this process at once, as the signal would by itself."""
    signal.signal(received, signal.SIG_DFL)
    os.kill(os.getpid(), received)
