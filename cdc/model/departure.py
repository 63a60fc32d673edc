"""The mark that a source has in place of its position while it moves to another outbox, and after it has left.

Every store names the position before, so that none succeeds where the mark is; no source reads behind it.  The text is
no JSON, which positions are: earlier versions of this program refuse it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from cdc.model.change import Position
from cdc.model.errors import SourceError

_BEGINS: Final = "moved:"


class Stage(StrEnum):
    """``ARRIVING``: in the new outbox, until it has everything.  ``LEAVING``, at the end ``LEFT``: in the old one."""

    ARRIVING = "arriving"
    LEAVING = "leaving"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Departure:
    """``move``: names it in both outboxes.  ``outbox``: the other one, for people.  ``position``: the source's own.
    ``endpoints``: ids of those that go along; ``removed``: of those that are then removed here; ``log``: with their
    finished deliveries."""

    move: str
    stage: Stage
    outbox: str
    position: str = ""
    endpoints: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    log: bool = False

    def dump(self) -> Position:
        return Position(_BEGINS + json.dumps(asdict(self)))


def departure(position: Position | None) -> Departure | None:
    """Return the mark in the place of a position; None where a source has its position, or none."""
    if position is None or not position.startswith(_BEGINS):
        return None
    fields: dict[str, Any] = json.loads(position.removeprefix(_BEGINS))
    lists = {name: tuple(fields[name]) for name in ("endpoints", "removed")}
    return Departure(**{**fields, **lists, "stage": Stage(fields["stage"])})


def check_present(source: str, position: Position | None) -> None:
    """Raise `SourceError` for a source that another outbox has, or will have."""
    found = departure(position)
    if found is None:
        return
    if found.stage is Stage.ARRIVING:
        raise SourceError(
            f"Source {source!r} is being moved here from the outbox {found.outbox}.",
            "cdc run reads it when everything has arrived; if the move was interrupted, run it again there: "
            "cdc source move-outbox",
        )
    raise SourceError(
        f"Source {source!r} was moved to the outbox {found.outbox}.",
        f"Remove [source.{source}] from this configuration.  If the move was interrupted, run it again: "
        "cdc source move-outbox",
    )
