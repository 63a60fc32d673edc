"""Requests as HTTP: methods, bodies, sizes, slow ones."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from cdc.access.model import Scope
from cdc.api import application
from cdc.api.application import LARGEST_BODY, OPERATIONS, PREFIX
from cdc.api.documents import document
from cdc.api.operation import PROBLEM_TYPES, TYPES_PAGE
from cdc.logs import configure_logs
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


# -- problems ----------------------------------------------------------------------------------------------------------


async def test_all_wrong_values_are_named_at_once(api: Managed) -> None:
    body = {"events": [], "timeout": 0, "retry": [1], "retry_schedule": [1], "authentication": {"clientid": "x"}}
    answer = await api.ask("POST", "/endpoints", json=body)
    assert answer.status == 422
    found = {each["pointer"]: (each["code"], each["detail"], each.get("hint")) for each in answer.json["errors"]}
    assert found == {
        "#/url": ("required", "url is missing.", None),
        "#/events": ("wrong_length", "events: List should have at least 1 item after validation, not 0.", None),
        "#/timeout": ("out_of_range", "timeout should be greater than 0.", None),
        "#/retry": ("unknown_field", "There is no field retry.", "Did you mean retries?"),
        "#/retry_schedule": ("unknown_field", "There is no field retry_schedule.", "Did you mean retries?"),
        "#/authentication/type": ("required", "authentication.type is missing.", None),
        "#/authentication/clientid": (
            "unknown_field",
            "There is no field authentication.clientid.",
            "Did you mean client_id?",
        ),
    }
    released = {"where": "body.timeout", "what": "Input should be greater than 0"}
    assert released.items() <= next(each for each in answer.json["errors"] if each["pointer"] == "#/timeout").items()


async def test_wrong_values_of_query_and_body_are_named_together(api: Managed) -> None:
    answer = await api.ask("GET", "/deliveries?limt=5&since=yesterday")
    found = [(each["parameter"], each["code"], each.get("hint")) for each in answer.json["errors"]]
    assert sorted(found) == [("limt", "unknown_field", "Did you mean limit?"), ("since", "wrong_format", None)]


async def test_each_type_of_problem_is_a_url_that_the_documentation_explains(api: Managed) -> None:
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
    page, _, _ = TYPES_PAGE.partition("#")
    assert page.endswith("/docs/api.md")
    for name in PROBLEM_TYPES:
        assert f"\n### {name}\n" in text
    new = {"url": "https://shop.example.com/hook", "events": ["*"]}
    for method, path, more, name in (
        ("GET", "/endpoints/ep_1", {}, "not-found"),
        ("PUT", "/endpoints", {}, "method-not-allowed"),
        ("POST", "/endpoints", {"data": b"{"}, "unsupported-media-type"),
        ("POST", "/endpoints", {"data": b"{", "headers": JSON}, "malformed-request"),
        ("POST", "/endpoints", {"json": {}}, "invalid-value"),
        ("POST", "/endpoints", {"json": new | {"proxy": "none"}}, "invalid-value"),
    ):
        assert (await api.ask(method, path, **more)).json["type"] == f"{TYPES_PAGE}{name}"


async def test_every_status_of_an_operation_has_a_type() -> None:
    described = document(OPERATIONS, PREFIX)["paths"].values()
    statuses = {int(status) for methods in described for each in methods.values() for status in each["responses"]}
    assert {status for status in statuses if status >= 400} <= {
        status for statuses, _ in PROBLEM_TYPES.values() for status in statuses
    }


@pytest.mark.parametrize(
    ("given", "taken"),
    [("order-7/a.b:c+d=e@f_g", True), ("a" * 128, True), ("", False), ("a" * 129, False), ("a b", False), ("é", False)],
)
async def test_a_request_is_named_in_answer_and_log(
    api: Managed, capsys: pytest.CaptureFixture[str], given: str, taken: bool
) -> None:
    configure_logs("json", "info")
    headers = {"X-Request-Id": given} if given else {}
    try:
        new = {"url": "https://shop.example.com/hook", "events": ["*"]}
        answer = await api.ask("POST", "/endpoints", json=new, headers=headers)
    finally:
        structlog.reset_defaults()
    name = answer.headers["X-Request-Id"]
    assert name == given if taken else re.fullmatch("[0-9a-f]{32}", name)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["request_id"], line["method"], line["path"], line["status"]) == (name, "POST", f"{API}/endpoints", 201)
    refused = await api.ask("GET", "/nothing", headers=headers)
    assert refused.headers["X-Request-Id"] == given if taken else refused.headers["X-Request-Id"] != name


async def test_answers_say_how_many_requests_may_follow(api: Managed) -> None:
    first = await api.ask("GET", "/sources", Scope.READ)
    assert first.headers["RateLimit-Policy"] == '"token";q=100;w=5'
    assert first.headers["RateLimit"] == '"token";r=99;t=1'
    authorization = {"Authorization": f"Bearer {api.tokens[Scope.READ]}", "X-Request-Id": "mine"}
    async with api.client.get(f"{API}/events/stream", headers=authorization) as stream:
        assert (stream.headers["X-Request-Id"], stream.headers["RateLimit"]) == ("mine", '"token";r=98;t=1')
    nobody = await api.ask("GET", "/sources", None)
    assert (nobody.status, nobody.headers["RateLimit"]) == (401, '"address";r=19;t=1')
    for _ in range(100):
        last = await api.ask("GET", "/sources", Scope.READ)
    assert (last.status, last.headers["RateLimit"]) == (429, '"token";r=0;t=5')
    assert last.json["type"] == f"{TYPES_PAGE}rate-limited"
