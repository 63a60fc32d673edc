"""Requests for a host name that nobody configured are refused: DNS rebinding reads nothing."""

from __future__ import annotations

import pytest

from cdc.pages.application import known_host
from support.managing import managing
from support.memory_outbox import MemoryOutbox


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8600",
        "[::1]:8600",
        "[::1]",
        "10.0.0.5",
        "localhost",
        "LOCALHOST.:80",
        "a.localhost",
        "",
        "cdc.example",
    ],
)
def test_address_loopback_name_or_configured_name_is_known(host: str) -> None:
    assert known_host(host, {"cdc.example"})


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_other_name_is_unknown(host: str) -> None:
    assert not known_host(host, {"cdc.example"})


async def test_rebound_page_reads_nothing_and_a_configured_name_does() -> None:
    async with managing(MemoryOutbox(), web={"hosts": ["cdc.example"]}) as managed:
        for path in ("/health/ready", "/health/live", "/metrics", "/", "/sign-in", "/api/v1/openapi.json"):
            async with managed.client.get(path, headers={"Host": "evil.example"}, allow_redirects=False) as answer:
                assert answer.status == 421
                assert "hosts under [web]" in await answer.text()
            for host in ("CDC.example:443", "127.0.0.1"):
                async with managed.client.get(path, headers={"Host": host}, allow_redirects=False) as answer:
                    assert answer.status in (200, 303, 401, 404)
