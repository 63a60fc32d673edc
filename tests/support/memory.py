"""A place in memory for what tests write: a commit waits 4 ms for a disk, and does not wait there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 << 30
#: Set to 0 where more is written than memory holds.
WANTED = "CDC_TEST_MEMORY"


def in_memory() -> Path | None:
    """Return the folder, if it is wanted and this machine has it with enough room."""
    if os.environ.get(WANTED) == "0":
        return None
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED
    return MEMORY if roomy else None
