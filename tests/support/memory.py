"""A place in memory for what tests write: a commit waits 4 ms for a disk, and does not wait there."""

from __future__ import annotations

import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 << 30


def in_memory() -> Path | None:
    """Return the folder, if this machine has it with enough room."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED
    return MEMORY if roomy else None
