"""`cdc consume` at a signal to stop: what was leased by then is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from cdc.cli.consume import _ConsumerClient, _Run
from support.waiting import HANG_SECONDS


class SlowApi(_ConsumerClient):
    """Answers a fetch when the test lets it."""

    def __init__(self) -> None:
        super().__init__("http://localhost", "orders", "token", 10, 60)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.answers: list[Mapping[str, Sequence[Any]]] = []

    async def _ask(self, _session: Any, method: str, what: str, _wait: int, body: bytes | None = None) -> Any:
        if method == "POST":
            self.answers.append({"body": [body]})
            return {"late": []}
        self.asked.set()
        await self.may_answer.wait()
        return {"items": [{"receipt": "dlv_1.pull-1-2", "event": "invoice.paid"}]}


async def test_events_whose_answer_is_on_its_way_at_the_stop_are_released() -> None:
    api = SlowApi()
    run = _Run(api, ["true"], 10, once=False)
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(HANG_SECONDS):
        await api.asked.wait()
        run._stop.set()
        for _ in range(5):
            await asyncio.sleep(0)
        api.may_answer.set()
        assert await running == 0
    assert [each["body"] for each in api.answers] == [
        [b'{"acknowledged":[],"failed":[],"released":["dlv_1.pull-1-2"]}']
    ]
