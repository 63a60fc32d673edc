"""Rows as a source saw them last, kept in the outbox for a source that can only compare.

A store looks into none of it: a key is bytes, at least one, whose order is that of the keys; digest and row are as the
source made them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Protocol

from cdc.model.position import Position


class SnapshotRow(NamedTuple):
    """``digest``: of the row; two rows with one digest are the same.  ``row``: packed."""

    key: bytes
    digest: bytes
    row: bytes


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """What is to be kept of one table from now on.  ``anew``: forget all of it first.  ``gone``: keys to forget;
    ``written``: rows to keep, in the place of those that had their keys.

    ``behind``: the position of the source with which the kept rows were read: when the outbox has another one, somebody
    else has told of the same changes."""

    table: str
    written: tuple[SnapshotRow, ...] = ()
    gone: tuple[bytes, ...] = ()
    _: KW_ONLY
    behind: Position | None
    anew: bool = False


class RefusalStore(Protocol):
    """One text for each API: the calls that it refused.  All processes of the installation share it."""

    async def refusals(self, api: str) -> str:
        """Return the text; empty at first."""
        ...

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        """Replace the text by ``change(text)``; no other process reads or changes it in between."""
        ...


class SnapshotStore(RefusalStore, Protocol):
    async def become_reader(self, source: str) -> bool:
        """Return whether this process may read a source that has no lock of its own.  It has the part until
        `stop_reading`, or until it closes the outbox or dies, and the others get False until then."""
        ...

    async def stop_reading(self, source: str) -> None:
        """Let another process read it; also where this one does not."""
        ...

    async def kept_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Keys with their digests in the order of the keys: the first ``limit`` behind ``after``, up to ``until``
        inclusive (None: from the first, to the last)."""
        ...

    async def kept_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        """Those that are kept, by their keys."""
        ...
