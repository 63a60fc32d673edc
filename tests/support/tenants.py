"""An outbox that two tenants share, one source each, and what of it the tenant ``shop`` may not see."""

from __future__ import annotations

from typing import Any, cast

from cdc.model.backfill import Backfill
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replay
from cdc.outbox.store import OutboxStore
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW, endpoint, event, finish, lease, store

OWN, OTHER = "shop", "main"
#: Configuration.
SOURCES: dict[str, Any] = {
    name: {"url": f"postgresql://cdc@db.example.com/{name}", "tables": [f"{name}_*"]} for name in (OTHER, OWN)
}
#: Id, source, endpoint.
BACKFILLS = (
    ("bf_shop", OWN, "ep_shop"),
    ("bf_main", OTHER, "ep_main"),
    ("bf_theirs", OTHER, "ep_shop"),
    ("bf_two", OWN, "ep_two"),
    ("bf_all", OWN, ""),
)
FOREIGN_ENDPOINTS = ("ep_main", "ep_all", "ep_two")
FOREIGN_REPLAYS = ("rpl_main", "rpl_all")
FOREIGN_BACKFILLS = tuple(name for name, _, _ in BACKFILLS if name != "bf_shop")


async def shared_outbox() -> MemoryOutbox:
    """Return one in which each source has an endpoint, with a dead delivery and a replay; another endpoint gets all."""
    outbox = MemoryOutbox()
    await outbox.open()
    for name, sources in (("ep_main", (OTHER,)), ("ep_shop", (OWN,)), ("ep_all", ()), ("ep_two", (OTHER, OWN))):
        await outbox.add_endpoint(endpoint(name, sources=sources))
    own = cast(OutboxStore, outbox)
    await store(own, event(1, "a:1", source=OTHER), event(2, "a:2", source=OWN), event(3, "a:3", source=OWN))
    await finish(own, *await lease(own), state=DeliveryState.DEAD)
    for name in (OTHER, OWN):
        which = DeliveryFilter(event_pattern="*", sources=(name,), endpoint_ids=(f"ep_{name}",))
        await outbox.add_replay(Replay(f"rpl_{name}", "token:x", which, 1.0, 1, NOW))
    await outbox.add_replay(Replay("rpl_all", "token:x", DeliveryFilter(event_pattern="*"), 1.0, 1, NOW))
    for name, source, to in BACKFILLS:
        await outbox.add_backfill(Backfill(name, source, "clientes", "cli:root", NOW, endpoint=to))
    return outbox
