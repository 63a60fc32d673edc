"""Takes out of texts what must not leave the machine.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

#: Whatever they belong to: URLs, addresses of people and accounts (name@host), IP addresses.
_ADDRESSES: Final = (
    (re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "<url>"),
    (re.compile(r"\S*@\S+"), "<address>"),
    (re.compile(r"\bmailto:\S+", re.IGNORECASE), "<address>"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b"), "<ip>"),
    (re.compile(r"\bwh(sec|sk)_\S+"), "<secret>"),
)
#: Keys of a log line that hold numbers, ids of ours, names of ours; and what such a value may look like.
_OPEN_KEYS: Final[tuple[str, ...]] = (
    "level", "time", "message", "source", "endpoint", "delivery", "event_id", "event_name", "number", "status",
    "seconds", "state", "next", "retry_in", "batch", "deliveries", "outcomes", "events", "signal", "changed", "listen",
)  # fmt: skip
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:+ -]{0,120}")
_FRAME: Final = re.compile(r'File "[^"]*?(cdc/[\w/]+\.py)", line (\d+), in (\w+)')
_RAISED: Final = re.compile(r"^([A-Za-z_][\w.]*)(:|$)", re.MULTILINE)


def scrubbed(text: str, known: Mapping[str, str]) -> str:
    """Without addresses, and without the texts that are ``known``: each stands for its placeholder."""
    for pattern, placeholder in _ADDRESSES:
        text = pattern.sub(placeholder, text)
    for value in sorted(filter(None, known), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", known[value], text)
    return text


def open_lines(log: Iterator[bytes]) -> Iterator[bytes]:
    """Of a log in JSON, line by line, what is open; other lines are left out."""
    for line in log:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            yield orjson.dumps(_open_entry(entry)) + b"\n"


def _open_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """What other libraries say is not ours to judge: of that, only who said it."""
    told: dict[str, Any] = {key: entry[key] for key in _OPEN_KEYS if key in entry and _is_plain(entry[key])}
    if "logger" in entry:
        told.pop("message", None)
        told["logger"] = entry["logger"] if _is_plain(entry["logger"]) else ""
    if isinstance(entry.get("exception"), str):
        told["exception"] = _places(entry["exception"])
    return told


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and bool(_PLAIN.fullmatch(value)))


def _places(traceback: str) -> list[str]:
    """Where in our code, and the kind of what was raised; no text of it, which may repeat a value."""
    frames = [f"{file}:{line} {name}" for file, line, name in _FRAME.findall(traceback)]
    raised = [kind for kind, _ in _RAISED.findall(traceback) if kind != "Traceback"]
    return [*frames, *raised[-1:]]
