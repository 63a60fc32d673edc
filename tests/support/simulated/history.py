"""The history of a simulated run, for the judge, and a digest of it, by which two runs are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from cdc.model.change import Position


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one record of the ERP by a committed transaction.  ``text`` is unique and is in the row's ``nombre``
    column as the event shows it."""

    at: float
    record: str
    event: str
    text: str


@dataclass(slots=True)
class Delivery:
    """One event in one request, as a receiver reads it."""

    record: str
    event: str
    text: str
    id: str


@dataclass(slots=True)
class Request:
    """``ended``: when its sender saw it end, by an answer, the timeout or its own death.  ``accepted``: when its
    receiver processed it and said so, for each time."""

    number: int
    process: str
    endpoint: str
    webhook_id: str
    deliveries: list[Delivery]
    sent: float
    ended: float | None = None
    status: int | None = None
    retry_after: int | None = None
    died: bool = False
    accepted: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Promise:
    """A failed attempt was recorded: the delivery is to be sent again, not before ``due``.  ``at``: when the answer
    ``status`` to the attempt number ``attempt`` had come, by its sender's clock, as ``due``."""

    endpoint: str
    event_id: str
    attempt: int
    at: float
    due: float
    recorded: float
    status: int | None


@dataclass(slots=True)
class History:
    """``clock``: seconds since the start of the run.  ``lines``: the whole trace, when it is kept."""

    clock: Callable[[], float]
    lines: list[str] | None = None
    changes: list[Change] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    positions: list[tuple[float, str, Position]] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    dead: dict[tuple[str, str], float] = field(default_factory=dict)
    delivered: dict[tuple[str, str], float] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    _digest: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def note(self, what: str) -> None:
        line = f"{self.clock():.6f} {what}\n"
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def complain(self, what: str) -> None:
        """Note a violation that was seen while it happened."""
        self.note(f"VIOLATION {what}")
        self.complaints.append(f"{self.clock():.3f} s: {what}")

    def digest(self) -> str:
        return str(self._digest.hexdigest())
