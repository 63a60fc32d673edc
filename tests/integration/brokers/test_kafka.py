"""Behaviour of Kafka endpoints that other brokers do not share, on librdkafka's mock cluster."""

from __future__ import annotations

import ast
import asyncio
import ssl
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import aiokafka
import pytest
import trustme
from aiokafka.partitioner import murmur2
from click.testing import CliRunner

from cdc.admin.endpoint_checks import basic, bearer
from cdc.cli.app import cdc
from cdc.dispatch.address import EgressPolicy
from cdc.dispatch.broker import kafka_client
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.retry import is_trouble
from cdc.model.endpoint import Endpoint, Header
from support.broker_servers import INSIDE, send
from support.dispatching import endpoint as any_endpoint
from support.http_faults import Behaviour, receiver
from support.kafka_mock import (
    FORBIDDEN,
    NOT_LEADER,
    PARTITIONS,
    PRODUCE,
    TOO_LARGE,
    UNKNOWN_TOPIC,
    Front,
    Kafka,
    fronted,
)
from support.waiting import HANG_SECONDS

AUTHORITY = trustme.CA()
#: This machine alone, as one of an operator who allows a single network.
THIS_ONE = EgressPolicy(plain=True, networks=(ip_network("127.0.0.1/32"),))
ACCOUNT = (basic("cdc:planted"),)


