"""What relays and dispatch report about themselves, to whoever measures and watches; no metric library here.

Called for each batch or each write, never for each event: an observer must cost next to nothing, not wait, not raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cdc.change import Batch
from cdc.delivery import Outcome
from cdc.errors import CdcError
from cdc.position import Position


class Observer(Protocol):
    def opening(self, source: str) -> None:
        """A source is about to be opened, for the first time or again."""
        ...

    def reading(self, source: str, position: Position | None) -> None:
        """It is open, and reads behind ``position``."""
        ...

    def source_failed(self, source: str, error: CdcError) -> None:
        """It is closed, and will be opened again."""
        ...

    def stored(self, source: str, batch: Batch, events: int) -> None:
        """A batch is in the outbox; ``events`` of it are new there."""
        ...

    def outbox_failed(self, user: str, error: CdcError) -> None:
        """The outbox refused ``user`` (the name of a source, or a part of dispatch), who will try again."""
        ...

    def outbox_worked(self, user: str) -> None:
        """It does what ``user`` asks.  `reading` and `stored` say the same of a source."""
        ...

    def dispatching(self, active: bool) -> None:
        """Whether this process dispatches, or another one does from the same outbox."""
        ...

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        """Attempts that ended, each with its endpoint's id."""
        ...


class Silent:
    """Observes nothing."""

    def opening(self, source: str) -> None: ...

    def reading(self, source: str, position: Position | None) -> None: ...

    def source_failed(self, source: str, error: CdcError) -> None: ...

    def stored(self, source: str, batch: Batch, events: int) -> None: ...

    def outbox_failed(self, user: str, error: CdcError) -> None: ...

    def outbox_worked(self, user: str) -> None: ...

    def dispatching(self, active: bool) -> None: ...

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None: ...


SILENT: Observer = Silent()
