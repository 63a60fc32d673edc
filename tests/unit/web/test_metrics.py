"""What /metrics serves: nothing personal; and dashboard, alerts and documentation speak of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from cdc.model.change import Gap, Operation
from cdc.model.delivery import DeliveryState, Held, Hold
from cdc.model.errors import OutboxError, SourceUnavailable
from cdc.web.metrics import MOST, TOP
from cdc.web.server import add_health
from support.manual_clock import START
from support.watching import BOUNDS, Watch, batch, change, outcome

ROOT = Path(__file__).resolve().parents[3]
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "docker" / "grafana" / "facturascripts-cdc.json"


@pytest.fixture
def watch() -> Watch:
    """A consumer to which everything happened once."""
    made = Watch()
    made.reading()
    gaps = (Gap("clientes", Operation.UPDATE, START),)
    made.reported.stored("main", batch("1", change(), change("productos"), gaps=gaps), (), 2)
    made.reported.stored("main", batch("2", change("clientes", Operation.READ)), (), 0)
    made.reported.attempted([(outcome(), "ep_a"), (outcome(duration=0.3), "ep_a")])
    made.reported.attempted([(outcome(DeliveryState.PENDING, 503, 31.0), "ep_b")])
    made.reported.attempted([(outcome(DeliveryState.DEAD, None, 10.0), "ep_b")])
    made.reported.held({"ep_b": Held(Hold.BREAKER, START)})
    made.clock.advance(30)
    made.queue(ep_a=START, ep_b=START)
    made.answer(4.5, 3)
    return made


def _health(watch: Watch) -> web.Application:
    app = web.Application()
    add_health(app, watch.monitor, BOUNDS, watch.clock, outbox="f00d")
    return app


async def scrape(watch: Watch, accept: str = "") -> str:
    app = _health(watch)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/metrics", headers={"Accept": accept} if accept else {})
        assert answer.status == 200
        return await answer.text()


async def test_a_token_is_asked_for_where_one_is_configured(watch: Watch) -> None:
    app = web.Application()
    add_health(app, watch.monitor, BOUNDS, watch.clock, outbox="f00d", metrics_token="s" * 32)
    async with TestClient(TestServer(app)) as client:
        for given in ("", "s" * 32, f"Bearer {'s' * 31}", f"Basic {'s' * 32}", "Bearer ñ", "Bearer"):
            answer = await client.get("/metrics", headers={"Authorization": given} if given else {})
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), given
            assert "cdc_ready" not in await answer.text()
        answer = await client.get("/metrics", headers={"Authorization": f"bearer {'s' * 32}"})
        assert answer.status == 200
        assert (await client.get("/health/live")).status == 200


def values(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_numbers_are_what_was_reported(watch: Watch) -> None:
    found = values(await scrape(watch))
    assert found["cdc_ready"] == {(): 1}
    assert found["cdc_source_lag_seconds"] == {("main",): 4.5}
    assert found["cdc_source_waiting_transactions"] == {("main",): 3}
    assert found["cdc_source_last_change_timestamp_seconds"] == {("main",): START.timestamp()}
    assert {key for key, value in found["cdc_source_state"].items() if value} == {("main", "reading")}
    assert found["cdc_source_connectable"] == {("main",): 1}
    assert found["cdc_transactions_stored_total"] == {("main",): 2}
    assert found["cdc_events_stored_total"] == {("main",): 2}
    assert found["cdc_gaps_total"] == {("main", "clientes"): 1}
    assert found["cdc_reread_rows_total"] == {("main", "clientes"): 1}
    assert found["cdc_delivery_lag_seconds"] == {("ep_a",): 30, ("ep_b",): 30}
    assert found["cdc_deliveries"]["ep_a", "pending"] == 3
    assert found["cdc_deliveries"]["ep_a", "dead"] == 0
    assert found["cdc_endpoint_enabled"] == {("ep_a",): 1, ("ep_b",): 1}
    assert found["cdc_attempts_total"] == {
        ("ep_a", "delivered", "2xx"): 2,
        ("ep_b", "retried", "5xx"): 1,
        ("ep_b", "dead", "none"): 1,
    }
    assert {key for key, value in found["cdc_endpoint_held"].items() if value} == {("breaker", "ep_b")}
    assert len(found["cdc_endpoint_held"]) == 2 * len(Hold)
    assert (found["cdc_outbox_up"], found["cdc_dispatch_active"]) == ({(): 1}, {(): 1})
    assert found["cdc_outbox_replication"] == {("none",): 1, ("asynchronous",): 0, ("synchronous",): 0}


async def test_durations_are_counted_up_to_their_bounds(watch: Watch) -> None:
    found = values(await scrape(watch))
    buckets = found["cdc_attempt_duration_seconds_bucket"]
    assert [buckets["ep_a", bound] for bound in ("0.01", "0.025", "0.25", "0.5", "+Inf")] == [0, 1, 1, 2, 2]
    assert [buckets["ep_b", bound] for bound in ("5.0", "10.0", "30.0", "+Inf")] == [0, 1, 1, 2]
    assert found["cdc_attempt_duration_seconds_sum"]["ep_a",] == pytest.approx(0.32)
    assert found["cdc_attempt_duration_seconds_count"]["ep_b",] == 2


async def test_a_batch_is_as_many_attempts_as_it_has_events_and_one_duration() -> None:
    watch = Watch()
    batch_of_three = [(outcome(duration=0.2)._replace(batch=3), "ep_a")] * 3
    watch.reported.attempted([*batch_of_three, (outcome(duration=0.4), "ep_a"), *batch_of_three])
    found = values(await scrape(watch))
    assert found["cdc_attempts_total"] == {("ep_a", "delivered", "2xx"): 7}
    assert found["cdc_attempt_duration_seconds_count"] == {("ep_a",): 3}
    assert found["cdc_attempt_duration_seconds_sum"]["ep_a",] == pytest.approx(0.8)


async def test_failures_show(watch: Watch) -> None:
    watch.reported.source_failed("main", SourceUnavailable("Gone."))
    watch.reported.outbox_failed("leasing", OutboxError("Full."))
    watch.monitor.ahead["main"].failed(SourceUnavailable("Gone."), watch.clock.now())
    found = values(await scrape(watch))
    assert (found["cdc_ready"], found["cdc_outbox_up"]) == ({(): 0}, {(): 0})
    assert found["cdc_source_failures_total"] == {("main",): 1}
    assert found["cdc_outbox_failures_total"] == {(): 1}
    assert found["cdc_source_state"]["main", "failed"] == 1
    assert "cdc_source_lag_seconds" not in found  # it is not known: no old number stands for it


async def test_components_show(watch: Watch) -> None:
    for name in ("dispatch", "retention"):
        watch.reported.component_started(name)
    watch.reported.component_failed("retention", OutboxError("Full."))
    found = values(await scrape(watch))
    assert found["cdc_component_up"] == {("dispatch",): 1, ("retention",): 0}
    assert found["cdc_component_failures_total"] == {("dispatch",): 0, ("retention",): 1}


async def test_a_consumer_that_has_just_started_has_metrics() -> None:
    found = values(await scrape(Watch()))
    assert found["cdc_ready"] == {(): 0}
    assert found["cdc_events_stored_total"] == {("main",): 0}
    assert "cdc_deliveries" not in found


async def test_openmetrics_is_served_to_who_asks_for_it(watch: Watch) -> None:
    text = await scrape(watch, "application/openmetrics-text;version=1.0.0")
    assert text.endswith("# EOF\n")


async def test_nothing_personal_and_no_address_is_in_it(watch: Watch) -> None:
    text = await scrape(watch)
    for secret in ("Ana", "codcliente", "example.com", "whsec_", "https://"):
        assert secret not in text


async def test_ready_and_live(watch: Watch) -> None:
    async with TestClient(TestServer(_health(watch))) as client:
        ready = await client.get("/health/ready")
        well = {"ready": True, "reasons": [], "warnings": [], "sources": {"main": "reading"}, "dispatch": "active"}
        assert (ready.status, await ready.json()) == (200, {**well, "outbox": "f00d"})
        watch.reported.source_failed("main", SourceUnavailable("Gone."))
        ready, live = await client.get("/health/ready"), await client.get("/health/live")
        assert (ready.status, (await ready.json())["ready"]) == (503, False)
        assert "Gone." in (await ready.json())["reasons"][0]
        assert (live.status, await live.json()) == (200, {"live": True})


# -- what is written about them ---------------------------------------------------------------------------------------


def named(text: str) -> set[str]:
    return set(re.findall(r"\bcdc_[a-z_]+", text)) - {"cdc_journal"}


def expressions(panel: dict[str, Any]) -> list[str]:
    own = [target["expr"] for target in panel.get("targets", [])]
    return own + [each for inner in panel.get("panels", []) for each in expressions(inner)]


async def test_alerts_speak_of_metrics_that_there_are(watch: Watch) -> None:
    served = set(values(await scrape(watch)))
    rules = [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    assert len(rules) >= 10
    for rule in rules:
        assert named(rule["expr"]) <= served, rule["alert"]
        assert named(rule["expr"]) or "up{" in rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}


async def test_the_dashboard_speaks_of_metrics_that_there_are(watch: Watch) -> None:
    served = set(values(await scrape(watch)))
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [expression for panel in dashboard["panels"] for expression in expressions(panel)]
    assert len(found) >= 12
    for expression in found:
        assert named(expression) <= served, expression
        assert named(expression)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


async def test_operations_documents_every_metric_and_alert(watch: Watch) -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    served = {re.sub(r"_(bucket|sum|count)$", "", name) for name in values(await scrape(watch))}
    ours = {name for name in served if name.startswith("cdc_")}
    assert ours - named(text) == set()
    alerts = re.findall(r"(?m)alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    assert [alert for alert in alerts if f"`{alert}`" not in text] == []


async def test_of_many_endpoints_the_top_ones_have_series_and_all_are_summed() -> None:
    watch = Watch()
    names = [f"ep_{number}" for number in range(MOST + 1)]
    for name in names:
        watch.reported.attempted([(outcome(), name)])
    watch.reported.attempted([(outcome(duration=0.3), "ep_7")])
    watch.reported.held({name: Held(Hold.BREAKER, START) for name in ("ep_8", "ep_9")})
    watch.clock.advance(30)
    due = dict.fromkeys(names, watch.clock.now())
    watch.queue(**due | {"ep_9": START})
    text = await scrape(watch)
    found = values(text)
    assert found["cdc_delivery_lag_seconds"]["all",] == found["cdc_delivery_lag_seconds"]["ep_9",] == 30
    assert found["cdc_endpoint_enabled"]["all",] == len(names)
    assert found["cdc_endpoint_held"]["breaker", "ep_9"] == 1
    assert found["cdc_endpoint_held"]["breaker", "all"] == 2
    assert found["cdc_attempts_total"]["all", "delivered", "2xx"] == len(names) + 1
    assert found["cdc_attempts_total"]["ep_7", "delivered", "2xx"] == 2
    assert found["cdc_attempt_duration_seconds_count"]["all",] == len(names) + 1
    assert len(found["cdc_endpoint_enabled"]) == TOP + 1
    assert len(found["cdc_attempt_duration_seconds_count"]) == TOP + 1
    watch.queue(**dict.fromkeys(names[1:], START))
    assert "all" not in {labels[0] for labels in values(await scrape(watch))["cdc_endpoint_enabled"]}
