"""What moving needs to know of an engine: how journal and log name the same transaction, and where the log ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from cdc.model.change import Transaction
from cdc.model.position import Position


class Mark(NamedTuple):
    """The end of the log at a moment.  ``settled``: whether everything that the log holds before it can be seen in the
    database by now: a server writes a commit to its log first, and shows it a moment later."""

    position: Position
    settled: Callable[[], Awaitable[bool]]


class Bridge(Protocol):
    """Between the journal and the log of one database."""

    async def check_journal(self) -> None:
        """Raises when the triggers are not all in place."""
        ...

    async def mark(self) -> Mark:
        """Where the log ends now."""
        ...

    def passed(self, position: Position, mark: Position) -> bool:
        """Whether a position of the log is behind another one, or at it."""
        ...

    async def waiting(self, most: int) -> list[str]:
        """Names of transactions that can be seen in the journal, ``most`` at most."""
        ...

    def journal_names(self, position: Position) -> tuple[str, ...]:
        """Of a batch of the journal: the names of its transactions, as `log_names` gives them."""
        ...

    def log_names(self, transaction: Transaction) -> tuple[str, ...]:
        """What triggers called a transaction that the log tells of; nothing when they did not see it."""
        ...

    async def forget(self, transactions: Sequence[Transaction]) -> None:
        """Delete from the journal, if there is one, what the log told of."""
        ...

    def begin_log(self, mark: Position, journal: Position) -> Position:
        """The mark, with what the journal's position still had to do (tables to read again)."""
        ...

    def begin_journal(self, log: Position) -> Position:
        """The beginning of the journal, with what the log's position still had to do."""
        ...

    async def close(self) -> None: ...
