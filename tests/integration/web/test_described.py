"""Requests that follow the API's description, and such that do not: every answer is one that it promises."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test

from cdc.access.model import Scope
from cdc.access.sqlite import SqliteAccess
from cdc.api import token_auth as gate
from cdc.api.application import OPERATIONS
from cdc.api.documents import document
from cdc.model.delivery import DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.managing import API, Managed, managing
from support.outboxes import endpoint, event, finish, lease, store


class Served:
    """The API over SQLite, in a loop of its own, until `close`."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self.url = self.token = ""
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(folder / "cdc.db"),))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self, path: Path) -> None:
        outbox, access = SqliteOutbox(path), SqliteAccess(path)
        await outbox.open()
        await access.open()
        try:
            async with managing(outbox, access=access, outbox={"url": f"sqlite:///{path}"}) as api:
                await _fill(api)
                self.url, self.token = str(api.client.make_url("")).rstrip("/"), api.tokens[Scope.MANAGE]
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()
            await access.close()
            await outbox.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()


async def _fill(api: Managed) -> None:
    """Deliveries of every kind, some with ids that the description gives as examples."""
    await api.store.add_endpoint(endpoint("ep_5f2d1c0b9a8e7f60", enabled=False))
    await api.store.add_endpoint(endpoint("ep_b"))
    await store(api.store, *[event(number, name="invoice.paid") for number in range(1, 30)])
    for number, each in enumerate(await lease(api.store, limit=20, seconds=1e6)):
        state = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING)[number % 3]
        await finish(api.store, each, state=state, due_at=each.lease_until)


@pytest.fixture(scope="module")
def asked_at_will() -> Iterator[None]:
    """How often one may ask is another test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TOKEN_BURST", "ADDRESS_BURST"):
            patch.setattr(gate, name, 1e9)
        yield


@pytest.fixture(scope="module")
def served(asked_at_will: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("described"))
    yield made
    made.close()


#: The token is right: what happens to wrong ones is another test.
_CONFIG = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
#: All but the stream, whose answer has no end, and the one that answers a megabyte whatever is asked.
DESCRIPTION = schemathesis.openapi.from_dict(document(OPERATIONS, API), config=_CONFIG).exclude(
    operation_id=["streamEvents", "showAsyncApi"]
)
#: Requests to each operation; a tenth as many stories of several requests.
REQUESTS = int(os.environ.get("CDC_TEST_REQUESTS", "30"))
#: The same ones each time, unless more are asked for: `--hypothesis-seed` repeats those.
SETTINGS = settings(
    max_examples=REQUESTS,
    derandomize="CDC_TEST_REQUESTS" not in os.environ,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: What a schema cannot say (a URL, a filter, a name that is configured) may be refused, with 422.
MAY_BE_REFUSED = [checks.positive_data_acceptance]


#: Bytes of a line; what is longer is refused, in plain text, before the API sees it.
LONGEST = 8190


OPERATION_IDS = [each.ok().definition.raw["operationId"] for each in DESCRIPTION.get_all_operations()]


@pytest.mark.parametrize("operation", OPERATION_IDS)
def test_answers_are_as_described(operation: str, served: Served) -> None:
    """`parametrize` of the description computes the requests of all operations while tests are collected, which takes
    three seconds of each worker: here each operation's are computed when they are sent."""

    @SETTINGS
    def ask(case: Any) -> None:
        _validate(case, case.call(served.url, headers=served.headers))

    (found,) = DESCRIPTION.include(operation_id=operation).get_all_operations()
    build_operation_test(
        config=DESCRIPTION.config, operation=found.ok(), test_func=ask, given_kwargs={}, feedback=FeedbackSources()
    )()


@pytest.mark.usefixtures("asked_at_will")
def test_so_are_those_to_requests_about_what_others_made(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one answer names (an endpoint, a delivery, a replay) is asked for, changed, removed, and asked for again;
    each story with an outbox of its own, else what is drawn would depend on the stories before."""

    class Story(DESCRIPTION.as_state_machine()):  # type: ignore[misc]  # made of the description
        def setup(self) -> None:
            self.served = Served(tmp_path_factory.mktemp("story"))

        def teardown(self) -> None:
            self.served.close()

        def get_call_kwargs(self, _case: Any) -> dict[str, Any]:
            return {"base_url": self.served.url, "headers": self.served.headers}

        def validate_response(self, response: Any, case: Any, **sent: Any) -> None:
            _validate(case, response, recorder=self.recorder, transport_kwargs=sent)

    few = settings(SETTINGS, max_examples=max(1, REQUESTS // 10), stateful_step_count=20)
    run_state_machine_as_test(Story, settings=few)  # type: ignore[no-untyped-call]


def _validate(case: Any, response: Any, **more: Any) -> None:
    request = response.request
    if max(len(request.url), *(len(value) for value in request.headers.values())) < LONGEST:
        case.validate_response(response, excluded_checks=MAY_BE_REFUSED, **more)
