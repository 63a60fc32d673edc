"""Safe reading of files that other accounts control, and durable replacement of files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

#: Flags of `os.open`, 0 where the system has no such: Windows has neither, and translates line ends in text mode.
CLOSED_IN_CHILDREN: Final[int] = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NEVER_BLOCKS: Final[int] = getattr(os, "O_NONBLOCK", 0)
_FOLDER: Final[int | None] = getattr(os, "O_DIRECTORY", None)


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a file.  Raises `OSError` for a FIFO, a device or another irregular file, which could block
    for ever, and for one of more than ``most`` bytes."""
    descriptor = os.open(path, os.O_RDONLY | NEVER_BLOCKS | CLOSED_IN_CHILDREN)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content


def replace_durably(draft: Path, target: Path) -> None:
    """Rename ``draft``, whose content is synced, to ``target`` so that the rename survives a power cut."""
    draft.replace(target)
    if _FOLDER is None:  # Windows opens no folders; NTFS writes renames to its journal in their order
        return
    folder = os.open(target.parent, os.O_RDONLY | _FOLDER | CLOSED_IN_CHILDREN)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_root() -> bool:
    """Return whether this process may give files to other accounts, on systems where files have owners."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def keep_owner(old: Path, draft: Path) -> None:
    """Give ``draft``, which will replace ``old``, the same mode and, where this account may do that, the same owner and
    group: what root changes, the account of the service still reads."""
    status = old.stat()
    if is_root():
        os.chown(draft, status.st_uid, status.st_gid)
    draft.chmod(stat.S_IMODE(status.st_mode))
