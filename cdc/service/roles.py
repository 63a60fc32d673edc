"""What of the consumer's work a process does."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    ALL = "all"
    CAPTURE = "capture"
    DISPATCH = "dispatch"
