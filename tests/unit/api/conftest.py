"""The API over an outbox in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox


@pytest.fixture
async def api() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        yield managed
