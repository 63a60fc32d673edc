"""In the place of a layout: rows of a captured table whose columns are not known for certain."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.capture.binlog.layout import LogLayout


@dataclass(frozen=True, slots=True)
class UnreadableTable:
    """``reason``: a sentence.  ``bare``: what counts the rows, if even that is possible."""

    table: str
    reason: str
    bare: LogLayout | None
