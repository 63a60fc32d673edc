"""Sources that are read from a stream of NATS, to which another cell publishes."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cdc.capture.bus import BusProbe, BusSettings, BusSource, StreamPosition, missing
from cdc.capture.probe import Probe
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.extras import install_hint
from cdc.model.broker import EventStream, StreamState
from cdc.model.change import Position, Row
from cdc.model.clock import SystemClock
from cdc.model.errors import ConfigError, SourceError
from cdc.model.finding import Finding, Severity
from cdc.outbox.base import OutboxStore

_HOUR: Final = 3600.0


def bus_source(source: SourceConfig, store: OutboxStore) -> BusSource:
    async def owners(ids: Sequence[str]) -> dict[str, str]:
        return {each.id: each.source for each in await store.events_of(ids)}

    labels = {entity.name: entity.label for entity in catalogue(source).entities}

    def searched(event: str, data: Row) -> tuple[str, str]:
        label = labels.get(event.rpartition(".")[0])
        return ("", "") if label is None else label.searched(data)

    nats = source.nats
    settings = BusSettings(
        stream=nats.stream().stream,
        searched=searched,
        subject=nats.subject,
        source_subject=nats.source_subject,
        sources=nats.sources,
        existing=nats.existing == "read",
        reread=source.on_purged == "reread",
    )
    return BusSource(source.name, lambda: _connect(source), settings, store, SystemClock(), owners=owners)


def bus_probe(source: SourceConfig) -> Probe:
    return BusProbe(source.nats.stream().where, lambda: _connect(source))


async def bus_findings(source: SourceConfig, stored: Callable[[], Awaitable[Position | None]]) -> list[Finding]:
    """The doctor's checks.  Raises `SourceError`.

    ``stored``: reads the position.  It is compared with the first message of before, and the last one of after it was
    read: while a consumer works, a later position may be beyond an earlier end."""
    stream = await _connect(source)
    try:
        before = await stream.state()
        position = await stored()
        state = await stream.state()
    finally:
        await stream.close()
    where = source.nats.stream().where
    count = state.last - state.first + 1
    findings = [Finding("stream", Severity.OK, f"{where}: {count} messages, {state.first} to {state.last}")]
    findings += _kept(state)
    lost = "" if position is None else missing(StreamPosition.load(position), state._replace(first=before.first))
    if lost:
        findings.append(Finding("position", Severity.WRONG, lost, 'on_purged = "reread" in the configuration'))
    return findings


def _kept(state: StreamState) -> list[Finding]:
    """Check that the stream keeps what is not read yet."""
    findings = []
    if state.retention != "limits":
        detail = f"The stream removes messages by {state.retention}, also those that this source has not read."
        findings.append(Finding("retention", Severity.WRONG, detail, "A new stream with retention limits"))
    elif state.age:
        detail = f"The stream keeps messages for {state.age / _HOUR:g} hours: no longer may this cell be down."
        findings.append(Finding("retention", Severity.OK, detail))
    if state.replicas == 1:
        detail = "The stream is on one server alone: its disk can lose events that were accepted."
        findings.append(Finding("replicas", Severity.WARNING, detail, "nats stream edit --replicas 3"))
    return findings


async def _connect(source: SourceConfig) -> EventStream:
    """Raises `SourceError`."""
    try:
        from cdc.dispatch.broker.nats_client import read_stream
    except ModuleNotFoundError as error:
        raise SourceError("A stream of NATS needs the package nats-py.", install_hint("nats")) from error
    try:
        url = source.nats.stream()
        return await read_stream(url, _tls(source) if url.tls else None)
    except ConfigError as error:
        raise SourceError(error.message, error.hint) from error


def _tls(source: SourceConfig) -> ssl.SSLContext:
    path = source.nats.ca_file
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(
            f"The ca_file {path} of source {source.name!r} cannot be used: {error.strerror or 'it is no certificate'}.",
            "It holds, as PEM, the certificate of the authority that issued the servers'.",
        ) from error
