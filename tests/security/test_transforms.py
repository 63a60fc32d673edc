"""Transforms on their whole way: what is sent is signed; what fails is a failed attempt; nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdc.admin.endpoint_checks import check_fields, check_together
from cdc.config import Config
from cdc.config.rules import label
from cdc.demo.receiver import Received, receiver_app
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.dispatch.transform import preset
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.endpoint import EndpointChange, Order, PayloadFormat
from cdc.model.errors import UsageError
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import endpoint, event
from support.http_servers import served
from support.waiting import HANG_SECONDS

ONES = "[" + ",".join("1" for _ in range(62)) + "]"
HOSTILE = f"{ONES}.map(a, {ONES}.map(b, {ONES}))"


class Attempts(Observer):
    """Hands over the outcomes of attempts as they come."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        for outcome, _ in finished:
            self.outcomes.put_nowait(outcome)

    async def next(self) -> Outcome:
        return await asyncio.wait_for(self.outcomes.get(), HANG_SECONDS)


@asynccontextmanager
async def dispatching(store: SqliteOutbox) -> AsyncIterator[Attempts]:
    attempts, config = Attempts(), Config()
    async with HttpSender(allow_private=True) as sender:
        dispatcher = Dispatcher(
            store,
            sender,
            SystemClock(),
            DispatchSettings("worker-1"),
            observer=attempts,
            labels=lambda source, name: label(config, source, name),
        )
        running = asyncio.create_task(dispatcher.run())
        yield attempts
        dispatcher.stop()
        await asyncio.wait_for(running, HANG_SECONDS)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = SqliteOutbox(tmp_path / "cdc.db")
    await opened.open()
    yield opened
    await opened.close()


def invoice(number: int, **data: Any) -> Event:
    return event(number)._replace(data={"codigo": f"FAC{number}", **data})


async def put(store: SqliteOutbox, *events: Event) -> None:
    await store.store("main", Position(events[-1].id), list(events), {}, SystemClock().now())


async def test_a_slack_message_is_signed_as_it_is_sent(store: SqliteOutbox) -> None:
    secret, arrived = new_secret(), asyncio.Queue[Received]()
    async with served(receiver_app(secret, arrived.put)) as url:
        await store.add_endpoint(endpoint(url, secret=secret, transform=preset("slack"), language="es"))
        await put(store, invoice(1, nombrecliente="<!here> Ruiz", total=423.5, coddivisa="EUR"))
        async with dispatching(store):
            received = await asyncio.wait_for(arrived.get(), HANG_SECONDS)
    assert (received.verified, received.answered) == (True, 204)
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["webhook-id"] == "evt_1"
    assert received.event == {"text": "Factura FAC1 pagada · &lt;!here&gt; Ruiz · 423,50\xa0€"}


async def test_headers_of_a_transform_replace_none_of_the_endpoint(store: SqliteOutbox) -> None:
    transform = '{"body": event, "headers": {"x-tenant": "other", "X-Event": event}}'
    arrived = asyncio.Queue[Received]()
    async with served(receiver_app(None, arrived.put)) as url:
        own = (("X-Tenant", "own"),)
        await store.add_endpoint(endpoint(url, transform=transform, headers=own))
        await put(store, invoice(1))
        async with dispatching(store):
            received = await asyncio.wait_for(arrived.get(), HANG_SECONDS)
    assert received.body == b"invoice.paid"
    assert received.headers["X-Event"] == "invoice.paid"
    assert [value for name, value in received.headers.items() if name.lower() == "x-tenant"] == ["own"]


async def test_a_transform_that_fails_is_tried_again_and_then_a_dead_letter(store: SqliteOutbox) -> None:
    arrived = asyncio.Queue[Received]()
    async with served(receiver_app(None, arrived.put)) as url:
        await store.add_endpoint(endpoint(url, transform='{"code": data.special}', retry_schedule=(0.0,)))
        await put(store, *(invoice(number) for number in range(1, 13)), invoice(13, special="x"))
        async with dispatching(store) as attempts:
            outcomes = [await attempts.next() for _ in range(25)]
    assert [received.event for received in [arrived.get_nowait()]] == [{"code": "x"}]
    assert arrived.empty(), "twelve failures in a row say nothing about the endpoint, and nothing was sent of them"
    reason = "The expression asks for a field or an element that the event does not have."
    assert {(outcome.attempt.error, outcome.attempt.status) for outcome in outcomes} == {(reason, None), ("", 204)}
    found = (await store.counts())["ep_1"]
    assert (found[DeliveryState.DEAD], found[DeliveryState.DELIVERED]) == (12, 1)


async def test_a_hostile_transform_disables_its_endpoint_and_loses_nothing(store: SqliteOutbox) -> None:
    fine, shaped = asyncio.Queue[Received](), asyncio.Queue[Received]()
    async with served(receiver_app(None, fine.put)) as url, served(receiver_app(None, shaped.put)) as other:
        await store.add_endpoint(endpoint(other, "ep_hostile", transform=HOSTILE))
        await put(store, invoice(1), invoice(2))
        async with dispatching(store) as attempts:
            assert (await attempts.next()).disable_reason.startswith("The transform takes more than")
        await store.add_endpoint(endpoint(url, "ep_fine"))
        await put(store, invoice(3))
        async with dispatching(store):
            assert (await asyncio.wait_for(fine.get(), HANG_SECONDS)).event["id"] == "evt_3"
        found = await store.endpoint("ep_hostile")
        assert found is not None
        assert (found.enabled, found.disabled_reason[:25]) == (False, "The transform takes more ")
        assert shaped.empty()
        await store.change_endpoint("ep_hostile", EndpointChange(transform="event", enabled=True, disabled_reason=""))
        async with dispatching(store):
            sent = [(await asyncio.wait_for(shaped.get(), HANG_SECONDS)).headers["webhook-id"] for _ in range(3)]
    assert sorted(sent) == ["evt_1", "evt_2", "evt_3"]
    assert (await store.counts())["ep_hostile"] == {DeliveryState.DELIVERED: 3}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 10, "order": Order.NONE}, "does not go with batches"),
        ({"format": PayloadFormat.CLOUDEVENTS}, "does not go with the format cloudevents"),
        ({"url": "mailto:ops@example.com"}, "a transform does not go with it"),
        ({"transform": "secret + 1"}, "uses secret, which events do not have"),
        ({"transform": "x" * 3000}, "has 3000 characters"),
        ({"language": "fr"}, "no messages in the language 'fr'"),
    ],
)
def test_what_a_transform_does_not_go_with_is_refused(changes: dict[str, Any], sentence: str) -> None:
    config = Config.model_validate(
        {"dispatch": {"allow_private": True}, "mail": {"host": "m", "sender": "a@b.example"}}
    )
    wanted = replace(endpoint("http://127.0.0.1:9/", transform="event"), **changes)

    def check() -> None:
        """Check as for a new endpoint."""
        check_fields(config, wanted, {"transform", *changes})
        check_together(wanted)

    with pytest.raises(UsageError, match=sentence):
        check()
