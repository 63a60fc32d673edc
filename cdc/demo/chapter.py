"""Reads the demo's story: chapters of transactions, each with the events that it must give."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

HEADING = "-- ## "
EXPECTED = "-- => "


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One transaction. ``events``: names, in no particular order between records."""

    statements: tuple[str, ...]
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    title: str
    paragraphs: tuple[Paragraph, ...]


def load_story() -> list[Chapter]:
    text = (files("cdc.demo") / "story.sql").read_text(encoding="utf-8")
    return [_chapter(part) for part in text.split(f"\n{HEADING}")[1:]]


def _chapter(text: str) -> Chapter:
    title, _, body = text.partition("\n")
    paragraphs = (part.strip().splitlines() for part in body.split("\n\n"))
    return Chapter(title, tuple(_paragraph(lines) for lines in paragraphs if lines))


def _paragraph(lines: list[str]) -> Paragraph:
    return Paragraph(
        tuple(line for line in lines if not line.startswith("--")),
        tuple(name for line in lines if line.startswith(EXPECTED) for name in line.removeprefix(EXPECTED).split()),
    )
