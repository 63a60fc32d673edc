"""Requests as HTTP: methods, bodies, sizes, slow ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cdc.access.model import Scope
from cdc.api import application
from cdc.api.application import LARGEST_BODY
from support.managing import API, Managed, managing
from support.memory_outbox import MemoryOutbox

JSON = {"Content-Type": "application/json"}


async def test_head_is_get_without_a_body(api: Managed) -> None:
    got = await api.ask("GET", "/endpoints")
    head = await api.ask("HEAD", "/endpoints")
    assert (head.status, head.text) == (200, "")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert (await api.ask("HEAD", "/endpoints", None)).status == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/endpoints", "GET,HEAD,POST"),
        ("OPTIONS", "/endpoints", "GET,HEAD,POST"),
        ("TRACE", "/endpoints", "GET,HEAD,POST"),
        ("POST", "/endpoints/ep_1", "DELETE,GET,HEAD,PATCH"),
        ("DELETE", "/sources", "GET,HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_know(api: Managed, method: str, path: str, allowed: str) -> None:
    answer = await api.ask(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.json["detail"] == "This path does not know that method."
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"", JSON, 400),
        (b"[" * 60_000, JSON, 400),
        (b"[" * 900 + b"]" * 900, JSON, 422),
        (b"[]", JSON, 422),
        (b"null", JSON, 422),
        (b'{"url": NaN}', JSON, 400),
        (b'{"url": "\\ud800"}', JSON, 400),
        (b'{"url": "a\\u0000"}', JSON, 422),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"url=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": "\u00e9"}, 415),
        (b" " * (LARGEST_BODY + 1), JSON, 413),
    ],
)
async def test_a_body_that_is_wrong(api: Managed, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = await api.ask("POST", "/endpoints", data=body, headers=headers)
    assert (answer.status, answer.json["status"]) == (status, status), answer.text
    assert await api.store.endpoints() == []


async def test_a_large_body_without_a_length(api: Managed) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    answer = await api.ask("POST", "/endpoints", data=much(), headers=JSON)
    assert answer.status == 413


@pytest.mark.parametrize(("method", "path"), [("GET", "/endpoints"), ("DELETE", "/endpoints/ep_1")])
async def test_a_body_where_there_is_none(api: Managed, method: str, path: str) -> None:
    assert (await api.ask(method, path, data=b"{}", headers=JSON)).status == 400


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "BODY_SECONDS", 0.05)
    never = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with managing(MemoryOutbox()) as api:
        answer = await api.ask("POST", "/endpoints", data=drip(), headers=JSON)
    assert (answer.status, answer.json["detail"]) == (408, "The body did not come in time.")


async def test_what_every_answer_says(api: Managed) -> None:
    for path, scope in (("/endpoints", Scope.READ), ("/endpoints", None), ("/nothing", Scope.READ)):
        answer = await api.ask("GET", path, scope)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_the_page_does_not_take_over_what_the_api_does_not_know(api: Managed) -> None:
    async with api.client.get(f"{API}/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
