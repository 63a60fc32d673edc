"""What of a configuration may leave the machine: options that hold neither secrets nor addresses nor names of people.

By an allow-list: an option that is not in it is only said to be given, never its value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from cdc.config import Config
from cdc.config.section import Section

OPEN: Final[Mapping[str, Collection[str]]] = {
    "source": (
        "capture", "reader", "on_purged", "slot_limit_mb", "html", "tables", "include", "repair", "new_tables_seconds",
    ),
    "rest": ("requests_per_minute", "page_size", "interval_seconds", "compare_seconds", "existing"),
    "outbox": (),
    "dispatch": (
        "allow_private", "allow_http", "proxy_resolves", "concurrency", "lease_seconds", "max_timeout_seconds",
        "stop_seconds",
    ),
    "mail": ("port", "security"),
    "web": (
        "stalled_seconds", "overdue_seconds", "session_hours", "timezone", "connections", "connections_per_address",
        "request_seconds",
    ),
    "retention": ("days", "events", "payload_days"),
    "tracing": ("sample",),
    "log": ("format", "level"),
    "process": ("nice",),
}  # fmt: skip
GIVEN: Final = "(given)"


def open_configuration(config: Config) -> dict[str, Any]:
    """As JSON knows it."""
    told: dict[str, Any] = {name: _told(name, getattr(config, name)) for name in OPEN if name not in ("source", "rest")}
    told["outbox"]["engine"] = "postgresql" if config.outbox.path is None else "sqlite"
    sources = config.source.items()
    told["source"] = {name: _told("source", each) | {"rest": _told("rest", each.rest)} for name, each in sources}
    return told


def _told(name: str, section: Section) -> dict[str, Any]:
    """Open options with their values; of the others, those that differ from their default."""
    values = section.model_dump(mode="json")
    defaults = {
        option: field.get_default(call_default_factory=True) for option, field in type(section).model_fields.items()
    }
    told = {option: values[option] for option in OPEN[name]}
    given = [
        option
        for option in values
        if option not in told and option != "rest" and getattr(section, option) != defaults[option]
    ]
    return told | dict.fromkeys(given, GIVEN)
