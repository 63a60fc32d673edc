"""What installer and consumer share about the journal in a PostgreSQL database: its version and its locks.  Pure."""

from __future__ import annotations

#: Of the journal's tables and functions; the consumer refuses another one.
JOURNAL_VERSION = 1
#: The two-part advisory lock keys: "cdc", and what for.
LOCK_CLASS = 0x63646300
LOCK_CONSUMER = 1
LOCK_IDLE = 2
#: The table of ours whose triggers prove that changes are captured.
PROBE = "cdc_probe"
