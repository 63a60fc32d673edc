"""Why an event did not arrive: each reason, with its evidence, on each outbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from cdc.admin.admin import Admin
from cdc.admin.base import Service
from cdc.admin.explain import Explanation, Question, Reason
from cdc.admin.principal import Principal
from cdc.admin.process import RunningProcess
from cdc.config import Config, SourceConfig
from cdc.config.source import RulesText
from cdc.model.change import Operation, Position, Quarantined
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import NotFound, SourceUnavailable, UsageError
from cdc.model.event import Event
from cdc.outbox.base import Retention
from cdc.outbox.store import OutboxStore
from cdc.runtime.service import service_of
from support.managing import CONFIGURATION
from support.outboxes import NOW, at, endpoint, event, finish, lease, store
from support.watching import BOUNDS, Watch

RULES = """
tables = ["plugin_*"]
exclude = ["plugin_log*"]
disable = ["invoice.sent", "invoice.truncated"]
[entity.supplier]
enabled = false
"""
OPERATOR = Principal("cli:root", operator=True)
RECORD = "facturascli:12"
ROW = {"idfactura": 12, "pagada": False, "total": 99.5, "nombrecliente": "Ana Secreta"}


class World:
    """An outbox, and a process that reads its sources ``main`` and ``shop``."""

    def __init__(self, outbox: OutboxStore) -> None:
        url = CONFIGURATION["source"]["main"]
        config = Config.model_validate({**CONFIGURATION, "source": {"main": url, "shop": url}})
        config.source["main"].write_rules(RulesText(RULES, "rules.toml"))
        self.outbox = outbox
        self.watch = Watch()
        self.watch.reading()
        process = RunningProcess(config, self.watch.monitor, BOUNDS, self.watch.clock)
        self.service = service_of(config, outbox, self.watch.clock, process)

    async def ask(self, question: Question, who: Principal = OPERATOR, **how: bool) -> Explanation:
        return await Admin(self.service, who).explanations.explain(question, **how)

    async def stored(self, *events: Event, now: datetime = NOW, **fields: Any) -> None:
        """Store events for an endpoint ``Shop`` with these fields."""
        await self.outbox.add_endpoint(endpoint("ep_shop", description="Shop", **fields))
        await store(self.outbox, *events, now=now)

    def database(self, answer: str | Exception) -> None:
        async def obstacle(_source: SourceConfig, _table: str) -> str:
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.service = replace_obstacle(self.service, obstacle)


def replace_obstacle(service: Service, obstacle: Callable[[SourceConfig, str], Awaitable[str]]) -> Service:
    return replace(service, table_obstacle=obstacle)


def invoice(number: int, name: str = "invoice.updated", record: str = RECORD, **fields: Any) -> Event:
    return event(number, record, name=name, **({"data": ROW, "previous": {"total": 1.0}} | fields))


# -- worlds -----------------------------------------------------------------------------------------------------------


async def empty(_world: World) -> None: ...


async def delivered(world: World) -> None:
    await world.stored(invoice(1))
    await finish(world.outbox, *await lease(world.outbox))


async def failed(world: World) -> None:
    await world.stored(invoice(1))
    await finish(world.outbox, *await lease(world.outbox), state=DeliveryState.DEAD)


async def retried(world: World) -> None:
    await world.stored(invoice(1))
    await finish(world.outbox, *await lease(world.outbox), state=DeliveryState.PENDING, due_at=at(3600))


async def waiting(world: World) -> None:
    await world.stored(invoice(1), invoice(2, "invoice.paid"))
    await finish(world.outbox, *await lease(world.outbox), state=DeliveryState.PENDING, due_at=at(3600))


async def waiting_in_order(world: World) -> None:
    await world.stored(invoice(1, record="facturascli:7"), invoice(2, "invoice.paid"), order=Order.ENDPOINT)
    await finish(world.outbox, *await lease(world.outbox), state=DeliveryState.PENDING, due_at=at(3600))


async def due(world: World) -> None:
    await world.stored(invoice(1))


async def disabled(world: World) -> None:
    await world.stored(invoice(1), enabled=False, disabled_reason="Disabled by hand.")


async def removed(world: World) -> None:
    await world.stored(invoice(1))
    await world.outbox.remove_endpoint("ep_shop", at(5))


async def expunged(world: World) -> None:
    await world.stored(invoice(1))
    await world.outbox.expunge(["evt_1"], at(5))


async def of_another_source(world: World) -> None:
    await world.stored(invoice(1), sources=("shop",))


async def not_chosen(world: World) -> None:
    await world.stored(invoice(1), events=("customer.*",))


async def filtered(world: World) -> None:
    await world.stored(invoice(1), condition='data.total > 100 && source == "main" && data.codpais == "ESP"')


async def chosen_later(world: World) -> None:
    await world.stored(invoice(1), events=("customer.*",))
    await world.outbox.change_endpoint("ep_shop", EndpointChange(events=("*",)))


async def for_nobody(world: World) -> None:
    await world.stored(invoice(1), events=("customer.*",))
    await world.outbox.add_endpoint(endpoint("ep_other", description="Other", events=("stock.*",)))


async def updated(world: World) -> None:
    await world.stored(invoice(1))


async def created_paid(world: World) -> None:
    paid = {**ROW, "pagada": True}
    await world.stored(invoice(1, data=paid, previous={"total": 1.0}))


async def created(world: World) -> None:
    await world.stored(invoice(1, "invoice.created", previous=None))


async def signed_in(world: World) -> None:
    login = {"data": {"nick": "ana", "lastip": "::1"}, "previous": {"lastip": "::2"}}
    await world.stored(invoice(1, "user.login", record="users:ana", **login))


async def skipped(world: World) -> None:
    await world.stored(invoice(1, record="facturascli:7"))
    lost = Quarantined("q1", "facturascli", Operation.UPDATE, {"idfactura": 12}, "t9", at(9), "An image is broken.")
    await world.outbox.store("main", Position("p2"), [], {}, NOW, quarantined=[lost])


async def stalled(world: World) -> None:
    world.watch.reported.source_failed("main", SourceUnavailable("The database does not answer."))


async def not_installed(world: World) -> None:
    world.database("what captures it is not installed")


async def unreachable(world: World) -> None:
    world.database(SourceUnavailable("The database does not answer."))


async def well(world: World) -> None:
    world.database("")


async def forgotten(world: World) -> None:
    """The oldest events have been removed."""
    await updated(world)
    await store(world.outbox, invoice(2, record="facturascli:7", time=at(7200)))
    await finish(world.outbox, *await lease(world.outbox))
    await world.outbox.retain(Retention(at(9000), most_events=1), 100)


class Case(NamedTuple):
    """``evidence``: among the values; ``says``: in the sentence."""

    reason: Reason
    world: Callable[[World], Awaitable[None]]
    question: Question
    evidence: Mapping[str, Any] = {}
    says: str = ""
    how: Mapping[str, bool] = {}


PAID = Question(RECORD, "invoice.paid", source="main")
THIS = Question(RECORD, "invoice.updated")
SHOP = replace(THIS, endpoint="Shop")
CASES = (
    Case(Reason.DELIVERED, delivered, SHOP, {"at": NOW, "answer": "HTTP 200"}, "invoice.updated was delivered to Shop"),
    Case(Reason.DELIVERED, delivered, Question(event="evt_1"), {"endpoint": "Shop"}),
    Case(Reason.FAILED, failed, THIS, {"attempts": 1, "answer": "The endpoint answered 500."}),
    Case(Reason.RETRYING, retried, SHOP, {"due": at(3600), "answer": "The endpoint answered 500."}),
    Case(Reason.WAITING, waiting, PAID, {"ahead_event": "invoice.updated", "answer": "The endpoint answered 500."}),
    Case(Reason.WAITING, waiting_in_order, PAID, {"ahead_record": "facturascli:7", "since": NOW}),
    Case(Reason.QUEUED, due, SHOP, {"due": NOW}),
    Case(Reason.ENDPOINT_OFF, disabled, SHOP, {"why": "Disabled by hand."}),
    Case(Reason.CANCELLED, removed, THIS, {"endpoint": "Shop", "at": at(5)}),
    Case(Reason.EXPUNGED, expunged, SHOP),
    Case(Reason.OTHER_SOURCE, of_another_source, SHOP, {"sources": ["shop"], "source": "main"}),
    Case(Reason.NOT_CHOSEN, not_chosen, THIS, {"patterns": ["customer.*"]}),
    Case(
        Reason.FILTERED,
        filtered,
        SHOP,
        {
            "condition": 'data.total > 100 && data.codpais == "ESP"',
            "held": {"data.total": 99.5, "data.codpais": None},
        },
        "data.total = 99.5",
    ),
    Case(Reason.FILTERED, filtered, SHOP, {"held": ["data.total", "data.codpais"]}, how={"reveal": False}),
    Case(Reason.CHOSEN_LATER, chosen_later, SHOP, {"at": at(1)}),
    Case(Reason.NO_ENDPOINT, for_nobody, THIS),
    Case(Reason.NO_RULE, empty, Question("colas:1", source="main"), {"known": "none"}),
    Case(Reason.NO_RULE, empty, replace(PAID, event="invoice.payed"), says="invoice.paid"),
    Case(Reason.NO_RULE, empty, replace(PAID, event="customer.created"), says="of rows of facturascli"),
    Case(Reason.RULE_OFF, empty, replace(PAID, event="invoice.sent")),
    Case(Reason.RULE_OFF, empty, replace(PAID, event="invoice.truncated")),
    Case(Reason.RULE_OFF, empty, Question("recibospagoscli:1", "receipt.due", source="main")),
    Case(Reason.RULE_OFF, empty, Question("proveedores:1", source="main"), {"event": "supplier.*"}),
    Case(Reason.TABLE_EXCLUDED, empty, Question("plugin_logs:1", source="main"), {"pattern": "plugin_log*"}),
    Case(
        Reason.TABLE_NOT_CAPTURED, not_installed, PAID, {"table": "facturascli"}, "is not installed", {"inspect": True}
    ),
    Case(Reason.ROW_SKIPPED, skipped, PAID, {"at": at(9), "why": "An image is broken."}),
    Case(Reason.NOT_READ_YET, stalled, PAID, {"why": "The database does not answer."}),
    Case(
        Reason.RULE_NOT_MET,
        updated,
        PAID,
        {"near": "invoice.updated", "condition": "becomes", "held": {"pagada": False}},
        "pagada = false",
    ),
    Case(Reason.RULE_NOT_MET, updated, PAID, {"held": ["pagada"]}, how={"reveal": False}),
    Case(Reason.ALREADY_SO, created_paid, PAID, {"held": {"pagada": True}}),
    Case(Reason.NOISE, signed_in, Question("users:ana", "user.updated"), {"columns": ["lastip"], "near": "user.login"}),
    Case(Reason.MERGED, created, THIS, {"near": "invoice.created", "near_id": "evt_1"}),
    Case(Reason.MERGED, created, replace(THIS, event="invoice.deleted", at=at(20)), {"near": "invoice.created"}),
    Case(Reason.BEFORE_INSTALLATION, updated, replace(PAID, at=at(-86_400)), {"oldest": at(1)}),
    Case(Reason.REMOVED, forgotten, replace(PAID, at=at(-3600)), {"oldest": at(7200)}),
    Case(Reason.NOT_SEEN, updated, replace(PAID, record="facturascli:99"), says="skipped changes, rules."),
    Case(Reason.NOT_SEEN, well, PAID, says="its database.", how={"inspect": True}),
    Case(Reason.NOT_SEEN, unreachable, PAID, says="did not answer in time", how={"inspect": True}),
    Case(Reason.NOT_SEEN, empty, Question(event="evt_none"), says="of evt_none."),
    Case(Reason.NOT_SEEN, empty, Question("FAC1", source="main"), says="of FAC1."),
    Case(Reason.NOT_SEEN, updated, replace(THIS, event="invoice.deleted"), {"near": "invoice.updated", "at": at(1)}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.world.__name__}")
async def test_reason_and_evidence(outbox: OutboxStore, case: Case) -> None:
    world = World(outbox)
    await case.world(world)
    found = await world.ask(case.question, **case.how)
    sentence, step = found.texts()
    assert found.reason is case.reason, sentence
    assert {name: found.values[name] for name in case.evidence} == case.evidence
    assert case.says in sentence
    assert step.endswith(".")


def test_every_reason_is_a_case() -> None:
    assert {case.reason for case in CASES} == set(Reason)


async def test_record_is_named_by_entity_or_code(outbox: OutboxStore) -> None:
    world = World(outbox)
    await world.stored(invoice(1, labels=("fac2026a12", "ana secreta")))
    for name in ("invoice:12", RECORD, "FAC2026A12"):
        assert (await world.ask(Question(name))).event_id == "evt_1"
    hidden = await world.ask(Question("FAC2026A12", source="main"), reveal=False)
    assert hidden.reason is Reason.NOT_SEEN


async def test_tenant_learns_nothing_of_others(outbox: OutboxStore) -> None:
    world = World(outbox)
    await failed(world)
    tenant = Principal("portal:shop", ("shop",))
    assert (await world.ask(Question(event="evt_1"), tenant)).reason is Reason.NOT_SEEN
    assert (await world.ask(THIS, tenant)).reason is Reason.NOT_SEEN
    with pytest.raises(NotFound):
        await world.ask(replace(THIS, source="main"), tenant)
    with pytest.raises(NotFound):
        await world.ask(replace(PAID, source="", endpoint="ep_shop"), tenant)


async def test_ambiguous_questions_are_refused(outbox: OutboxStore) -> None:
    world = World(outbox)
    await updated(world)
    await outbox.add_endpoint(endpoint("ep_shop2", description="Shop two"))
    with pytest.raises(UsageError, match="Several endpoints have 'Shop'"):
        await world.ask(SHOP)
    with pytest.raises(UsageError, match="Several sources may have this record"):
        await world.ask(Question("facturascli:99"))
    with pytest.raises(UsageError, match="No record and no event"):
        await world.ask(Question())
