"""Strangers learn whether the process is ready, and nothing about sources, endpoints and errors."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cdc.model.errors import SourceUnavailable
from cdc.web import server
from cdc.web.server import add_health
from support.manual_clock import START
from support.watching import BOUNDS, Watch

TOKEN = "t" * 32


def _app(token: str = "") -> web.Application:
    watch = Watch()
    watch.reported.source_failed("main", SourceUnavailable("erp.tenant-a.example does not answer."))
    watch.queue(ep_tenant=START)
    app = web.Application()
    add_health(app, watch.monitor, BOUNDS, watch.clock, outbox="f00d", metrics_token=token)
    return app


async def _asked(app: web.Application, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    async with TestClient(TestServer(app)) as client:
        answer = await client.get(path, headers=headers)
        return answer.status, await answer.text()


STRANGERS = {
    "by a proxy": {"X-Forwarded-For": "203.0.113.9"},
    "by a proxy that claims this machine": {"X-Forwarded-For": "127.0.0.1"},
    "by a standard proxy": {"Forwarded": "for=203.0.113.9"},
    "by a proxy that names itself": {"Via": "1.1 proxy"},
    "by nginx": {"X-Real-IP": "203.0.113.9"},
}


@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer ", f"Basic {TOKEN}"])
async def test_strangers_get_no_details(headers: dict[str, str], authorization: str) -> None:
    asked = headers | ({"Authorization": authorization} if authorization else {})
    for app in (_app(), _app(TOKEN)):
        status, text = await _asked(app, "/health/ready", asked)
        assert (status, text.strip()) == (503, '{"ready":false}')
    for app in (_app(), _app(TOKEN)):
        status, text = await _asked(app, "/metrics", asked)
        assert status == 401
        assert "main" not in text
    assert (await _asked(_app(), "/health/live", asked))[0] == 200


async def test_other_machines_get_no_details_without_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_from_here", lambda _request: False)
    assert (await _asked(_app(), "/health/ready", {}))[1].strip() == '{"ready":false}'
    assert (await _asked(_app(), "/metrics", {}))[0] == 401


async def test_this_machine_and_the_token_get_details() -> None:
    for headers in ({}, STRANGERS["by nginx"] | {"Authorization": f"Bearer {TOKEN}"}):
        status, text = await _asked(_app(TOKEN), "/health/ready", headers)
        assert (status, "erp.tenant-a.example" in text) == (503, True)
    assert (await _asked(_app(), "/metrics", {}))[0] == 200
    assert (await _asked(_app(TOKEN), "/metrics", {"Authorization": f"Bearer {TOKEN}"}))[0] == 200
