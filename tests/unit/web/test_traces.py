"""One trace an event: capture at its root, an attempt each below it, whichever process they come from."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from cdc.config import Config
from cdc.model.delivery import DeliveryState
from cdc.model.errors import ConfigError
from cdc.model.observer import SILENT, Several
from cdc.runtime import consumer
from cdc.web.monitor import Reported
from cdc.web.traces import Traces
from support.manual_clock import START, ManualClock
from support.outboxes import event
from support.watching import batch, outcome

NS = 1_000_000_000


def at(seconds: float) -> int:
    return int(START.timestamp()) * NS + int(seconds * NS)


class Deaf(InMemorySpanExporter):
    """A collector that does not answer until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_answer.wait()
        return super().export(spans)


def spans(traces: Traces, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    traces.close()
    return list(exporter.get_finished_spans())


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_capture_and_attempts_are_one_trace_across_processes() -> None:
    clock = ManualClock()
    first, second = InMemorySpanExporter(), InMemorySpanExporter()
    capturing, sending = Traces(first, 1.0, clock), Traces(second, 1.0, clock)
    clock.advance(0.25)
    Several(SILENT, capturing).stored("main", batch("1"), [event(1, time=START), event(2, time=START)], 2)
    Several(SILENT, sending).attempted([(outcome(DeliveryState.PENDING, 503, 0.5), "ep_a"), (outcome(), "ep_a")])
    captured, attempts = spans(capturing, first), spans(sending, second)
    root = captured[0]
    assert (root.name, root.parent, root.start_time, root.end_time) == (
        "capture invoice.updated",
        None,
        at(0),
        at(0.25),
    )
    assert attributes(root) == {"cdc.event.id": "evt_1", "cdc.event.name": "invoice.updated", "cdc.source": "main"}
    assert captured[1].context.trace_id != root.context.trace_id
    for span in attempts:
        assert span.context.trace_id == root.context.trace_id
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert span.kind is SpanKind.CLIENT
    assert len({span.context.span_id for span in attempts} | {root.context.span_id}) == 3
    failed, delivered = attempts
    assert (failed.start_time, failed.end_time) == (at(0), at(0.5))
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "status 503")
    assert delivered.status.status_code is StatusCode.UNSET
    assert attributes(delivered)["http.response.status_code"] == 204
    assert attributes(delivered)["cdc.endpoint"] == "ep_a"


def test_end_does_not_wait_for_a_collector_that_hangs() -> None:
    exporter = Deaf()
    traces = Traces(exporter, 1.0, ManualClock())
    traces.stored("main", batch("1"), [event(1)], 1)
    traces.close()
    assert exporter.get_finished_spans() == ()
    exporter.may_answer.set()


def test_each_event_of_a_batch_has_its_span() -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, 1.0, ManualClock())
    made = outcome()._replace(batch=2)
    events = [made._replace(attempt=made.attempt._replace(event_id=f"evt_{n}")) for n in range(2)]
    traces.attempted([*((each, "ep_a") for each in events), (outcome(), "ep_a")])
    told = [attributes(span) for span in spans(traces, exporter)]
    assert [each["cdc.event.id"] for each in told] == ["evt_0", "evt_1", outcome().attempt.event_id]
    assert [each.get("cdc.batch") for each in told] == [2, 2, None]


def test_nothing_of_a_record_and_no_url_is_in_a_span() -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, 1.0, ManualClock())
    traces.stored("main", batch("1"), [event(1, data={"nombre": "Ana Secreta"})], 1)
    traces.attempted([(outcome(DeliveryState.DEAD, None), "ep_a")])
    told = "".join(span.to_json() for span in spans(traces, exporter))
    assert "Ana" not in told
    assert "example.com" not in told


@pytest.mark.parametrize(("sample", "least", "most"), [(0.0, 0, 0), (0.5, 300, 700), (1.0, 1000, 1000)])
def test_a_share_of_the_events_is_traced_the_same_everywhere(sample: float, least: int, most: int) -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, sample, ManualClock())
    traces.stored("main", batch("1"), [event(number) for number in range(1000)], 1000)
    made = outcome()
    traces.attempted([(made._replace(attempt=made.attempt._replace(event_id=f"evt_{n}")), "ep") for n in range(1000)])
    found = spans(traces, exporter)
    captured = {span.context.trace_id for span in found if span.name.startswith("capture")}
    attempted = {span.context.trace_id for span in found if span.name.startswith("attempt")}
    assert captured == attempted
    assert least <= len(captured) <= most


async def test_without_opentelemetry_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cdc.web.traces", None)
    config = Config.model_validate({"tracing": {"endpoint": "http://127.0.0.1:4318/v1/traces"}})
    with pytest.raises(ConfigError, match="OpenTelemetry is not installed") as caught:
        async with consumer.observing(config, Reported(ManualClock())):
            pytest.fail("it must not go on")
    assert "opentelemetry-sdk" in caught.value.hint


async def test_they_are_off_unless_configured() -> None:
    reported = Reported(ManualClock())
    async with consumer.observing(Config(), reported) as observer:
        assert observer is reported
