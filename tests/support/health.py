"""Health and metrics of a running consumer over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from support.consumer import Consumer
from support.waiting import HANG_SECONDS

#: Name → values of the labels, as they come → value.
Metrics = dict[str, dict[tuple[str, ...], float]]


@dataclass(frozen=True)
class Health:
    """``url``: where the consumer serves."""

    url: str

    @staticmethod
    def of(consumer: Consumer, port: int, more: str = "") -> Health:
        """Have the consumer serve on ``port``; ``more``: options of [web]."""
        path = consumer.folder / "cdc.toml"
        listen = f'listen = "127.0.0.1:{port}"\n{more}'
        path.write_text(path.read_text(encoding="utf-8").replace('listen = ""\n', listen), encoding="utf-8")
        return Health(f"http://127.0.0.1:{port}")

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def ready(self) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health/ready") as answer:
            return answer.status, await answer.json()

    async def until(
        self, enough: Callable[[int, dict[str, Any]], bool], seconds: float = HANG_SECONDS
    ) -> dict[str, Any]:
        """Ask repeatedly, as a monitor does, until the answer is ``enough``; return it."""
        answer: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        status, answer = await self.ready()
                        if enough(status, answer):
                            return dict(answer)
                    except aiohttp.ClientConnectionError as error:  # it has not begun to serve
                        answer = error
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"Not within {seconds} s; at last: {answer}") from None

    async def until_metrics(self, enough: Callable[[Metrics], bool], seconds: float = HANG_SECONDS) -> Metrics:
        """Return the metrics once they are ``enough``: a receiver knows of its request before it is counted."""
        async with asyncio.timeout(seconds):
            while not enough(metrics := await self.metrics()):  # noqa: ASYNC110 - asked again, as monitors do
                await asyncio.sleep(0.05)
        return metrics

    async def metrics(self) -> Metrics:
        _, text = await self.get("/metrics")
        found: Metrics = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return found


def is_ready(status: int, answer: dict[str, Any]) -> bool:
    return status == 200 and answer["ready"] is True and answer["reasons"] == []
