"""A receiver's misbehaviour: each kind gives the documented attempt record and next time, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme

from cdc.dispatch.sender import HttpSender
from cdc.model.delivery import DeliveryState, DeliveryView, Outcome
from cdc.model.endpoint import EndpointChange
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.http_faults import Behaviour, answer, deaf, drips, hangs, receiver, refusing, resets, says, streams
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS

LATER = START + timedelta(minutes=7)


class Attempted:
    """What one attempt left behind: the outcome as recorded, and delivery and endpoint as the outbox has them."""

    def __init__(self, outcome: Outcome, delivery: DeliveryView, enabled: bool) -> None:
        self.outcome = outcome
        self.attempt = outcome.attempt
        self.delivery = delivery
        self.enabled = enabled


async def attempt_once(url: str, sender: HttpSender | None = None, **changes: Any) -> Attempted:
    store, clock = WatchedOutbox(), ManualClock()
    await store.add_endpoint(endpoint(url, **changes))
    await store_events(store, [event(1)])
    async with sender or HttpSender(allow_private=True) as open_sender, dispatching(store, open_sender, clock):
        outcome = await store.next_recorded()
        delivery = await store.delivery(outcome.attempt.delivery_id)
        found = await store.endpoint("ep_1")
    assert delivery is not None
    assert found is not None
    assert await store.attempts(delivery.id) == [outcome.attempt]
    return Attempted(outcome, delivery, found.enabled)


async def attempt_at(behaviour: Behaviour, **changes: Any) -> Attempted:
    async with receiver(behaviour) as port:
        return await attempt_once(f"http://127.0.0.1:{port}/hook?token=s3cr3t", **changes)


def assert_retried(found: Attempted, status: int | None, error: str, seconds: float = 5) -> None:
    """A failed first attempt: its record, and the delivery due again ``seconds`` from now."""
    assert found.attempt.number == 1
    assert found.attempt.status == status
    assert found.attempt.started_at == START
    assert found.attempt.event_id == "evt_1"
    assert found.attempt.event_name == "invoice.paid"
    assert error in found.attempt.error
    assert found.attempt.error.endswith(".")
    assert "s3cr3t" not in found.attempt.error + found.attempt.url
    assert found.delivery.state is DeliveryState.PENDING
    assert found.delivery.due_at == START + timedelta(seconds=seconds)
    assert found.enabled


async def test_refused() -> None:
    async with refusing() as port:
        found = await attempt_once(f"http://127.0.0.1:{port}/")
    assert_retried(found, None, f"127.0.0.1:{port} refused the connection")


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_reset_before_and_within_the_head(after: bytes) -> None:
    found = await attempt_at(resets(after))
    assert_retried(found, None, "reset the connection")


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_closed_before_and_within_the_head(after: bytes) -> None:
    found = await attempt_at(says(after))
    assert_retried(found, None, "closed the connection before it answered")


@pytest.mark.parametrize("behaviour", [hangs, deaf, drips(b"HTTP/1.1 200 O"), drips(b"HTTP/1.1 200 OK\r\nX-Slow: ")])
async def test_hanging_and_dripping_heads_time_out(behaviour: Behaviour) -> None:
    found = await attempt_at(behaviour, timeout=0.25)
    assert_retried(found, None, "did not answer within 0.25 s")
    assert 0.25 <= found.attempt.duration < 2


async def test_a_body_that_nobody_reads_times_out() -> None:
    """The request is larger than what the socket buffers hold, and the receiver reads none of it."""
    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(deaf) as port:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/", timeout=0.25))
        await store_events(store, [event(1)._replace(data={"text": "x" * 20_000_000})])
        async with HttpSender(allow_private=True) as sender, dispatching(store, sender, clock):
            outcome = await store.next_recorded()
    assert "did not answer within 0.25 s" in outcome.attempt.error


@pytest.mark.parametrize("status", ["500 Internal Server Error", "404 Not Found", "429 Too Many Requests", "503 Busy"])
async def test_error_statuses(status: str) -> None:
    found = await attempt_at(answer(status, body=b'{"error": "no"}'))
    assert_retried(found, int(status[:3]), f"answered {status[:3]} ")
    assert found.attempt.answer == '{"error": "no"}'


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 5), ("3600", 3600), (format_datetime(LATER, usegmt=True), 420), ("99999999", 86400), ("soon", 5)],
)
async def test_retry_after_in_both_forms(status: str, value: str, seconds: float) -> None:
    found = await attempt_at(answer(status, f"Retry-After: {value}"))
    assert_retried(found, int(status[:3]), f"answered {status[:3]}", seconds)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_redirects_are_not_followed(status: str) -> None:
    visited: list[bytes] = []

    async def inside(reader: Any, _: Any) -> None:
        visited.append(await reader.readline())

    async with receiver(inside) as elsewhere:
        found = await attempt_at(answer(status, f"Location: http://127.0.0.1:{elsewhere}/admin"))
    assert_retried(found, int(status[:3]), "redirects are not followed")
    assert visited == []


async def test_gone_disables_the_endpoint_and_keeps_the_delivery() -> None:
    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(answer("410 Gone")) as port, receiver(answer("204 No Content")) as working:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/"))
        await store_events(store, [event(1)])
        async with HttpSender(allow_private=True) as sender, dispatching(store, sender, clock) as dispatcher:
            outcome = await store.next_recorded()
            assert outcome.state is DeliveryState.PENDING
            assert outcome.attempt.error == "The endpoint answered 410 Gone and was disabled."
            found = await store.endpoint("ep_1")
            assert found is not None
            assert not found.enabled
            assert "410" in found.disabled_reason
            clock.advance(3600)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.recorded.get(), 0.1)
            await store.change_endpoint("ep_1", EndpointChange(url=f"http://127.0.0.1:{working}/", enabled=True))
            dispatcher.notify()
            outcome = await store.next_recorded()
            while outcome.attempt.status == 410:  # the old URL, once more: it must not disable the mended endpoint
                outcome = await store.next_recorded()
    assert outcome.state is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 %s\r\n\r\n", b"HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"]
)
@pytest.mark.parametrize("status", [b"200 OK", b"500 Internal Server Error"])
async def test_endless_bodies_are_cut_at_a_thousand_bytes(head: bytes, status: bytes) -> None:
    found = await attempt_at(streams(head % status))
    assert found.attempt.status == int(status[:3])
    assert len(found.attempt.answer) == 1000
    assert found.attempt.answer.startswith("0123456789abcdef")
    expected = DeliveryState.DELIVERED if status == b"200 OK" else DeliveryState.PENDING
    assert found.delivery.state is expected


async def test_a_huge_body_is_cut_and_its_text_decoded_with_replacement() -> None:
    found = await attempt_at(answer("200 OK", body=b"\xff\x00" + "é".encode() * 3_000_000))
    assert found.attempt.answer == "\ufffd\ufffd" + "é" * 499
    assert found.delivery.state is DeliveryState.DELIVERED


async def test_a_dripping_body_does_not_undo_a_success() -> None:
    found = await attempt_at(drips(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nstart"), timeout=0.6)
    assert found.delivery.state is DeliveryState.DELIVERED
    assert found.attempt.answer.startswith("startx")
    assert found.attempt.duration < 0.5


async def test_a_broken_body_does_not_undo_a_success() -> None:
    found = await attempt_at(resets(b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\nhalf"))
    assert found.delivery.state is DeliveryState.DELIVERED
    assert found.attempt.status == 201


@pytest.mark.parametrize(
    "raw",
    [b"SSH-2.0-OpenSSH_9.9\r\n", b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n:\r\n\r\n"],
)
async def test_garbage(raw: bytes) -> None:
    found = await attempt_at(says(raw))
    assert_retried(found, None, "answered with something that is not HTTP")


async def test_a_head_without_end() -> None:
    async def endless_head(_: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 4000 + b"\r\n")
            await writer.drain()

    found = await attempt_at(endless_head)
    assert_retried(found, None, "not HTTP")


async def test_a_server_that_speaks_first_is_not_connected_to_without_end() -> None:
    """Such as one of SMTP or SSH."""
    connections = 0

    async def greet(_: Any, writer: Any) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()

    found = await attempt_at(greet)
    assert_retried(found, None, "not HTTP")
    assert connections <= 8


async def test_an_encoded_body_is_kept_as_it_came() -> None:
    """A bomb of compressed zeros is never unpacked."""
    found = await attempt_at(answer("200 OK", "Content-Encoding: gzip", body=b"not gzip at all"))
    assert found.attempt.answer == "not gzip at all"
    assert found.delivery.state is DeliveryState.DELIVERED


async def test_dead_letter_after_the_last_attempt() -> None:
    store, clock = WatchedOutbox(), ManualClock()
    times: list[float] = []
    async with receiver(answer("500 Internal Server Error")) as port:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/"))
        await store_events(store, [event(1)])
        async with HttpSender(allow_private=True) as sender, dispatching(store, sender, clock):
            outcome = await store.next_recorded()
            while outcome.state is DeliveryState.PENDING:
                assert outcome.due_at is not None
                times.append((outcome.due_at - clock.now()).total_seconds())
                clock.advance(times[-1])
                outcome = await store.next_recorded()
    assert times == [5, 25, 125, 625, 3125]
    assert outcome.state is DeliveryState.DEAD
    assert outcome.attempt.number == 6


@asynccontextmanager
async def tls_receiver(cert: trustme.LeafCert) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(context)
    async with receiver(answer("204 No Content"), context) as port:
        yield port


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_good_tls() -> None:
    authority = trustme.CA()
    async with tls_receiver(authority.issue_cert("localhost")) as port:
        found = await attempt_once(
            f"https://localhost:{port}/", HttpSender(allow_private=True, tls=trusting(authority)), timeout=HANG_SECONDS
        )
    assert found.delivery.state is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    ("names", "expires", "trusted", "reason"),
    [
        ("localhost", datetime(2020, 1, 1, tzinfo=UTC), True, "certificate has expired"),
        ("other.example", None, True, "Hostname mismatch"),
        ("localhost", None, False, "unable to get local issuer certificate"),
    ],
)
async def test_bad_certificates(names: str, expires: datetime | None, trusted: bool, reason: str) -> None:
    authority = trustme.CA()
    context = trusting(authority) if trusted else ssl.create_default_context()
    async with tls_receiver(authority.issue_cert(names, not_after=expires)) as port:
        found = await attempt_once(
            f"https://localhost:{port}/", HttpSender(allow_private=True, tls=context), timeout=HANG_SECONDS
        )
    assert_retried(found, None, f"The TLS certificate of localhost:{port} is not valid: ")
    assert reason in found.attempt.error


async def test_no_tls_spoken() -> None:
    async def plain(_: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with receiver(plain) as port:
        found = await attempt_once(f"https://127.0.0.1:{port}/", timeout=HANG_SECONDS)
    assert_retried(found, None, f"TLS with 127.0.0.1:{port} failed: ")


async def test_a_name_that_does_not_resolve() -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    found = await attempt_once("https://gone.example/", HttpSender(look_up=unknown), timeout=HANG_SECONDS)
    assert_retried(found, None, "The host name gone.example cannot be looked up: Name or service not known")


def test_the_same_sentences_on_uvloop() -> None:
    """The product runs on uvloop where it exists: its errors must read the same."""
    uvloop = pytest.importorskip("uvloop", reason="not made for this platform")
    authority = trustme.CA()

    async def bad_certificate() -> Attempted:
        async with tls_receiver(authority.issue_cert("other.example")) as port:
            sender = HttpSender(allow_private=True, tls=trusting(authority))
            return await attempt_once(f"https://localhost:{port}/", sender, timeout=HANG_SECONDS)

    async def refused() -> Attempted:
        async with refusing() as port:
            return await attempt_once(f"http://127.0.0.1:{port}/")

    async def inside() -> Attempted:
        return await attempt_once("http://127.0.0.1:9/", HttpSender(allow_http=True), timeout=HANG_SECONDS)

    cases = [
        (refused(), "refused the connection"),
        (attempt_at(resets()), "reset the connection"),
        (attempt_at(resets(b"HTTP/1.1 20")), "reset the connection"),
        (attempt_at(says(b"")), "closed the connection before it answered"),
        (attempt_at(hangs, timeout=0.25), "did not answer within 0.25 s"),
        (attempt_at(says(b"SSH-2.0-OpenSSH_9.9\r\n")), "not HTTP"),
        (bad_certificate(), "is not valid: Hostname mismatch"),
        (inside(), "is a loopback address"),
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for case, error in cases:
            assert_retried(runner.run(case), None, error)
        found = runner.run(attempt_at(streams(b"HTTP/1.1 200 OK\r\n\r\n")))
        assert found.delivery.state is DeliveryState.DELIVERED
