"""Reports and answers as Prometheus metrics.  Labels are ids and names of the configuration and of tables: no URL, no
value of a row, no secret.

Numbers are read when they are asked for; nothing is counted twice, and what is gone (a removed endpoint) is not shown.
"""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import nlargest
from operator import attrgetter
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc import __version__
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState, Hold
from cdc.outbox.base import Replication
from cdc.web.health import STATES, HealthLimits, lag, reasons, state
from cdc.web.monitor import BOUNDS, Durations, Monitor, SourceReport

#: Of more endpoints than these …
MOST: Final = 500
#: … so many have series of their own, beside those of all together.
TOP: Final = 50
ALL: Final = "all"


def registry(monitor: Monitor, bounds: HealthLimits, clock: Clock) -> CollectorRegistry:
    """One of our own: what else lives in this process does not appear."""
    made = CollectorRegistry()
    made.register(_ConsumerCollector(monitor, bounds, clock))
    ProcessCollector(registry=made)
    return made


class _ConsumerCollector(Collector):
    def __init__(self, monitor: Monitor, bounds: HealthLimits, clock: Clock) -> None:
        self._monitor = monitor
        self._bounds = bounds
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        yield _gauge(
            "cdc_build_info",
            "The version that runs.",
            ("version", "python"),
            [((__version__, platform.python_version()), 1)],
        )
        ready = not reasons(self._monitor, self._bounds, self._clock.now())
        yield _gauge("cdc_ready", "1 when /health/ready says so.", (), [((), ready)])
        yield from self._source_metrics()
        yield from self._outbox_metrics()
        yield from self._attempt_metrics()

    # -- sources ----------------------------------------------------------------------------------------------------

    def _source_metrics(self) -> Iterator[Metric]:
        monitor, now = self._monitor, self._clock.now()
        sources = monitor.reported.sources
        states = {name: state(monitor, name, self._bounds, now) for name in sources}
        yield _gauge(
            "cdc_source_state",
            "1 for the state in which a source is.",
            ("source", "state"),
            [((name, each), each == states[name]) for name in sources for each in STATES],
        )
        yield _gauge(
            "cdc_source_connectable",
            "0 while a new connection to the source's database, which is tried every minute, fails.",
            ("source",),
            [((name,), not monitor.refused(name)) for name in sources],
        )
        known = {name: answers.last for name, answers in monitor.ahead.items() if answers.last and not answers.failure}
        yield _gauge(
            "cdc_source_lag_seconds",
            "Age of the oldest change that is not in the outbox; 0: there is none. Absent while it is not known.",
            ("source",),
            [((name,), ahead.seconds) for name, ahead in known.items()],
        )
        yield _gauge(
            "cdc_source_waiting_transactions",
            "Transactions among the first 10,000 changes in the journal that are not in the outbox.",
            ("source",),
            [((name,), ahead.transactions) for name, ahead in known.items() if ahead.transactions is not None],
        )
        yield _gauge(
            "cdc_source_last_change_timestamp_seconds",
            "Time of the newest change that is in the outbox.",
            ("source",),
            [((name,), report.changed_at.timestamp()) for name, report in sources.items() if report.changed_at],
        )
        yield from _source_counters(sources.items())

    # -- outbox and dispatch ----------------------------------------------------------------------------------------

    def _outbox_metrics(self) -> Iterator[Metric]:
        monitor, now = self._monitor, self._clock.now()
        failing = bool(monitor.reported.outbox_failures or monitor.queue.failure)
        yield _gauge("cdc_outbox_up", "0 while the outbox fails.", (), [((), not failing)])
        yield _counter(
            "cdc_outbox_failures",
            "Refusals of the outbox; each was tried again.",
            (),
            [((), monitor.reported.outbox_failed_times)],
        )
        if monitor.queue.last is not None and monitor.queue.last.free is not None:
            free = monitor.queue.last.free
            yield _gauge("cdc_outbox_disk_free_bytes", "Free space on the disk of the outbox.", (), [((), free)])
        if monitor.queue.last is not None:
            yield _gauge(
                "cdc_outbox_replication",
                "1 for the way in which the outbox's server replicates.",
                ("state",),
                [((each.value,), each is monitor.queue.last.replication) for each in Replication],
            )
        yield _counter(
            "cdc_limit_refusals",
            "Refusals of what would have exceeded a limit under [limits].",
            ("limit",),
            [((name,), number) for name, number in monitor.reported.refusals.items()],
        )
        parts = monitor.reported.components.items()
        yield _gauge(
            "cdc_component_up",
            "0 after a component of this process failed, until it has run for a moment.",
            ("component",),
            [((name,), report.failing(now) is None) for name, report in parts],
        )
        yield _counter(
            "cdc_component_failures",
            "How often a component of this process failed and was restarted.",
            ("component",),
            [((name,), report.failures) for name, report in parts],
        )
        yield _gauge(
            "cdc_dispatch_active",
            "1 when this process dispatches, 0 while it waits for another one that does.",
            (),
            [((), bool(monitor.reported.active))],
        )
        queue = monitor.queue.last
        if queue is None:
            return
        named = _by_name(monitor, now)
        yield _gauge(
            "cdc_deliveries",
            "Deliveries in the outbox by endpoint and state.",
            ("endpoint", "state"),
            _gathered(
                [
                    ((endpoint, each.value), counts.get(each, 0))
                    for endpoint, counts in queue.counts.items()
                    for each in DeliveryState
                ],
                named,
            ),
        )
        yield _gauge(
            "cdc_delivery_lag_seconds",
            "For how long the longest due delivery has been due; 0: none is.",
            ("endpoint",),
            _gathered(
                [((endpoint,), lag(monitor, endpoint, now).total_seconds()) for endpoint in queue.enabled], named, max
            ),
        )
        yield _gauge(
            "cdc_endpoint_enabled",
            "0: its deliveries are kept, not sent; of all: how many are enabled.",
            ("endpoint",),
            _gathered(_single(queue.enabled.items()), named),
        )
        held = monitor.reported.held_back
        yield _gauge(
            "cdc_endpoint_held",
            "1 while this process holds due deliveries back, by the rate, a pause asked for, or an open breaker; of "
            "all: how many endpoints.",
            ("endpoint", "by"),
            _gathered(
                [((name, by.value), name in held and held[name].by is by) for name in queue.enabled for by in Hold],
                named,
            ),
        )

    def _attempt_metrics(self) -> Iterator[Metric]:
        reported, named = self._monitor.reported, _by_name(self._monitor, self._clock.now())
        yield _counter(
            "cdc_attempts",
            "Attempts by what came of them (delivered, retried, dead, cancelled) and the answer's kind of status; each "
            "event of a batch counts.",
            ("endpoint", "outcome", "status"),
            _gathered(reported.attempts.items(), named),
        )
        durations = HistogramMetricFamily(
            "cdc_attempt_duration_seconds",
            "From the request to the end of its answer; a batch counts once.",
            labels=("endpoint",),
        )
        shown = reported.durations
        if named is not None:
            counts = [sum(column) for column in zip(*(each.counts for each in shown.values()), strict=True)]
            total = Durations(counts, sum(each.total for each in shown.values()))
            shown = {ALL: total if counts else Durations()} | {name: shown[name] for name in shown.keys() & named}
        for endpoint, each in shown.items():
            durations.add_metric((endpoint,), list(_buckets(each.counts)), each.total)
        yield durations


