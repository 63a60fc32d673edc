"""URLs of message brokers: what they name, and what is refused."""

from __future__ import annotations

import pytest

from cdc.dispatch.address import EgressPolicy, check_url, public_url
from cdc.model.broker import broker_url
from cdc.model.endpoint import origin_of
from cdc.model.errors import UsageError

PLAIN = EgressPolicy(plain=True)


def test_place_is_filled_with_what_the_event_is() -> None:
    url = broker_url("rediss://Broker.example:7000/12/fs.%C3%B1.{source}.{entity}.{event}")
    assert (url.host, url.port, url.scheme.tls) == ("broker.example", 7000, True)
    assert url.filled("invoice.line.paid", "shop") == ("12", "fs.ñ.shop.invoice.line.invoice.line.paid")


def test_values_are_not_templates() -> None:
    assert (
        broker_url("redis://broker.example/0/{source}.{event}").filled("{source}", "{event}")[1] == "{event}.{source}"
    )


def test_port_of_the_scheme_is_part_of_the_origin() -> None:
    assert origin_of("rediss://broker.example/0/x") == origin_of("rediss://broker.example:6379/1/y")
    assert origin_of("redis://broker.example/0/x") != origin_of("rediss://broker.example/0/x")


@pytest.mark.parametrize(
    "url",
    [
        "redis://broker.example",
        "redis://broker.example/",
        "redis://broker.example/0",
        "redis://broker.example/0/",
        "redis://broker.example//stream",
        "redis://broker.example/one/stream",
        "redis://broker.example/²/stream",
        "redis://broker.example/{source}/stream",
        "redis://broker.example/0/stream/more",
        "redis://broker.example/0/stream?maxlen=1",
        "redis://broker.example/0/stream#x",
        "redis://broker.example/0/{record}",
        "redis://broker.example/0/{source",
        "redis://broker.example/0/{{source}}",
        "redis://broker.example/0/{source.__class__}",
        "redis://broker.example/0/a%0d%0ab",
        "redis://broker.example:99999/0/stream",
        "redis://user:hunter2@broker.example/0/stream",
        "redis:///0/stream",
        "amqp://broker.example/%2F/exchange",
        "amqp://broker.example/%2F//key",
        "amqp://broker.example/{source}/exchange/key",
        "kafka://broker.example/",
        "kafka://broker.example/a/b",
        "kafka://broker.example/..",
        "kafka://broker.example/a%20b",
        "kafka://broker.example/" + "x" * 250,
        "nats://broker.example/",
        "nats://broker.example/a..b",
        "nats://broker.example/a.",
        "nats://broker.example/a.*",
        "nats://broker.example/a.%3E",
        "nats://broker.example/a%20b",
        "tls://broker.example/$JS.API.STREAM.DELETE.x",
    ],
)
def test_unusable_urls_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_url(url, PLAIN)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://10.0.0.1/0/x", "rediss://localhost/0/x", "rediss://169.254.169.254/0/x"])
def test_inside_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="leads to"):
        check_url(url, PLAIN)


def test_without_tls_it_must_be_allowed() -> None:
    with pytest.raises(UsageError, match="is redis: anyone on the way"):
        check_url("redis://broker.example/0/x", EgressPolicy())
    assert check_url("rediss://broker.example/0/x", EgressPolicy()) == "rediss://broker.example/0/x"
    assert check_url("redis://broker.example/0/x", PLAIN) == public_url("redis://broker.example/0/x")
