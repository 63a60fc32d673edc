"""A trace for each event, from the commit of its change to the answers of its receivers, as OpenTelemetry knows them.

The trace's id is derived from the event's: capture and each attempt find it by themselves, whichever process they are
in and however long after; nothing is carried along.  A share of the events is traced, the same in every process.
Spans are made of what is reported when it is over, and sent from a thread of OpenTelemetry's own.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from cdc import __version__
from cdc.model.change import Batch
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.event import Event
from cdc.model.observer import Observer

#: Spans that wait for the collector at most; more are dropped, as traces are no record.
_WAITING = 20_000
#: Seconds that the collector gets at a stop.
_ENDING = 1.0


class Traces(Observer):
    """A `cdc.model.observer.Observer`.  ``sample``: the share of events that are traced."""

    def __init__(self, exporter: SpanExporter, sample: float, clock: Clock) -> None:
        self._clock = clock
        self._ids = _PresetIds()
        self._sampler = TraceIdRatioBased(sample)
        self._provider = TracerProvider(
            sampler=ParentBased(self._sampler),
            resource=Resource.create({"service.name": "facturascripts-cdc", "service.version": __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_WAITING))
        self._tracer = self._provider.get_tracer("cdc", __version__)

    @staticmethod
    def to_collector(endpoint: str, sample: float, clock: Clock) -> Traces:
        """Return traces that are sent over HTTP.  Headers and certificates are those of OpenTelemetry's own variables
        (OTEL_EXPORTER_OTLP_…)."""
        return Traces(OTLPSpanExporter(endpoint=endpoint, timeout=5), sample, clock)

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:  # noqa: ARG002 - the signature of the overridden method; each event has its trace, new or not
        end = _nanoseconds(self._clock.now())
        for event in events:
            trace, span = _ids_of(event.id)
            if not self._traced(trace):
                continue
            self._ids.give(trace, span)
            started = self._tracer.start_span(
                f"capture {event.name}",
                Context(),
                start_time=min(_nanoseconds(event.time), end),
                attributes={"cdc.event.id": event.id, "cdc.event.name": event.name, "cdc.source": source},
            )
            started.end(end)

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        for outcome, endpoint_id in finished:
            trace, span = _ids_of(outcome.attempt.event_id)
            if self._traced(trace):
                self._attempt(outcome, endpoint_id, SpanContext(trace, span, is_remote=True, trace_flags=_SAMPLED))

    def _traced(self, trace: int) -> bool:
        return self._sampler.should_sample(None, trace, "").decision is Decision.RECORD_AND_SAMPLE

    def _attempt(self, outcome: Outcome, endpoint_id: str, parent: SpanContext) -> None:
        attempt = outcome.attempt
        start = _nanoseconds(attempt.started_at)
        span = self._tracer.start_span(
            f"attempt {attempt.event_name}",
            set_span_in_context(NonRecordingSpan(parent), Context()),
            SpanKind.CLIENT,
            start_time=start,
            attributes={
                "cdc.event.id": attempt.event_id,
                "cdc.endpoint": endpoint_id,
                "cdc.delivery": attempt.delivery_id,
                "cdc.attempt": attempt.number,
                "cdc.outcome": outcome.state.value,
            },
        )
        if outcome.batch > 1:
            span.set_attribute("cdc.batch", outcome.batch)
        if attempt.status is not None:
            span.set_attribute("http.response.status_code", attempt.status)
        if outcome.state is not DeliveryState.DELIVERED:
            span.set_status(Status(StatusCode.ERROR, f"status {attempt.status}" if attempt.status else "no answer"))
        span.end(start + int(attempt.duration * 1e9))

    def close(self) -> None:
        """Send what is left; a collector that takes longer than a second goes without.  To be called in a thread."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces")
        ending.start()
        ending.join(_ENDING)


class _PresetIds(RandomIdGenerator):
    """The ids set for the next span; else random ones."""

    def __init__(self) -> None:
        self._next: tuple[int, int] | None = None

    def give(self, trace: int, span: int) -> None:
        self._next = trace, span

    def generate_trace_id(self) -> int:
        return self._next[0] if self._next else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id, and forget it: the trace's is asked for before."""
        preset, self._next = self._next, None
        return preset[1] if preset else super().generate_span_id()


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def _ids_of(event_id: str) -> tuple[int, int]:
    """Trace and root span of an event: never 0, which means none."""
    digest = hashlib.sha256(event_id.encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
