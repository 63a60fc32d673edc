"""Rows of captured tables that a foreign key changes without any trigger, as paths from a parent table.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc.capture.triggers.mysql_state import ForeignKey

#: InnoDB refuses cascades that go deeper, so longer paths (through cycles) cannot happen.
DEEPEST = 15
#: A parent with more paths than this would get a trigger too long to be sensible.
MOST_PATHS = 400


class Effect(StrEnum):
    DELETED = "deleted"
    NULLED = "nulled"
    REKEYED = "rekeyed"


@dataclass(frozen=True, slots=True)
class Path:
    """A path from the parent's row over ``keys`` (the first references the parent) to rows, and what becomes of
    these."""

    keys: tuple[ForeignKey, ...]
    effect: Effect

    @property
    def table(self) -> str:
        return self.keys[-1].table


def delete_paths(parent: str, keys: Sequence[ForeignKey], captured: Collection[str]) -> list[Path]:
    """Return the paths to captured rows that change when a row of ``parent`` is deleted."""
    return _distinct(_delete_paths(parent, keys, captured, ()))


def update_paths(parent: str, keys: Sequence[ForeignKey], captured: Collection[str]) -> list[Path]:
    """Return the paths to captured rows that change with the referenced columns of a row of ``parent``."""
    return _distinct(_update_paths(parent, None, keys, captured, ()))


def _distinct(paths: Iterator[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        found[path] = None
        if len(found) == MOST_PATHS:
            break
    return list(found)


def _delete_paths(
    parent: str, keys: Sequence[ForeignKey], captured: Collection[str], behind: tuple[ForeignKey, ...]
) -> Iterator[Path]:
    deeper: list[tuple[ForeignKey, ...]] = []
    for key in keys:
        if key.parent != parent or key.on_delete not in ("CASCADE", "SET NULL"):
            continue
        here = (*behind, key)
        if key.table in captured:
            yield Path(here, Effect.DELETED if key.on_delete == "CASCADE" else Effect.NULLED)
        if key.on_delete == "CASCADE" and len(here) < DEEPEST:
            deeper.append(here)
    for here in deeper:
        yield from _delete_paths(here[-1].table, keys, captured, here)


def _update_paths(
    parent: str,
    changed: Collection[str] | None,
    keys: Sequence[ForeignKey],
    captured: Collection[str],
    behind: tuple[ForeignKey, ...],
) -> Iterator[Path]:
    """``changed``: the columns of ``parent`` that the cascade changes; None means any (the statement itself)."""
    for key in keys:
        if key.parent != parent or key.on_update not in ("CASCADE", "SET NULL") or key in behind:
            continue
        if changed is not None and not set(key.parent_columns) & set(changed):
            continue
        here = (*behind, key)
        if key.table in captured:
            yield Path(here, Effect.REKEYED if key.on_update == "CASCADE" else Effect.NULLED)
        if key.on_update == "CASCADE" and len(here) < DEEPEST:
            yield from _update_paths(key.table, key.columns, keys, captured, here)
