"""An hour in the life of three endpoints, for pictures of the page: one is well, one breaks down and comes back, one is
disabled.  Events are the catalogue's examples; the same hour each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from cdc.admin.admin import Admin
from cdc.admin.principal import Principal
from cdc.config import Config
from cdc.config.rules import event_types
from cdc.dispatch.outcome_writer import Finished
from cdc.model.audit import AuditEntry, Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Batch, Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, LeasedDelivery, Outcome, Replayed
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from support.managing import Managed
from support.outboxes import outcome

SHOP, BOOKS, STORE = "ep_tienda", "ep_contabilidad", "ep_almacen"
_STEP, _STEPS = timedelta(seconds=20), 180
#: Of the steps, those in which the second endpoint is down.
_DOWN = range(100, 140)
_OFF = 170
_POSITION = Position('{"done":["799.30959184"],"huge":null,"rereads":[]}')
_GONE = "The table productos is not captured, or has no primary key."
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
        await managed.store.add_endpoint(endpoint, _note(managed, "endpoint.add", endpoint.id))
    hour = _Hour(managed)
    for number in range(_STEPS):
        managed.clock.advance(_STEP.total_seconds())
        await hour.step(number)
    managed.watch.reading()
    managed.watch.reported.sources["main"].position = _POSITION
    await _replay(managed, DeliveryFilter(event_pattern="invoice.*"), 20.0, part=1.0)
    await _replay(managed, DeliveryFilter(endpoint_id=SHOP), 5.0, part=0.4)
    await _backfills(managed)
    await go_on(managed, 1)


async def go_on(managed: Managed, seconds: float) -> None:
    """Let time pass: probes are answered, and the running backfill reads 200 rows a second."""
    managed.clock.advance(seconds)
    managed.watch.queue()
    managed.watch.answer()
    await _read_on(managed, "bf_9a27c41e0b3f5d68", round(200 * seconds))


def _note(managed: Managed, action: str, subject: str) -> Note:
    return [AuditEntry(managed.clock.now(), "user:ann", action, subject)]


async def _backfills(managed: Managed) -> None:
    """One of each kind."""
    begun = managed.clock.now()
    asked: dict[str, tuple[str, int, dict[str, Any]]] = {
        "bf_51c0d83be92f4a76": ("clientes", 2318, {"endpoint": BOOKS}),
        "bf_c2e97f105ad84b31": ("stocks", 9120, {"where": "cantidad > 0", "endpoint": SHOP, "rate": 50.0}),
        "bf_07b64e9d3a1c85f2": ("productos", 5400, {"endpoint": STORE}),
        "bf_9a27c41e0b3f5d68": ("facturascli", 84_210, {"where": "fecha >= '2026-01-01'"}),
    }
    for number, (name, (table, rows, fields)) in enumerate(asked.items()):
        made = begun + timedelta(seconds=number)
        backfill = Backfill(name, "main", table, "user:ann", made, estimate=rows, **fields)
        await managed.store.add_backfill(backfill, _note(managed, "backfill.begin", name))
    done, rests, failed, _ = asked
    for name, rows in ((done, 2325), (rests, 3650), (failed, 1200)):
        await _read_on(managed, name, rows, finished=name == done)
    now = managed.clock.now()
    await managed.store.set_backfill(rests, BackfillState.PAUSED, "", now)
    await managed.store.set_backfill(failed, BackfillState.FAILED, _GONE, now)


async def _read_on(managed: Managed, name: str, rows: int, *, finished: bool = False) -> None:
    step = BackfillStep(name, rows, {}, finished)
    await managed.store.store("main", _POSITION, [], {}, managed.clock.now(), step=step)
    managed.watch.reported.stored("main", Batch((), _POSITION, step=step), [], 0)


async def _replay(managed: Managed, which: DeliveryFilter, rate: float, part: float) -> None:
    """One that is so far; nothing is sent."""
    now = managed.clock.now()
    begun = await Admin(managed.service, Principal("user:ann")).deliveries.start_replay(replace(which, until=now), rate)
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
            note = _note(self._managed, "endpoint.disable", STORE)
            await self._managed.store.change_endpoint(STORE, change, note)
        events = [self._event(now) for _ in range(self._random.choice((0, 1, 1, 2, 3, 5)))]
        await self._managed.store.store("main", _POSITION, events, {}, now)
        lags = self._managed.watch.reported.lags
        lags.lagged("main", self._random.expovariate(40) + (1.8 if number == _DOWN[0] - 40 else 0.0), now)
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
        facts: dict[str, Any] = {
            "status": 503,
            "error": "The endpoint answered 503 Service Unavailable.",
            "answer": "Mantenimiento",
        }
        if delivery.attempt > len(_RETRIES):
            return outcome(delivery, DeliveryState.DEAD, started_at=now, duration=took, **facts)
        due = now + timedelta(seconds=_RETRIES[delivery.attempt - 1])
        return outcome(delivery, DeliveryState.PENDING, due, started_at=now, duration=took, **facts)


def _finished(outcomes: Sequence[Outcome], leased: Sequence[LeasedDelivery]) -> list[Finished]:
    return [Finished(each, delivery.endpoint_id) for each, delivery in zip(outcomes, leased, strict=True)]
