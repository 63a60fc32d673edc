"""Where a source stands."""

from __future__ import annotations

from typing import NewType

#: Opaque text that a source writes and only the same kind of source reads.  The outbox stores it in the transaction
#: that stores the events which it covers, so after a crash the source resumes exactly behind them.
Position = NewType("Position", str)
