"""An hour in the life of three endpoints, for pictures of the page: one is well, one breaks down and comes back, one is
disabled.  Events are the catalogue's examples; the same hour each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from cdc.config import Config
from cdc.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.dispatch.attempt_log import Finished
from cdc.endpoint import Endpoint, EndpointChange
from cdc.event import Event
from cdc.log_filter import DeliveryFilter
from cdc.outbox.base import Replayed
from cdc.position import Position
from cdc.service.events import event_types
from support.managing import Managed
from support.outboxes import outcome

SHOP, BOOKS, STORE = "ep_tienda", "ep_contabilidad", "ep_almacen"
_STEP, _STEPS = timedelta(seconds=20), 180
#: Of the steps, those in which the second endpoint is down.
_DOWN = range(100, 140)
_OFF = 170
_POSITION = Position('{"done":["799.30959184"],"huge":null,"rereads":[]}')
_RETRIES = (5.0, 25.0, 125.0)
_NAMES = (
    "invoice.created", "invoice.updated", "invoice.approved", "invoice.paid", "receipt.paid", "payment.recorded",
    "customer.created", "customer.updated", "stock.changed", "stock.changed", "order.created", "product.price_changed",
)  # fmt: skip


def endpoints(now: datetime) -> list[Endpoint]:
    made: dict[str, tuple[str, str, tuple[str, ...]]] = {
        SHOP: ("Tienda en línea", "https://tienda.example.com/webhooks", ("stock.*", "product.*", "order.*")),
        BOOKS: ("Contabilidad", "https://conta.example.com/facturascripts", ("invoice.*", "receipt.*", "payment.*")),
        STORE: ("Almacén", "https://almacen.example.com/hook", ("stock.changed",)),
    }
    return [
        Endpoint(name, url, events, "whsec_" + "c2VjcmV0" * 4, now, description=title, retry_schedule=_RETRIES)
        for name, (title, url, events) in made.items()
    ]


async def live_through(managed: Managed) -> None:
    """An hour of the clock."""
    for endpoint in endpoints(managed.clock.now()):
        await managed.store.add_endpoint(endpoint)
        await managed.desk.changed("user:ann", "endpoint.add", endpoint.id)
    hour = _Hour(managed)
    for number in range(_STEPS):
        managed.clock.advance(_STEP.total_seconds())
        await hour.step(number)
    managed.watch.reading()
    managed.watch.reported.sources["main"].position = _POSITION
    await _replay(managed, DeliveryFilter(event_pattern="invoice.*"), 20.0, part=1.0)
    await _replay(managed, DeliveryFilter(endpoint_id=SHOP), 5.0, part=0.4)


async def _replay(managed: Managed, which: DeliveryFilter, rate: float, part: float) -> None:
    """One that is so far; nothing is sent."""
    now = managed.clock.now()
    begun = await managed.desk.begin_replay(replace(which, until=now), rate, "user:ann")
    await managed.desk.changed("user:ann", "delivery.replay", begun.id)
    until = now + timedelta(seconds=600)
    await managed.store.lease_replay("pictures", now, until)
    done = Replayed(round((begun.total or 0) * part), 0, None if part >= 1 else "there")
    await managed.store.advance_replay(begun.id, "pictures", done, now, until)
    managed.clock.advance(40)


class _Hour:
    def __init__(self, managed: Managed) -> None:
        self._managed = managed
        self._random = Random(12)
        self._kinds = {kind.name: kind for kind in event_types(Config())}
        self._events = 0

    async def step(self, number: int) -> None:
        now = self._managed.clock.now()
        if number == _OFF:
            change = EndpointChange(enabled=False, disabled_reason="Disabled by ann.")
            await self._managed.store.change_endpoint(STORE, change)
            await self._managed.desk.changed("user:ann", "endpoint.disable", STORE)
        events = [self._event(now) for _ in range(self._random.choice((0, 1, 1, 2, 3, 5)))]
        await self._managed.store.store("main", _POSITION, events, {}, now)
        activity = self._managed.watch.reported.activity
        activity.lagged("main", self._random.expovariate(40) + (1.8 if number == _DOWN[0] - 40 else 0.0), now)
        await self._dispatch(number, now)

    def _event(self, now: datetime) -> Event:
        self._events += 1
        kind = self._kinds[self._random.choice(_NAMES)]
        shown = kind.example
        key = next(iter(shown["key"].values()), "1")
        return Event(
            id=f"evt_{self._random.getrandbits(128):032x}",
            name=kind.name,
            source="main",
            table=kind.table,
            record=f"{kind.table}:{key}",
            key=shown["key"],
            data=shown["data"],
            previous=shown.get("previous"),
            time=now - timedelta(milliseconds=self._random.randrange(900)),
            transaction=f"{self._events}.30959184",
        )

    async def _dispatch(self, number: int, now: datetime) -> None:
        store = self._managed.store
        while leased := await store.lease("pictures", now, now + timedelta(seconds=60), 100):
            outcomes = [self._outcome(each, number, now) for each in leased]
            await store.finish("pictures", outcomes, now)
            self._managed.watch.reported.attempted(_finished(outcomes, leased))

    def _outcome(self, delivery: LeasedDelivery, number: int, now: datetime) -> Outcome:
        took = self._random.gammavariate(3, 0.03)
        if delivery.endpoint_id != BOOKS or number not in _DOWN:
            return outcome(delivery, status=204, started_at=now, duration=took, answer="")
        told: dict[str, Any] = {
            "status": 503,
            "error": "The endpoint answered 503 Service Unavailable.",
            "answer": "Mantenimiento",
        }
        if delivery.attempt > len(_RETRIES):
            return outcome(delivery, DeliveryState.DEAD, started_at=now, duration=took, **told)
        due = now + timedelta(seconds=_RETRIES[delivery.attempt - 1])
        return outcome(delivery, DeliveryState.PENDING, due, started_at=now, duration=took, **told)


def _finished(outcomes: Sequence[Outcome], leased: Sequence[LeasedDelivery]) -> list[Finished]:
    return [Finished(each, delivery.endpoint_id) for each, delivery in zip(outcomes, leased, strict=True)]
