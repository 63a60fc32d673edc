"""The support bundle: facts about an installation without secrets and personal data.

Of the configuration only options on an allow-list leave the machine: they hold neither secrets nor addresses nor names
of people.  Any other option is only said to be set.  Addresses and known names are taken out of texts.
"""

from __future__ import annotations

import platform
import re
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

import orjson

from cdc import __version__
from cdc.config import Config
from cdc.config.model import SOURCE_TABLES
from cdc.config.section import LimitsConfig, Section
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, ConfigError
from cdc.model.finding import Finding
from cdc.outbox.store import OutboxStore
from cdc.runtime.outboxes import describe_schema

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
    """Return the text with placeholders for addresses and for the ``known`` texts."""
    for pattern, placeholder in _ADDRESSES:
        text = pattern.sub(placeholder, text)
    for value in sorted(filter(None, known), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", known[value], text)
    return text


def open_lines(log: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the open part of each line of a JSON log; other lines are left out."""
    for line in log:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            yield orjson.dumps(_open_entry(entry)) + b"\n"


def _open_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the open part of an entry.  Of other libraries' entries that is only the logger's name: their texts may
    hold anything."""
    facts: dict[str, Any] = {key: entry[key] for key in _OPEN_KEYS if key in entry and _is_plain(entry[key])}
    if "logger" in entry:
        facts.pop("message", None)
        facts["logger"] = entry["logger"] if _is_plain(entry["logger"]) else ""
    if isinstance(entry.get("exception"), str):
        # the places in our code and the type of the exception; no text of it, which may repeat a value
        traceback = entry["exception"]
        frames = [f"{file}:{line} {name}" for file, line, name in _FRAME.findall(traceback)]
        raised = [kind for kind, _ in _RAISED.findall(traceback) if kind != "Traceback"]
        facts["exception"] = [*frames, *raised[-1:]]
    return facts


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and bool(_PLAIN.fullmatch(value)))


OPEN: Final[Mapping[str, Collection[str]]] = {
    "source": (
        "capture", "reader", "on_purged", "replica", "slot_limit_mb", "html", "tables", "include", "repair",
        "new_tables_seconds",
    ),
    "rest": ("requests_per_minute", "page_size", "interval_seconds", "compare_seconds", "existing"),
    "nats": ("existing",),
    "outbox": ("seal_payloads",),
    "dispatch": (
        "allow_private", "allow_http", "proxy_resolves", "concurrency", "lease_seconds", "max_timeout_seconds",
        "stop_seconds",
    ),
    "mail": ("port", "security"),
    "web": (
        "stalled_seconds", "overdue_seconds", "session_hours", "timezone", "connections", "connections_per_address",
        "request_seconds", "public_catalogue", "require_2fa",
    ),
    "oidc": ("session_minutes",),
    "retention": ("days", "events", "payload_days"),
    "tracing": ("sample",),
    "log": ("format", "level"),
    "process": ("nice", "language"),
    "limits": tuple(LimitsConfig.model_fields),
}  # fmt: skip
REDACTED: Final = "(given)"


def open_configuration(config: Config) -> dict[str, Any]:
    """Return the open part of the configuration, as JSON values."""
    facts: dict[str, Any] = {
        name: _open_section(name, getattr(config, name)) for name in OPEN if name not in ("source", *SOURCE_TABLES)
    }
    facts["outbox"]["engine"] = "postgresql" if config.outbox.path is None else "sqlite"
    sources = config.source.items()
    facts["source"] = {
        name: _open_section("source", each)
        | {table: _open_section(table, getattr(each, table)) for table in SOURCE_TABLES}
        for name, each in sources
    }
    return facts


def _open_section(name: str, section: Section) -> dict[str, Any]:
    """Open options with their values; of the others, those that differ from their default."""
    values = section.model_dump(mode="json")
    defaults = {
        option: field.get_default(call_default_factory=True) for option, field in type(section).model_fields.items()
    }
    facts = {option: values[option] for option in OPEN[name]}
    changed = [
        option
        for option in values
        if option not in facts and option not in SOURCE_TABLES and getattr(section, option) != defaults[option]
    ]
    return facts | dict.fromkeys(changed, REDACTED)


_DISTRIBUTION: Final = "facturascripts-cdc"
#: Of an endpoint: nothing of where it is, what it is called, and how it is signed.
_OPEN_FIELDS: Final = (
    "id", "enabled", "timeout", "retry_schedule", "concurrency", "order", "rate", "batch_size", "batch_wait", "format",
    "disable_after", "failing_since", "filter_problem", "created_at",
)  # fmt: skip


def about() -> dict[str, Any]:
    """Versions of the program, of what it runs on, and of what it is made of."""
    packages = {}
    with suppress(PackageNotFoundError):
        for requirement in requires(_DISTRIBUTION) or []:
            name = requirement.split(";")[0].rstrip("0123456789.<>=!~, ").partition("[")[0]
            with suppress(PackageNotFoundError):
                packages[name] = version(name)
    return {
        "version": __version__,
        "python": sys.version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages,
    }


def open_findings(config: Config, checks: Iterable[tuple[str, Finding]]) -> list[dict[str, str]]:
    """The doctor's; ``checks``: what each is about, and it.  Of endpoints no sentence: it names their address."""
    known = _known(config)
    return [
        {
            "about": about,
            "check": finding.check,
            "severity": finding.severity.value,
            "detail": "" if about.startswith("endpoint ") else scrubbed(finding.detail, known),
        }
        for about, finding in checks
    ]


async def outbox_facts(config: Config, store: OutboxStore, now: datetime) -> dict[str, Any]:
    """Counts, lags, positions, endpoints without their addresses, and the schema."""
    counts = await store.counts()
    due = await store.oldest_due(now)
    endpoints = [
        {name: getattr(each, name) for name in _OPEN_FIELDS}
        | {"patterns": len(each.events), "filter": bool(each.condition), "headers": len(each.headers)}
        for each in await store.endpoints()
    ]
    return {
        "endpoints": endpoints,
        "deliveries": counts,
        "lag_seconds": {name: (now - since).total_seconds() for name, since in due.items()},
        "positions": {name: await store.position(name) for name in config.source},
        "schema": await describe_schema(config.outbox),
    }


def open_log(path: Path, lines: int) -> bytes:
    """Return the open part of the last ``lines`` of a JSON log.  Raises `ConfigError` when it cannot be read."""
    try:
        with path.open("rb") as log:
            return b"".join(open_lines(iter(deque(log, maxlen=lines))))
    except OSError as error:
        raise ConfigError(f"The log {path} cannot be read: {error.strerror}.", "--log names a file.") from error


def configuration(config: Config) -> dict[str, Any]:
    return open_configuration(config)


def packed(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str) + b"\n"


def _known(config: Config) -> Mapping[str, str]:
    """Return texts that reveal places or names, each with its placeholder."""
    known = {platform.node(): "<machine>", str(Path.home()): "<home>"}
    if config.file is not None:
        known |= {str(config.file): "<configuration>", str(config.file.parent): "<folder>"}
    if config.outbox.path is not None:
        known |= {str(config.outbox.path): "<outbox>"}
    for info in _connections(config):
        known |= {
            **{host: "<host>" for host, _ in info.servers},
            info.socket: "<socket>",
            info.user: "<account>",
            info.database: "<database>",
            info.password: "<password>",
        }
    for source in config.source.values():
        known |= {str(path): "<file>" for path in (source.facturascripts, source.password_file, source.rules) if path}
    return known


def _connections(config: Config) -> Iterator[ConnectionInfo]:
    """Return the connections that can be read."""
    for source in config.source.values():
        for connection in (source.connection, source.admin_connection):
            with suppress(CdcError):
                yield connection()
    if config.outbox.path is None:
        with suppress(CdcError):
            yield config.outbox.connection()
