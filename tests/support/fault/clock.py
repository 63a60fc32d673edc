"""A clock of the product that a test sets while a process runs, as an administrator sets that of the machine."""

from __future__ import annotations

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cdc.model.clock import SystemClock

#: The variable that names the file which holds the shift, in seconds.
SHIFT = "CDC_TEST_CLOCK_SHIFT"
_SECONDS = struct.Struct("d")


def set_shift(file: Path, seconds: float) -> None:
    """Set the shift of running and later processes."""
    with file.open("r+b" if file.exists() else "w+b") as opened:
        opened.write(_SECONDS.pack(seconds))


def shift_clock(name: str) -> None:
    """Replace the clocks of this process, where the product reads the time of day."""
    with Path(name).open("rb") as file:
        shared = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    real = time.time

    def shift() -> float:
        return float(_SECONDS.unpack(shared[:])[0])

    def now(_self: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=shift())

    setattr(SystemClock, "now", now)  # noqa: B010 - a method of the product, for this process only
    time.time = lambda: real() + shift()
