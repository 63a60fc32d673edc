"""Numbers at their limits, given to a running dispatcher by the API: what is accepted keeps events from nobody else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from cdc.api.endpoints import NewEndpoint
from cdc.config.model import SECTIONS
from cdc.config.source import RestConfig, RestResource
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange
from support.dispatching import WatchedOutbox, dispatching, event, store_events
from support.managing import managing

#: Far beyond, at, and next to limits.
EXTREMES: list[Any] = [
    0, -0.0, 1, -1, 5e-324, 1e-300, 1e-9, 0.0009, 0.001, 1.5, 59.9, 60, 60.1, 999, 1000, 1001, 3600, 3601, 86_400,
    100_000, 100_001, 2_592_000, 2_592_001, 31_536_000, 31_536_001, 2**31, 2**53, 2**63, 10**30, 1e300, 1e308,
]  # fmt: skip
GOOD, OTHER = "https://good.example.com/", "https://other.example.com/"


def numbers(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The options of a model that hold a number, or several."""
    for name, field in model.model_fields.items():
        if _kinds(field.annotation) & {int, float}:
            yield name, field


def _kinds(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*map(_kinds, inner))


class Sent:
    """Accepts all that goes to ``GOOD``, and refuses everything else."""

    def __init__(self) -> None:
        self.good = asyncio.Semaphore(0)

    async def send(self, request: WebhookRequest) -> Answer:
        if request.url == GOOD:
            self.good.release()
            return Answer(200, 0.01)
        return Answer(503, 0.01, retry_after="1e400")


async def test_no_number_that_the_api_accepts_stops_dispatch() -> None:
    store, sender = WatchedOutbox(), Sent()
    async with managing(store) as api:
        good = await api.ask("POST", "/endpoints", json={"url": GOOD, "events": ["invoice.*"]})
        made = await api.ask("POST", "/endpoints", json={"url": OTHER, "events": ["invoice.*"]})
        assert (good.status, made.status) == (201, 201), made.text
        path, sent, accepted = f"/endpoints/{made.json['id']}", 0, 0
        names = [name for name, _ in numbers(NewEndpoint)]
        assert {"timeout", "retries", "concurrency", "rate", "batch", "batch_wait", "disable_after"} <= set(names)
        async with dispatching(store, sender, api.clock) as dispatcher:
            for name in names:
                for value in EXTREMES:
                    api.clock.advance(10)  # tokens have a rate
                    given = {name: [value] if name == "retries" else value}
                    answer = await api.ask("PATCH", path, json=given)
                    assert answer.status in (200, 422), (given, answer.text)
                    if answer.status == 422:
                        assert str(answer.json.get("detail") or answer.json.get("title")), given
                        continue
                    accepted += 1
                    await store.change_endpoint(made.json["id"], EndpointChange(enabled=True))
                    sent += 1
                    await store_events(store, [event(sent)], api.clock.now())
                    dispatcher.notify()
                    async with asyncio.timeout(60):
                        await sender.good.acquire()
    assert accepted > len(names)
    ids = {each.id: each.url for each in await store.endpoints()}
    counts = {ids[endpoint]: states for endpoint, states in (await store.counts()).items()}
    assert counts[GOOD] == {DeliveryState.DELIVERED: sent}


@pytest.mark.parametrize("body", ["1e999", "NaN", "-Infinity", '"5"', "[]", "true"])
@pytest.mark.parametrize("name", [name for name, _ in numbers(NewEndpoint)])
async def test_what_is_no_number_is_refused(name: str, body: str) -> None:
    async with managing(WatchedOutbox()) as api:
        text = f'{{"url": "{OTHER}", "events": ["invoice.*"], "{name}": {f"[{body}]" if name == "retries" else body}}}'
        headers = {"Content-Type": "application/json"}
        assert (await api.ask("POST", "/endpoints", data=text, headers=headers)).status in (400, 422)


CONFIGURED = [*SECTIONS.items(), ("rest", RestConfig), ("rest.resources", RestResource)]
OPTIONS = [(f"{section}.{name}", model, name) for section, model in CONFIGURED for name, _ in numbers(model)]


@pytest.mark.parametrize(("path", "model", "name"), OPTIONS, ids=[each[0] for each in OPTIONS])
def test_every_number_of_the_configuration_has_limits(path: str, model: type[BaseModel], name: str) -> None:
    for value in (math.inf, -math.inf, math.nan, 1e300, 10**30, -1, -1e300):
        with pytest.raises(ValidationError) as refused:
            model.model_validate({name: value})
        assert any(error["loc"][:1] == (name,) for error in refused.value.errors()), path
