"""Where in a server's log reading stands."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = re.compile(r"\.(\d+)\Z")


class LogPosition(NamedTuple):
    """Behind a whole transaction.  A tuple, not a dataclass: one is made for each transaction, and this is quicker.

    ``file``, ``offset``: place in this server's log, 64 bits; another server's differs.
    ``gtids``: everything read so far, as MySQL's GTID set (``uuid:1-5,uuid:tag:1``) or MariaDB's last GTID of each
    domain (``0-1-5,1-2-7``); good on every server of a replication topology.  Empty when it is not known.
    """

    file: str
    offset: int
    gtids: str

    def place(self) -> tuple[int, int]:
        """(number of the file, offset): grows along one server's log, as file names do not beyond 999999."""
        number = _NUMBER.search(self.file)
        return (int(number[1]) if number else 0, self.offset)

    def describe(self) -> str:
        """For people."""
        gtids = f" ({self.gtids[:200]})" if self.gtids else ""
        return f"{self.file}:{self.offset}{gtids}"
