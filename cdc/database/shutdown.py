"""Cuts a connection whose server is deaf: it cannot be asked to cancel."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def shut_down(descriptor: int) -> None:
    """Wake whoever waits for this socket with an error."""
    with socket.socket(fileno=os.dup(descriptor)) as twin, suppress(OSError):  # the peer was quicker
        twin.shutdown(socket.SHUT_RDWR)
