"""How messages of a replication slot arrive: pushed over a replication connection, or asked for by SQL functions."""

from __future__ import annotations

from typing import Protocol


class LogStream(Protocol):
    """All methods raise `SourceUnavailable` when the connection is gone; then only ``close`` may be called."""

    async def open(self, start: int) -> None:
        """Messages of transactions that commit behind the LSN ``start``.  Raises `LogPurged` when they are not
        there."""
        ...

    def take(self) -> bytes | None:
        """The next message, if it is here already."""
        ...

    async def wait(self, seconds: float) -> None:
        """Until `take` may have something again, or ``seconds`` at most."""
        ...

    @property
    def progress(self) -> int:
        """While `take` has nothing and no transaction is under way: everything that committed before this LSN was
        taken.  0: not known yet."""
        ...

    async def confirm(self, lsn: int) -> None:
        """Everything that committed before ``lsn`` is stored: the server may forget it."""
        ...

    async def close(self) -> None: ...
