"""The means of sending are replaced while requests are in flight: none is cut, and none is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdc.dispatch.sender import ReloadableSender
from cdc.model.errors import ConfigError
from support.waiting import HANG_SECONDS


class Means:
    """Answers with its number when the test lets it."""

    def __init__(self, number: int) -> None:
        self.number, self.closed, self.may_answer = number, asyncio.Event(), asyncio.Event()

    async def send(self, _request: Any) -> int:
        await self.may_answer.wait()
        assert not self.closed.is_set()
        return self.number


async def test_requests_end_by_the_means_with_which_they_began() -> None:
    opened: list[Means] = []

    @asynccontextmanager
    async def sending(*, usable: bool = True) -> AsyncIterator[Any]:
        if not usable:
            raise ConfigError("The certificate is gone.")
        means = Means(len(opened))
        opened.append(means)
        yield means
        means.closed.set()

    request: Any = None
    async with asyncio.timeout(HANG_SECONDS), ReloadableSender() as sender:
        await sender.use(sending())
        former = asyncio.create_task(sender.send(request))
        await asyncio.sleep(0)
        await sender.use(sending())
        with pytest.raises(ConfigError):
            await sender.use(sending(usable=False))
        present = asyncio.create_task(sender.send(request))
        opened[1].may_answer.set()
        assert await present == 1
        assert not opened[0].closed.is_set(), "a request is in flight"
        opened[0].may_answer.set()
        assert await former == 0
        await opened[0].closed.wait()
        assert not opened[1].closed.is_set()
    assert opened[1].closed.is_set()