def endpoint(url: str, headers: tuple[Header, ...] = ()) -> Endpoint:
    """Return one whose attempts have time on a busy machine."""
    return any_endpoint(url, headers=headers, timeout=HANG_SECONDS)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    made = Kafka(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.end()


@pytest.fixture
def server(kept: Kafka) -> Kafka:
    kept.empty()
    return kept


async def test_record_is_the_key_and_chooses_the_partition_as_java_does(server: Kafka) -> None:
    async with BrokerSender(INSIDE, {}) as sender:
        answers = await asyncio.gather(*(send(sender, endpoint(server.url), number) for number in range(20)))
    assert {answer.status for answer in answers} == {200}
    messages = await asyncio.to_thread(server.messages)
    assert len(messages) == 20
    assert len({message.partition() for message in messages}) > 1
    for message in messages:
        key = message.key()
        assert isinstance(key, bytes)
        assert message.partition() == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
    first = messages[0]
    assert f"{first.offset()} in facturascripts.main, partition {first.partition()}".encode() in {
        answer.body for answer in answers
    }


async def test_partition_moves_to_another_broker_while_its_own_is_down(server: Kafka) -> None:
    for partition in range(PARTITIONS):
        server.lead(partition, 2)
    async with BrokerSender(INSIDE, {}) as sender:
        before = await send(sender, endpoint(server.url))
        server.down(2)
        waiting = asyncio.ensure_future(send(sender, endpoint(server.url), 2))
        await asyncio.sleep(0)
        for partition in range(PARTITIONS):
            server.lead(partition, 3)
        after = await waiting
        server.up(2)
    assert (before.status, after.status, after.error) == (200, 200, "")


async def test_temporary_refusal_is_repeated_within_the_attempt(server: Kafka) -> None:
    server.fail_next(PRODUCE, NOT_LEADER, NOT_LEADER)
    async with BrokerSender(INSIDE, {}) as sender:
        answer = await send(sender, endpoint(server.url))
    assert answer.status == 200
    assert len(await asyncio.to_thread(server.got)) == 1


async def test_large_event_is_a_failure_of_the_event_and_the_next_has_its_number(server: Kafka) -> None:
    async with BrokerSender(INSIDE, {}) as sender:
        await send(sender, endpoint(server.url))
        (link,) = sender._links.values()
        connection = link.connection
        assert isinstance(connection, kafka_client.KafkaProducer)
        numbers = connection._sender._txn_manager
        server.fail_next(PRODUCE, TOO_LARGE)
        refused = await send(sender, endpoint(server.url))
        assert sum(numbers._sequence_numbers.values()) == 1
        assert (await send(sender, endpoint(server.url))).status == 200
        assert link.connection is connection
    assert (refused.status, refused.final) == (413, True)
    assert "bytes are more than facturascripts.main takes (max.message.bytes)." in refused.error
    assert not is_trouble(refused)


async def test_missing_topic_and_missing_right_are_clear(server: Kafka) -> None:
    server.fail_topic("nothing", UNKNOWN_TOPIC)
    server.fail_topic("secret", FORBIDDEN)
    start = server.url.rpartition("/")[0]
    async with BrokerSender(INSIDE, {}) as sender:
        missing = await send(sender, endpoint(f"{start}/nothing"))
        unseen = await send(sender, endpoint(f"{start}/secret"))
        server.fail_next(PRODUCE, FORBIDDEN)
        unwritten = await send(sender, endpoint(server.url))
        assert (await send(sender, endpoint(server.url))).status == 200
    assert (missing.status, missing.error) == (404, "Kafka refused the event: it has no topic nothing.")
    assert not is_trouble(missing)
    assert unseen.error == "Kafka refused the event: the user may not write to the topic secret."
    assert unwritten.error == "Kafka refused the event: the user may not write to the topic facturascripts.main."


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_user_and_password_over_tls(server: Kafka, mechanism: str) -> None:
    serving, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    AUTHORITY.issue_cert("localhost").configure_cert(serving)
    AUTHORITY.configure_trust(trusted)
    front = Front(lambda _, port: ("localhost", port), mechanisms=(mechanism,))
    numbered = Front(mechanisms=(mechanism,))
    async with (
        fronted(server, front, serving) as port,
        fronted(server, numbered, serving) as other_port,
        BrokerSender(INSIDE, {}, tls=lambda: trusted) as sender,
    ):
        url = f"kafkas://localhost:{port}/facturascripts.{{source}}"
        good = await send(sender, endpoint(url, headers=ACCOUNT))
        wrong = await send(sender, endpoint(url, headers=(basic("cdc:wrong"),)))
        other_name = await send(sender, endpoint(url.replace("localhost", "127.0.0.1"), headers=ACCOUNT))
        advertised = await send(sender, endpoint(url.replace(str(port), str(other_port)), headers=ACCOUNT))
        token = await send(sender, endpoint(url, headers=(bearer("planted"),)))
    assert (good.status, good.error) == (200, "")
    assert front.heard[-1] == mechanism
    assert wrong.error == "Kafka refused the event: Authentication failed."
    assert other_name.error.startswith(f"The TLS certificate of 127.0.0.1:{port} is not valid: ")
    assert advertised.error.startswith("Kafka refused the event: its cluster advertises a broker at 127.0.0.1:")
    assert "which cannot be reached: IP address mismatch" in advertised.error
    assert token.error == "Kafka refused the event: it takes user and password, and the endpoint has a token."


async def test_password_is_never_shown_without_tls(server: Kafka) -> None:
    front = Front(mechanisms=("PLAIN",))
    async with fronted(server, front) as port, BrokerSender(INSIDE, {}) as sender:
        url = f"kafka://127.0.0.1:{port}/facturascripts.{{source}}"
        plain = await send(sender, endpoint(url, headers=ACCOUNT))
        front.mechanisms = ("PLAIN", "SCRAM-SHA-256")
        scram = await send(sender, endpoint(url, headers=ACCOUNT))
    assert plain.error.startswith("Kafka refused the event: it takes user and password by none of SCRAM-SHA-512, ")
    assert "PLAIN" not in front.heard
    assert scram.status == 200


@pytest.mark.parametrize("rounds", [1, 2_000_000_000])
async def test_rounds_of_the_password_are_bounded(server: Kafka, rounds: int) -> None:
    async with (
        fronted(server, Front(mechanisms=("SCRAM-SHA-256",), rounds=rounds)) as port,
        BrokerSender(INSIDE, {}) as sender,
    ):
        answer = await send(sender, endpoint(f"kafka://127.0.0.1:{port}/x", headers=ACCOUNT))
    assert answer.error == f"Kafka refused the event: it asks for {rounds} rounds of SCRAM, not 4096 to 100000."


@pytest.mark.parametrize(
    ("host", "policy"),
    [
        ("127.0.0.2", THIS_ONE),
        ("0x7f000002", THIS_ONE),
        ("::ffff:127.0.0.2", THIS_ONE),
        ("10.0.0.1", THIS_ONE),
        ("169.254.169.254", INSIDE),
        ("metadata.google.internal", INSIDE),
    ],
)
async def test_address_that_a_broker_names_is_checked(server: Kafka, host: str, policy: EgressPolicy) -> None:
    connected = asyncio.Event()

    async def connect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()

    inside = await asyncio.start_server(connect, "127.0.0.2", 0)
    port = inside.sockets[0].getsockname()[1]
    async with (
        inside,
        fronted(server, Front(lambda _, __: (host, port))) as front,
        BrokerSender(policy, {}) as sender,
    ):
        answer = await send(sender, endpoint(f"kafka://127.0.0.1:{front}/facturascripts.main"))
    assert answer.status is None
    assert "deliveries to such addresses are not allowed" in answer.error
    assert not connected.is_set()


async def test_broker_that_is_named_and_not_there_is_named_in_the_log(server: Kafka) -> None:
    async with fronted(server, Front(lambda _, __: ("127.0.0.1", 1))) as port, BrokerSender(INSIDE, {}) as sender:
        answer = await send(sender, endpoint(f"kafka://127.0.0.1:{port}/x"))
    said = "its cluster advertises a broker at 127.0.0.1:1, which cannot be reached: Connection refused."
    assert (answer.status, answer.error) == (None, f"Kafka refused the event: {said}")


def answers(raw: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(raw)
        await reader.read()

    return behave


async def test_what_a_broker_answers_is_bounded(server: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    async with BrokerSender(INSIDE, {}) as sender:
        async with receiver(answers(b"\x7f\xff\xff\xff")) as port:
            huge = await send(sender, endpoint(f"kafka://127.0.0.1:{port}/x"))
        async with receiver(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
            foreign = await send(sender, endpoint(f"kafka://127.0.0.1:{port}/x"))
        async with receiver(answers(b"\0\0\0\x0a\0\0\0\x01" + b"\xff" * 6)) as port:
            broken = await send(sender, endpoint(f"kafka://127.0.0.1:{port}/x"))
        monkeypatch.setattr(kafka_client, "BROKERS", 2)
        many = await send(sender, endpoint(server.url))
    assert huge.error == "Kafka refused the event: its answer of 2147483647 bytes is longer than 262144."
    assert foreign.error == "Kafka refused the event: its answer of 1213486160 bytes is longer than 262144."
    assert broken.status is None
    assert many.error == "Kafka refused the event: it names 3 brokers, more than 2."


def test_aiokafka_opens_connections_in_the_replaced_places_only() -> None:
    """The library's places: `connect`, and `create_conn`, called by two methods that `_ClusterClient` replaces."""
    opening = {"create_conn", "create_connection", "open_connection", "sock_connect", "AIOKafkaConnection"}
    found = set()
    package = Path(aiokafka.__file__).parent
    for file in package.rglob("*.py"):
        text = file.read_text()
        if not any(f"{name}(" in text for name in opening):
            continue
        for outer in ast.walk(ast.parse(text)):
            if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for inner in ast.walk(outer):
                if isinstance(inner, ast.Call) and ast.unparse(inner.func).rpartition(".")[2] in opening:
                    found.add((str(file.relative_to(package)), outer.name))
    assert found == {
        ("client.py", "bootstrap"),
        ("client.py", "_get_conn"),
        ("conn.py", "create_conn"),
        ("conn.py", "connect"),
    }
    assert {"bootstrap", "_get_conn"} <= vars(kafka_client._ClusterClient).keys()
    assert "connect" in vars(kafka_client._KafkaConnection)


def test_command_line_adds_tests_and_shows_an_endpoint(
    server: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cdc.toml").write_text(
        '[source.main]\nurl = "mysql://cdc@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\nallow_http = true\n'
    )
    added = CliRunner().invoke(cdc, ["endpoint", "add", server.url, "--events", "*"])
    endpoint_id = next(word for word in added.output.split() if word.startswith("ep_"))
    tried = CliRunner().invoke(cdc, ["endpoint", "test", endpoint_id, "--event", "invoice.paid"])
    shown = CliRunner().invoke(cdc, ["endpoint", "show", endpoint_id])
    (got,) = [message for message in server.got() if message.place == "facturascripts.test"]
    assert tried.exit_code == 0, tried.output
    assert (got.headers["X-Webhook-Event"], got.headers["X-Webhook-Test"]) == ("invoice.paid", "true")
    assert server.url in shown.output
