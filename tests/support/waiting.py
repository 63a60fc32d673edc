"""Limits of waits in tests, and waiting for what announces itself by no event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Ends a wait that would not end, so that the test fails at that place.  It says nothing about speed: a machine that is
#: ten times overloaded must not reach it.
HANG_SECONDS = 120.0


def until(done: Callable[[], bool], seconds: float = HANG_SECONDS) -> bool:
    """Return whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)  # files and servers of other processes: there is no event to await
    return True
