"""A position in a server's log."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = re.compile(r"\.(\d+)\Z")


class LogPosition(NamedTuple):
    """The position after a whole transaction.  A tuple, not a dataclass: one is made for each transaction, and this is
    quicker.

    ``file``, ``offset``: place in this server's log, 64 bits; another server's differs.  No file: the place is not
    known on this server, only the GTIDs are.
    ``gtids``: everything read so far, as MySQL's GTID set (``uuid:1-5,uuid:tag:1``) or MariaDB's last GTID of each
    domain (``0-1-5,1-2-7``); good on every server of a replication topology.  Empty when it is not known.
    ``begun``: when the server began the file, in seconds since 1970; 0 when it is not known.  A server begins a file
    whenever it starts and whenever its log is reset, and only appends to it: the file's name and this time say that the
    place is in the log that was read.
    """

    file: str
    offset: int
    gtids: str
    begun: int = 0

    def place(self) -> tuple[int, int]:
        """(number of the file, offset): grows along one server's log, as file names do not beyond 999999."""
        number = _NUMBER.search(self.file)
        return (int(number[1]) if number else 0, self.offset)

    def describe(self) -> str:
        """Return a description for people."""
        gtids = f" ({self.gtids[:200]})" if self.gtids else ""
        return f"{self.file}:{self.offset}{gtids}"
