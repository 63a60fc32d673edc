"""What leads inside is refused on the way through a proxy as without one, and a refusal describes nothing of the inside
network."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from cdc.admin.endpoint_checks import check_fields
from cdc.config import Config
from cdc.dispatch.connection import LookUp
from cdc.dispatch.failure import describe_error
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.model.errors import UsageError
from support.dispatching import endpoint
from support.forward_proxy import forward_proxy
from support.managing import CONFIGURATION
from support.signed import signed_request

PUBLIC, INSIDE = "93.184.215.14", "10.11.12.13"
METADATA_NAMES = ["metadata.google.internal", "METADATA.google.internal.", "metadata.goog", "instance-data", "metadata"]


def leads_to(*addresses: str) -> LookUp:
    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in addresses
        ]

    return look_up


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("address", [INSIDE, "127.0.0.1", "169.254.169.254", "fd00::1", "::ffff:10.0.0.1"])
async def test_a_name_that_leads_inside_is_not_asked_of_a_proxy(scheme: str, address: str) -> None:
    """The proxy would look up ``intranet.example`` and connect to it."""
    async with forward_proxy(names={"intranet.example": "127.0.0.1", address: "127.0.0.1"}) as proxy:
        options = {"proxies": {"dmz": proxy.url}, "allow_http": True, "look_up": leads_to(address)}
        async with HttpSender(**options) as sender:
            request = signed_request(url=f"{scheme}://intranet.example/", proxy="dmz", secret=new_secret())
            answered = await sender.send(request)
    assert proxy.heads == []
    assert "leads to an inside address" in answered.error
    assert address not in answered.error


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_turns_for_the_proxy_leads_where_it_was_checked(scheme: str) -> None:
    """DNS rebinding: here the name leads outside, at the proxy inside.  The proxy never sees the name."""
    async with forward_proxy(names={"turning.example": "127.0.0.1", PUBLIC: "127.0.0.9"}) as proxy:
        options = {"proxies": {"dmz": proxy.url}, "allow_http": True, "look_up": leads_to(INSIDE, PUBLIC)}
        async with HttpSender(**options) as sender:
            await sender.send(signed_request(url=f"{scheme}://turning.example:9/", proxy="dmz", secret=new_secret()))
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT {PUBLIC}:9 HTTP/1.1"]
    assert "turning.example" not in proxy.heads[0]


@pytest.mark.parametrize("resolves", [True, False])
@pytest.mark.parametrize("host", METADATA_NAMES)
async def test_metadata_names_are_refused_by_every_way(host: str, resolves: bool) -> None:
    async with forward_proxy(names={host: "127.0.0.1"}) as proxy:
        options = {"proxies": {"dmz": proxy.url}, "allow_private": True, "look_up": leads_to(PUBLIC)}
        async with HttpSender(proxy_resolves=resolves, **options) as sender:
            for way in ("dmz", ""):
                request = signed_request(url=f"https://{host}/", proxy=way, secret=new_secret())
                assert "is a cloud metadata address" in (await sender.send(request)).error
    assert proxy.heads == []


@pytest.mark.parametrize("host", METADATA_NAMES)
def test_no_endpoint_has_a_metadata_name(host: str) -> None:
    config = Config.model_validate(CONFIGURATION)
    with pytest.raises(UsageError, match="metadata"):
        check_fields(config, endpoint(f"https://{host}/computeMetadata/v1/"), {"url"})


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT])
def test_a_failed_connection_does_not_say_to_which_address(code: int) -> None:
    error = OSError(code, f"Multiple exceptions: [Errno {code}] Connect call failed ('{INSIDE}', 443)")
    sentence = describe_error(error, signed_request(url="https://intranet.example/"))
    assert "intranet.example" in sentence
    assert INSIDE not in sentence


@pytest.mark.parametrize("look_up", [leads_to(INSIDE), leads_to(INSIDE, "127.0.0.1", "::1")])
async def test_a_refusal_does_not_say_what_a_name_leads_to(look_up: Callable[..., Any]) -> None:
    async with HttpSender(look_up=look_up) as sender:
        answered = await sender.send(signed_request(url="https://intranet.example/"))
    assert answered.error.startswith("intranet.example leads to an inside address, and ")
    assert not any(word in answered.error for word in (INSIDE, "127.0.0.1", "::1", "private address", "loopback"))
