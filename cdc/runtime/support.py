"""What somebody who helps needs to know of an installation, without secrets and personal data."""

from __future__ import annotations

import platform
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

import orjson

from cdc import __version__
from cdc.config import Config
from cdc.model.connection import ConnectionInfo
from cdc.model.endpoint import Endpoint
from cdc.model.errors import CdcError, ConfigError
from cdc.model.finding import Finding
from cdc.outbox.base import OutboxStore
from cdc.runtime.outboxes import describe_schema
from cdc.runtime.support_config import open_configuration
from cdc.runtime.support_text import open_lines, scrubbed

_DISTRIBUTION: Final = "facturascripts-cdc"
#: Of an endpoint: nothing of where it is, what it is called, and how it is signed.
_OPEN_FIELDS: Final = (
    "id", "enabled", "timeout", "retry_schedule", "concurrency", "order", "rate", "batch_size", "batch_wait", "format",
    "disable_after", "failing_since", "created_at",
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


def told_findings(config: Config, checks: Iterable[tuple[str, Finding]]) -> list[dict[str, str]]:
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


async def told_outbox(config: Config, store: OutboxStore, now: datetime) -> dict[str, Any]:
    """Counts, lags, positions, endpoints without their addresses, and the schema."""
    counts = await store.counts()
    due = await store.oldest_due(now)
    return {
        "endpoints": [_told_endpoint(each) for each in await store.endpoints()],
        "deliveries": counts,
        "lag_seconds": {name: (now - since).total_seconds() for name, since in due.items()},
        "positions": {name: await store.position(name) for name in config.source},
        "schema": await describe_schema(config.outbox),
    }


def _told_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    told = {name: getattr(endpoint, name) for name in _OPEN_FIELDS}
    return told | {
        "patterns": len(endpoint.events),
        "filter": bool(endpoint.condition),
        "headers": len(endpoint.headers),
    }


def told_log(path: Path, lines: int) -> bytes:
    """Of the last ``lines`` of a log in JSON.  Raises `ConfigError` when it cannot be read."""
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
    """Texts that tell where things are, or what they are called, and what stands for each."""
    known = {platform.node(): "<machine>", str(Path.home()): "<home>"}
    if config.file is not None:
        known |= {str(config.file): "<configuration>", str(config.file.parent): "<folder>"}
    if config.outbox.path is not None:
        known |= {str(config.outbox.path): "<outbox>"}
    for info in _connections(config):
        known |= {
            info.host: "<host>",
            info.socket: "<socket>",
            info.user: "<account>",
            info.database: "<database>",
            info.password: "<password>",
        }
    for source in config.source.values():
        known |= {str(path): "<file>" for path in (source.facturascripts, source.password_file, source.rules) if path}
    return known


def _connections(config: Config) -> Iterator[ConnectionInfo]:
    """Those that can be read."""
    for source in config.source.values():
        for connection in (source.connection, source.admin_connection):
            with suppress(CdcError):
                yield connection()
    if config.outbox.path is None:
        with suppress(CdcError):
            yield config.outbox.connection()
