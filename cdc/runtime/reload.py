"""Reload of a running process's configuration: the options that may change, and how a change is recognised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cdc.config import Config, SourceConfig
from cdc.model.errors import ConfigError
from cdc.model.worker import ProcessRole


@dataclass(frozen=True, slots=True)
class Reload:
    """``asked``: set when the configuration is to be read again.  ``read``: reads and checks it; raises `ConfigError`.
    ``accepted``: called with the one that takes its place, before it does."""

    asked: asyncio.Event
    read: Callable[[], Config]
    accepted: Callable[[Config], None]


def check_reloadable(present: Config, wanted: Config, role: ProcessRole) -> None:
    """Raises `ConfigError` for a change that takes a new process."""
    if not wanted.source and role.captures:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    fixed = {
        "[outbox]": (present.outbox, wanted.outbox),
        "[tracing]": (present.tracing, wanted.tracing),
        "[process]": (present.process, wanted.process),
        "worker under [dispatch]": (present.dispatch.worker, wanted.dispatch.worker),
    }
    changed = [name for name, (before, after) in fixed.items() if before != after]
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} cannot change while cdc run is running.",
            "Restart it to take the change on, or take the change back and reload.",
        )


def source_key(source: SourceConfig) -> object:
    """Equal for equal sources, what their files hold included.  Raises `ConfigError` for rules that cannot be read."""
    rules = source.rules_text() if isinstance(source.rules, Path) else None
    token: object = None
    if source.capture == "rest":
        token = _read(lambda: source.rest.read_token(source.name))
    elif source.capture == "nats":
        token = _read(source.nats.stream)
    return source.model_dump(), _read(source.connection), _read(source.admin_connection), token, rules


def _read(what: Callable[[], object]) -> object:
    """Return the value, or why it cannot be read: one faulty source must not affect the others."""
    try:
        return what()
    except ConfigError as error:
        return error.message


def sending_key(config: Config) -> object:
    """Return a key that changes with anything that sending needs, files included: a certificate is renewed under its
    old name."""
    files = [*config.dispatch.client_certificates.values(), config.mail.ca_file]
    return config.dispatch, config.mail, config.mail.password(), tuple(_contents(files)), config.log


def _contents(files: Iterable[Path | None]) -> Iterable[bytes]:
    """Yield the contents of the readable files; the part that needs another one reports it."""
    for path in files:
        if path is not None and path.is_file():
            yield path.read_bytes()
