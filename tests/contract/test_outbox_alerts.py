"""An endpoint of some sources gets the operational events about these sources: a tenant reads nothing of others."""

from __future__ import annotations

import pytest

from cdc.model.change import Gap, Operation
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.event import Event
from cdc.model.operation import Failing, component_failed, endpoint_disabled, source_gap, source_stalled
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, endpoint, finish, lease

EVERYTHING = ("endpoint.*", "source.*", "component.*")


def disabled(which: str) -> Event:
    return endpoint_disabled(Failing(endpoint(which), "https://x.example.com", NOW, "no answer"), "It is down.", NOW)


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (source_gap("shop", Gap("clientes", Operation.UPDATE, NOW)), {"alerts", "alerts_shop", "alerts_two"}),
        (source_stalled("main", NOW, "It hangs.", NOW), {"alerts", "alerts_two"}),
        (disabled("ep_shop"), {"alerts", "alerts_shop", "alerts_two"}),
        (disabled("ep_two"), {"alerts", "alerts_two"}),
        (disabled("ep_all"), {"alerts"}),
        (disabled("ep_gone"), {"alerts"}),
        (component_failed("retention", NOW, "It failed.", NOW), {"alerts", "alerts_shop", "alerts_two"}),
    ],
    ids=lambda value: f"{value.name} {value.record}" if isinstance(value, Event) else "",
)
async def test_alerts_are_for_endpoints_of_what_they_are_about(
    outbox: OutboxStore, event: Event, wanted: set[str]
) -> None:
    for name, sources in (("shop", ("shop",)), ("two", ("shop", "main")), ("all", ())):
        await outbox.add_endpoint(endpoint(f"ep_{name}", sources=sources))
    for name, sources in (("alerts", ()), ("alerts_shop", ("shop",)), ("alerts_two", ("main", "shop"))):
        await outbox.add_endpoint(endpoint(name, sources=sources, events=EVERYTHING))
    await outbox.announce([event], NOW)
    assert {each.endpoint_id for each in await lease(outbox)} == wanted


async def test_a_replay_gives_a_tenant_no_alert_about_others(outbox: OutboxStore) -> None:
    await outbox.announce([source_gap(name, Gap("t", Operation.UPDATE, NOW)) for name in ("shop", "main")], NOW)
    await outbox.announce([disabled("ep_main")], NOW)
    await outbox.add_endpoint(endpoint("alerts_shop", sources=("shop",), events=EVERYTHING))
    await outbox.replay(DeliveryFilter(endpoint_id="alerts_shop"), 100, NOW)
    leased = await lease(outbox)
    assert [(each.event_name, each.record) for each in leased] == [("source.gap", "source:shop")]
    await finish(outbox, *leased, state=DeliveryState.DELIVERED)
