"""CloudEvents webhook validation: asked of real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from cdc.dispatch.sender import Agreement, HttpSender, agreement, ask
from cdc.model.errors import EndpointRefused
from support.dispatching import endpoint
from support.http_servers import served
from support.signed import signed_request

ORIGIN = "events.example.com"


@dataclass
class Target:
    """Answers OPTIONS with these headers, and keeps what it was asked."""

    headers: Mapping[str, str]
    status: int = 200
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def app(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append(request.headers)
            return web.Response(status=self.status, headers=self.headers)

        app = web.Application()
        app.router.add_route("OPTIONS", "/any/path", answer)
        return app


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(allow_private=True) as sender:
        yield sender


@pytest.mark.parametrize(
    ("allowed", "rate", "agreed"),
    [
        (ORIGIN, None, Agreement(ORIGIN, None)),
        (ORIGIN.upper(), "120", Agreement(ORIGIN, 120)),
        ("*", "*", Agreement(ORIGIN, None)),
        ("*", "many", Agreement(ORIGIN, None)),
        ("*", "0", Agreement(ORIGIN, None)),
        ("other.example.com", "*", None),
        ("", "100", None),
        (f"{ORIGIN}.evil.example", "*", None),
        (f"other.example.com, {ORIGIN}", "*", None),
    ],
)
def test_what_an_answer_means(allowed: str, rate: str | None, agreed: Agreement | None) -> None:
    headers = {"WebHook-Allowed-Origin": allowed} | ({} if rate is None else {"WebHook-Allowed-Rate": rate})
    assert agreement(headers, ORIGIN) == agreed
    assert agreement({}, ORIGIN) is None


async def test_an_endpoint_agrees(sender: HttpSender) -> None:
    target = Target({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "90"}, status=405)
    async with served(target.app()) as url:
        agreed = await ask(sender, endpoint(url), ORIGIN)
    assert agreed == Agreement(ORIGIN, 90), "the status says nothing"
    assert [each["WebHook-Request-Origin"] for each in target.asked] == [ORIGIN]


async def test_it_is_asked_with_the_headers_of_the_endpoint(sender: HttpSender) -> None:
    target = Target({"webhook-allowed-origin": "*"})
    async with served(target.app()) as url:
        await ask(sender, endpoint(url, headers=(("Authorization", "Bearer abc"),)), ORIGIN)
    assert [each["Authorization"] for each in target.asked] == ["Bearer abc"]


async def test_each_delivery_then_carries_the_origin() -> None:
    assert signed_request(origin=ORIGIN).headers["WebHook-Request-Origin"] == ORIGIN
    assert "WebHook-Request-Origin" not in signed_request().headers


@pytest.mark.parametrize("status", [200, 204, 302, 404])
async def test_an_endpoint_that_knows_of_no_events_is_refused(sender: HttpSender, status: int) -> None:
    target = Target({"Allow": "POST", "Location": "/elsewhere"}, status)
    async with served(target.app()) as url:
        with pytest.raises(EndpointRefused, match=f"does not agree to receive events from {ORIGIN}"):
            await ask(sender, endpoint(f"{url}?token=hunter2"), ORIGIN)
    assert len(target.asked) == 1, "redirects are not followed"


async def test_an_endpoint_that_does_not_answer_is_a_sentence(sender: HttpSender) -> None:
    with pytest.raises(EndpointRefused, match=r"not validated: 127\.0\.0\.1:1 refused the connection") as caught:
        await ask(sender, endpoint("http://127.0.0.1:1/hook?token=hunter2"), ORIGIN)
    assert "hunter2" not in str(caught.value)


async def test_inside_addresses_are_not_asked_either() -> None:
    target = Target({"WebHook-Allowed-Origin": "*"})
    async with served(target.app()) as url, HttpSender(allow_http=True) as guarded:
        with pytest.raises(EndpointRefused, match="a loopback address"):
            await ask(guarded, endpoint(url), ORIGIN)
    assert target.asked == []
