"""Free ports of this machine for programs that are started with a port number."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

#: Below the ports that the system gives to outgoing connections: none of those can take one before it is used.
FIRST, LAST = 15_000, 31_999
_BLOCK = 100


def free_port() -> int:
    """A port that nothing listens on, and that no other call returns, in any thread of this process or another one."""
    with _lock:
        return next(_ports)


def _free() -> Iterator[int]:
    while True:
        first = _claim()
        yield from filter(_is_free, range(first, first + _BLOCK))


def _claim() -> int:
    """The first port of a block that belongs to this process to its end, by the lock of a file."""
    folder = Path(tempfile.gettempdir(), f"cdc-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    blocks = list(range(FIRST, LAST, _BLOCK))
    random.shuffle(blocks)  # a port that was used a moment ago may still have connections that are being closed
    for first in blocks:
        lock = os.open(folder / str(first), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return first
    message = f"All ports between {FIRST} and {LAST} belong to other test runs."
    raise OSError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return _binds(probe, port)


def _binds(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


_ports = _free()
_lock = threading.Lock()  # a generator refuses a second thread, and the keeper serves each client in its own
