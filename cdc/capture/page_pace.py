"""How large the pages of a backfill are, and how long it rests between them: what an ERP that writes feels of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cdc.model.clock import Clock

#: While the ERP writes, and for so many seconds after, backfills are gentle: a page has so many rows at most, and is
#: followed by a rest of so many times as long as it took to read and store.
GENTLE_SECONDS: Final = 5.0
GENTLE_ROWS: Final = 50
GENTLE_REST: Final = 19.0


@dataclass
class _Size:
    """``rows`` of a page, ``fewest`` at least and ``most`` at most, so that it is read in ``seconds``."""

    rows: int
    seconds: float
    fewest: int
    most: int

    def adapt(self, asked: int, looked: int, seconds: float) -> None:
        """To a page of which ``asked`` rows were asked for.  By halves or doubles at most: one page says little about
        the next.  What was made small says nothing."""
        if asked < self.rows and seconds < self.seconds:
            return
        fitting = looked * self.seconds / seconds if seconds else self.most
        self.rows = int(min(max(fitting, self.rows / 2, self.fewest), self.rows * 2, self.most))


class PagePace:
    """``rows``: of the first page, while the ERP writes nothing."""

    def __init__(self, rows: int, clock: Clock) -> None:
        self._clock = clock
        self._large = _Size(rows, seconds=0.1, fewest=100, most=2000)
        self._small = _Size(GENTLE_ROWS, seconds=0.005, fewest=10, most=GENTLE_ROWS)
        self._changed_at = -GENTLE_SECONDS
        self._begun_at: float | None = None
        self._read_at = self._waited = self._resume_at = 0.0

    def changed(self) -> None:
        """The ERP has written."""
        self._changed_at = self._clock.monotonic()

    @property
    def gentle(self) -> bool:
        return self._clock.monotonic() - self._changed_at < GENTLE_SECONDS

    @property
    def rows(self) -> int:
        """Of the next page."""
        return self._size.rows

    @property
    def _size(self) -> _Size:
        return self._small if self.gentle else self._large

    def rests(self) -> bool:
        """Whether the ERP is left alone for a moment, after a page that has been stored by now."""
        now = self._clock.monotonic()
        if self._begun_at is not None:
            spent = now - self._begun_at - self._waited
            self._begun_at, self._waited = None, 0.0
            self._resume_at = now + GENTLE_REST * spent
        return self.gentle and now < self._resume_at

    @property
    def rest(self) -> float:
        """Seconds of it that remain."""
        return self._resume_at - self._clock.monotonic() if self.gentle else 0.0

    def begin(self) -> float:
        """A page begins to be read: the time, for `read`."""
        self._begun_at = self._clock.monotonic()
        return self._begun_at

    def read(self, began: float, asked: int, looked: int) -> None:
        """The page has been read: it had ``looked`` rows of the ``asked``."""
        self._read_at = self._clock.monotonic()
        self._size.adapt(asked, looked, self._read_at - began)

    def tell(self) -> None:
        """It is told and stored now.  While it waited for its place in the stream, it was no work to anybody."""
        self._waited = self._clock.monotonic() - self._read_at