def _by_name(monitor: Monitor, now: datetime) -> Collection[str] | None:
    """Return the endpoints that have series of their own: those that are disabled or held back, whose oldest delivery
    has been due the longest, that have the most waiting, that were attempted the most.  None: all of them, they are
    few."""
    queue = monitor.queue.last
    if queue is None or len(queue.enabled) <= MOST:
        return None
    attempts: Counter[str] = Counter()
    for (endpoint, _, _), number in monitor.reported.attempts.items():
        attempts[endpoint] += number

    def weight(endpoint: str) -> tuple[bool, timedelta, int, int]:
        counts = queue.counts.get(endpoint, {})
        waiting = sum(number for each, number in counts.items() if not each.final)
        stopped = not queue.enabled[endpoint] or endpoint in monitor.reported.held_back
        return stopped, lag(monitor, endpoint, now), waiting, attempts[endpoint]

    return frozenset(nlargest(TOP, queue.enabled, key=weight))


def _gathered(
    values: Values, named: Collection[str] | None, gather: Callable[[Sequence[float]], float] = sum
) -> Values:
    """Return the values of the ``named`` endpoints (the first label), and those of all together as ``all``, which never
    fall when an endpoint is named no longer.  ``named`` is None: the values as they are."""
    if named is None:
        return values
    of_all: defaultdict[Sequence[str], list[float]] = defaultdict(list)
    shown: list[tuple[Sequence[str], float]] = []
    for labels, value in values:
        of_all[ALL, *labels[1:]].append(value)
        if labels[0] in named:
            shown.append((labels, value))
    return [*((labels, gather(each)) for labels, each in of_all.items()), *shown]


def _source_counters(sources: Iterable[tuple[str, SourceReport]]) -> Iterator[Metric]:
    reports = list(sources)
    numbers: tuple[tuple[str, str, Callable[[SourceReport], int]], ...] = (
        ("cdc_source_failures", "How often a source failed; it was opened again.", attrgetter("failures")),
        ("cdc_transactions_stored", "Transactions that were stored.", attrgetter("transactions")),
        ("cdc_quarantined_changes", "Changes that could not be processed and were skipped.", attrgetter("quarantined")),
        ("cdc_events_stored", "Events that were stored.", attrgetter("events")),
    )
    for name, text, number in numbers:
        yield _counter(name, text, ("source",), [((source,), number(report)) for source, report in reports])
    by_table: tuple[tuple[str, str, Callable[[SourceReport], Counter[str]]], ...] = (
        ("cdc_gaps", "Changes that capture could not record; their tables are read again.", attrgetter("gaps")),
        ("cdc_reread_rows", "Rows that were read again.", attrgetter("reread")),
    )
    for name, text, counts in by_table:
        values = [((source, table), count) for source, report in reports for table, count in counts(report).items()]
        yield _counter(name, text, ("source", "table"), values)


Values = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric(given, float(value))
    return family


def _counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """Return a counter, served under its name and ``_total``."""
    family = CounterMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric(given, float(value))
    return family


def _single(values: Iterable[tuple[str, float]]) -> Values:
    return [((label,), value) for label, value in values]


def _buckets(counts: Sequence[int]) -> Iterator[tuple[str, float]]:
    sum_so_far = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        sum_so_far += count
        yield bound, sum_so_far
