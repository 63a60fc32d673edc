"""URLs of message brokers: what they name, and what is refused."""

from __future__ import annotations

import pytest

from cdc.dispatch.address import EgressPolicy, check_url
from cdc.model.broker import StreamUrl, broker_url, server_urls, stream_url, subject_problem
from cdc.model.endpoint import origin_of, public_url
from cdc.model.errors import UsageError

PLAIN = EgressPolicy(plain=True)


def test_place_is_filled_with_what_the_event_is() -> None:
    url = broker_url("rediss://Broker.example:7000/12/fs.%C3%B1.{source}.{entity}.{event}")
    assert (url.host, url.port, url.scheme.tls) == ("broker.example", 7000, True)
    assert url.filled("invoice.line.paid", "shop", "facturascli:1") == (
        "12",
        "fs.ñ.shop.invoice.line.invoice.line.paid",
    )


def test_values_are_not_templates() -> None:
    assert (
        broker_url("redis://broker.example/0/{source}.{event}").filled("{source}", "{event}", "")[1]
        == "{event}.{source}"
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
        "nats://one.example,,two.example/x",
        "nats://one.example,two.example:99999/x",
        "nats://one.example,user:hunter2@two.example/x",
    ],
)
def test_unusable_urls_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_url(url, PLAIN)
    assert "hunter2" not in str(caught.value)


def test_several_servers_of_one_broker() -> None:
    url = "tls://one.example,two.example:4223,[2001:4860::1]/fs.{source}"
    assert check_url(url, PLAIN) == public_url(url) == url
    assert [broker_url(each).where for each in server_urls(url)] == [
        "one.example:4222", "two.example:4223", "[2001:4860::1]:4222"
    ]  # fmt: skip
    assert origin_of(url) == "tls://one.example:4222"


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.1/0/x",
        "rediss://localhost/0/x",
        "rediss://169.254.169.254/0/x",
        "nats://one.example,10.0.0.1/x",
        "tls://8.8.8.8,[::1]:1/x",
    ],
)
def test_inside_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="leads to"):
        check_url(url, PLAIN)


def test_without_tls_it_must_be_allowed() -> None:
    with pytest.raises(UsageError, match="is redis: anyone on the way"):
        check_url("redis://broker.example/0/x", EgressPolicy())
    assert check_url("rediss://broker.example/0/x", EgressPolicy()) == "rediss://broker.example/0/x"
    assert check_url("redis://broker.example/0/x", PLAIN) == public_url("redis://broker.example/0/x")


def test_record_is_one_token_of_a_subject() -> None:
    url = broker_url("nats://broker.example/fs.{source}.{record}")
    assert url.filled("invoice.paid", "shop", "facturascli:12") == ("fs.shop.facturascli:12",)
    assert url.filled("invoice.paid", "shop", "clientes:a.b ñ*>") == ("fs.shop.clientes:a%2Eb%20%C3%B1%2A%3E",)
    assert len(url.filled("invoice.paid", "shop", "ñ" * 5000)[0]) < 300


def test_stream_url() -> None:
    url = stream_url("tls://cdc:p%40ss@one.example,two.example:4333,[::1]:1/EVENTS")
    assert url == StreamUrl(True, (("one.example", 4222), ("two.example", 4333), ("::1", 1)), "EVENTS", "cdc", "p@ss")
    assert url.where == "EVENTS at one.example:4222,two.example:4333,[::1]:1"


@pytest.mark.parametrize(
    "url",
    [
        "nats://broker.example",
        "nats://broker.example/",
        "nats://broker.example/a.b",
        "nats://broker.example/a/b",
        "nats://broker.example:99999/EVENTS",
        "nats://one.example,,two.example/EVENTS",
        "nats://:hunter2@broker.example/EVENTS",
        "redis://broker.example/EVENTS",
        "broker.example/EVENTS",
    ],
)
def test_url_that_names_no_stream(url: str) -> None:
    with pytest.raises(UsageError) as error:
        stream_url(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("subject", "right"), [
    ("fs.>", True), ("fs.*.x", True), ("*", True), (">", True), ("fs", True),
    ("", False), ("fs..x", False), ("fs.>.x", False), ("fs x", False), ("$JS.x", False), ("fs.a*", False), (".", False),
])  # fmt: skip
def test_subjects_of_a_source(subject: str, right: bool) -> None:
    assert (subject_problem(subject) == "") is right
