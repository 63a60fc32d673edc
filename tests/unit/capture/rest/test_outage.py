"""An API that fails for seconds, or one resource of it for long."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.facturascripts_api import Api, serving
from support.memory_outbox import MemoryOutbox
from support.polling import PassingClock, alive, polling

TABLES = ("facturascli", "clientes", "stocks", "facturasprov", "proveedores")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as served:
        served.put("facturascli", {"idfactura": 1, "pagada": False})
        served.put("clientes", {"codcliente": "1"})
        yield served


@pytest.mark.parametrize("status", [200, 404, 500, 502])
async def test_api_that_failed_for_seconds_is_read_at_once_again(api: Api, status: int) -> None:
    polled = polling(api, MemoryOutbox(), PassingClock(), TABLES, interval_seconds=10, compare_seconds=30)
    async with alive(polled):
        await polled.run(100)
        for length in (3, 15, 120):
            api.instead, api.instead_status = "<html>", status
            await polled.run(length)
            api.instead = None
            before = len(api.requests)
            await polled.run(35)  # the driver waits 30 s after a failure
            assert len({resource for _, resource in api.requests[before:]} - {""}) == len(TABLES)
            await polled.run(60)
            api.put("clientes", {"codcliente": f"c{length}-{status}"})
            assert [event.name for event in await polled.run(45)] == ["customer.created"]


@pytest.mark.parametrize("status", [200, 500])
async def test_models_that_fail_while_the_list_answers_come_back_together(api: Api, status: int) -> None:
    polled = polling(api, MemoryOutbox(), PassingClock(), TABLES, interval_seconds=10, compare_seconds=30)
    async with alive(polled):
        await polled.run(100)
        api.failing_tables = dict.fromkeys(TABLES, status)
        await polled.run(600)
        assert any("No resource" in str(error) for error in polled.failures)
        api.failing_tables = {}
        before = len(api.requests)
        await polled.run(65)
        assert len({resource for _, resource in api.requests[before:]} - {""}) == len(TABLES)


@pytest.mark.parametrize("status", [200, 500])
async def test_single_failing_resource_is_put_aside_alone(api: Api, status: int) -> None:
    polled = polling(api, MemoryOutbox(), PassingClock(), TABLES, interval_seconds=10, compare_seconds=30)
    async with alive(polled):
        await polled.run(100)
        api.failing_tables = {"facturascli": status}
        before = len(api.requests)
        await polled.run(3600)
        failed = [time for time, resource in api.requests[before:] if resource == "facturaclientes"]
        assert 12 < len(failed) < 30, "less and less often, and every five minutes at least"
        assert polled.failures == []
        api.put("clientes", {"codcliente": "2"})
        assert [event.name for event in await polled.run(45)] == ["customer.created"]
        api.failing_tables = {}
        api.put("facturascli", {"idfactura": 1, "pagada": True})
        assert "invoice.paid" in [event.name for event in await polled.run(345)]
