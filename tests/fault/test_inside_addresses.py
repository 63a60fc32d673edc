"""Attempts at inside addresses (SSRF): every form, on real sockets, is a clear error, and nothing is reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from yarl import URL

from cdc.dispatch.address import EgressPolicy
from cdc.dispatch.sender import HttpSender
from cdc.model.delivery import Outcome
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.http_faults import answer, receiver
from support.manual_clock import ManualClock

NOT_ALLOWED = "and deliveries to such addresses are not allowed (allow_private, allow_networks)."
HERE = (ip_network("127.0.0.1/32"),)

# As listed in docs/delivery.md: one of each form, and how the attempt log calls it.
FORMS = {
    "0.0.0.0": "the unspecified address",
    "::": "the unspecified address",
    "127.0.0.1": "a loopback address",
    "::1": "a loopback address",
    "10.1.2.3": "a private address",
    "172.16.0.1": "a private address",
    "192.168.1.1": "a private address",
    "fd12::1": "a private address",
    "169.254.7.7": "a link-local address",
    "fe80::1": "a link-local address",
    "100.64.0.1": "a shared (CGNAT) address",
    "224.0.0.251": "a multicast address",
    "ff02::fb": "a multicast address",
    "192.0.2.1": "a reserved address",
    "240.0.0.1": "a reserved address",
    "255.255.255.255": "a reserved address",
    "2001:db8::1": "a reserved address",
    "2002:7f00:1::": "a loopback address",  # 6to4
    "2002:101:101::": "a 6to4 address",
    "64:ff9b::7f00:1": "a loopback address",  # NAT64
    "64:ff9b::a9fe:a9fe": "a cloud metadata address",
    "::ffff:127.0.0.1": "a loopback address",  # IPv4-mapped
    "::ffff:169.254.169.254": "a cloud metadata address",
    "169.254.169.254": "a cloud metadata address",
    "100.100.100.200": "a cloud metadata address",
    "168.63.129.16": "a cloud metadata address",
    "fd00:ec2::254": "a cloud metadata address",
}


def leads_to(*answers: list[str]) -> Callable[..., Any]:
    """A name service that gives one answer after the other, and the last for ever."""
    remaining = list(answers)

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        addresses = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (families[ip_address(each).version], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each, port))
            for each in addresses
        ]

    return look_up


async def attempts(url: str, sender: HttpSender, count: int = 1) -> list[Outcome]:
    store, clock = WatchedOutbox(), ManualClock()
    outcomes = []
    async with sender:
        await store.add_endpoint(endpoint(url, retry_schedule=(1.0,) * count))
        await store_events(store, [event(1)])
        async with dispatching(store, sender, clock):
            for _ in range(count):
                outcomes.append(await store.next_recorded())
                sender._connectors[""].clear_dns_cache()
                clock.advance(2)
    return outcomes


@asynccontextmanager
async def inside(host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[int]]]:
    """Something that listens inside: its port, and a growing list of who came."""
    visits: list[int] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(1)
        writer.close()

    server = await asyncio.start_server(note, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], visits


def as_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize(("address", "kind"), FORMS.items())
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_addresses_in_urls(scheme: str, address: str, kind: str) -> None:
    (outcome,) = await attempts(f"{scheme}://{as_host(address)}/hook", HttpSender(allow_http=True))
    shown = URL(f"http://{as_host(address)}/").raw_host  # as it is looked up
    assert outcome.attempt.error == f"{shown} is {kind}, {NOT_ALLOWED}"
    assert outcome.due_at is not None, "somebody may allow it meanwhile: it is tried again as any failure"


@pytest.mark.parametrize("address", FORMS)
async def test_names_that_lead_there(address: str) -> None:
    (outcome,) = await attempts("https://inside.example/hook", HttpSender(look_up=leads_to([address])))
    assert outcome.attempt.error == f"inside.example leads to an inside address, {NOT_ALLOWED}"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "LOCALHOST.", "erp.localhost"],
)
async def test_no_spelling_reaches_what_listens_inside(host: str) -> None:
    async with inside() as (port, visits):
        (outcome,) = await attempts(f"http://{host}:{port}/", HttpSender(allow_http=True))
    assert "is a loopback address, and" in outcome.attempt.error
    assert visits == []


async def test_a_second_answer_of_the_name_service_is_judged_as_the_first() -> None:
    """DNS rebinding: a name that led to a receiver leads inside at the next look-up."""
    async with inside("127.0.0.2") as (port, visits), receiver(answer("500 No", "Connection: close")) as allowed:
        look_up = leads_to(["127.0.0.1"], ["127.0.0.2"])
        sender = HttpSender(allow_http=True, allow_networks=HERE, look_up=look_up)
        first, second = await attempts(f"http://turning.example:{allowed}/", sender, 2)
        assert first.attempt.status == 500
        assert second.attempt.error == f"turning.example leads to an inside address, {NOT_ALLOWED}"

        sender = HttpSender(allow_http=True, allow_networks=HERE, look_up=leads_to(["127.0.0.1"], ["127.0.0.2"]))
        _, second = await attempts(f"http://turning.example:{port}/", sender, 2)
        assert "leads to an inside address" in second.attempt.error
    assert visits == []


async def test_a_name_that_leads_to_both_reaches_nothing_inside() -> None:
    """The name service's answer passes, as one of its addresses is allowed; the other one is left out of it."""
    async with inside("127.0.0.2") as (port, visits):
        look_up = leads_to(["127.0.0.2", "127.0.0.1"])
        sender = HttpSender(allow_http=True, allow_networks=HERE, look_up=look_up)
        (outcome,) = await attempts(f"http://both.example:{port}/", sender)
    assert outcome.attempt.status is None
    assert visits == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_redirects_to_the_inside_are_not_followed(status: str) -> None:
    async with (
        inside("127.0.0.2") as (port, visits),
        receiver(answer(status, f"Location: http://127.0.0.2:{port}/")) as there,
    ):
        sender = HttpSender(allow_http=True, allow_networks=HERE)
        (outcome,) = await attempts(f"http://127.0.0.1:{there}/", sender)
    assert "redirects are not followed" in outcome.attempt.error
    assert visits == []


@pytest.mark.parametrize(
    ("network", "allowed"),
    [
        ("10.1.0.0/16", {"10.1.2.3"}),
        ("192.168.1.1/32", {"192.168.1.1"}),
        ("fd12::/48", {"fd12::1"}),
        ("127.0.0.1/32", {"127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}),
        ("127.0.0.2/32", set()),
    ],
)
def test_networks_are_exceptions(network: str, allowed: set[str]) -> None:
    reach = EgressPolicy(networks=(ip_network(network),))
    assert {address for address in FORMS if reach.refusal(address) is None} == allowed


async def test_http_is_refused_before_anything_is_sent() -> None:
    async with inside() as (port, visits):
        (outcome,) = await attempts(f"http://127.0.0.1:{port}/", HttpSender(allow_networks=HERE))
    assert outcome.attempt.error == f"127.0.0.1:{port} is reached by http, and only https is allowed (allow_http)."
    assert visits == []
