"""What of the consumer's work a process does."""

from __future__ import annotations

from enum import StrEnum


class ProcessRole(StrEnum):
    ALL = "all"
    CAPTURE = "capture"
    DISPATCH = "dispatch"
