"""Kafka for tests: librdkafka's mock cluster, which is a broker's protocol on real sockets without a disk, and a front
for it with TLS, passwords and false addresses.

The wheel ``confluent-kafka`` brings librdkafka; its functions for the mock cluster are called by ctypes."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import hmac
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import confluent_kafka
from aiokafka.protocol.admin import (
    ApiVersionResponse_v0,
    SaslAuthenticateRequest_v1,
    SaslAuthenticateResponse_v1,
    SaslHandShakeRequest_v1,
    SaslHandShakeResponse_v1,
)
from aiokafka.protocol.metadata import MetadataResponse_v5

from support.broker_servers import BrokerServer, Got
from support.http_faults import receiver
from support.waiting import HANG_SECONDS

PRODUCE, METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 0, 3, 17, 18, 36
NO_ERROR, UNKNOWN_TOPIC, TOO_LARGE, NOT_LEADER, FORBIDDEN, UNSUPPORTED, WRONG_PASSWORD = 0, 3, 10, 6, 29, 33, 58
TOPIC: Final = "facturascripts.main"
PARTITIONS: Final = 4
ROUNDS: Final = 4096
_PRODUCER: Final = 0
_POINTER, _NUMBER, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_FUNCTIONS: Final[dict[str, tuple[Any, list[Any]]]] = {
    "new": (_POINTER, [_NUMBER, _POINTER, _TEXT, ctypes.c_size_t]),
    "conf_new": (_POINTER, []),
    "conf_set": (_NUMBER, [_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t]),
    "destroy": (None, [_POINTER]),
    "mock_cluster_new": (_POINTER, [_POINTER, _NUMBER]),
    "mock_cluster_destroy": (None, [_POINTER]),
    "mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "mock_topic_create": (_NUMBER, [_POINTER, _TEXT, _NUMBER, _NUMBER]),
    "mock_topic_delete": (_NUMBER, [_POINTER, _TEXT]),
    "mock_topic_set_error": (None, [_POINTER, _TEXT, _NUMBER]),
    "mock_broker_set_down": (_NUMBER, [_POINTER, ctypes.c_int32]),
    "mock_broker_set_up": (_NUMBER, [_POINTER, ctypes.c_int32]),
    "mock_partition_set_leader": (_NUMBER, [_POINTER, _TEXT, ctypes.c_int32, ctypes.c_int32]),
    "mock_push_request_errors_array": (
        None,
        [_POINTER, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(_NUMBER)],
    ),
}


@cache
def _library() -> dict[str, Callable[..., Any]]:
    package = Path(confluent_kafka.__file__).parent
    (file,) = package.with_name("confluent_kafka.libs").glob("librdkafka*")
    library = ctypes.CDLL(str(file))
    functions: dict[str, Callable[..., Any]] = {}
    for name, (result, arguments) in _FUNCTIONS.items():
        function = library[f"rd_kafka_{name}"]
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return functions


class Kafka(BrokerServer):
    """Three brokers.  It keeps messages in memory: `kill` cuts all connections and closes the ports, until `start`."""

    name = "kafka"
    ready = ""

    def __init__(self, folder: Path, brokers: int = 3) -> None:
        super().__init__(folder)
        self.brokers = range(1, brokers + 1)
        self.ports: list[int] = []
        self._handle = self._cluster = None
        self._up = False

    def _call(self, name: str, *arguments: Any) -> None:
        assert not _library()[name](self._cluster, *arguments), name

    def command(self, program: Path) -> list[str]:
        raise NotImplementedError("it is no process")

    @property
    def runs(self) -> bool:
        return self._up

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self.port}/facturascripts.{{source}}"

    def start(self) -> None:
        if self._cluster is None:
            library, why = _library(), ctypes.create_string_buffer(500)
            settings = library["conf_new"]()
            assert not library["conf_set"](settings, b"log_level", b"0", why, 500), why.value
            self._handle = library["new"](_PRODUCER, settings, why, 500)
            assert self._handle, why.value
            self._cluster = library["mock_cluster_new"](self._handle, len(self.brokers))
            names = library["mock_cluster_bootstraps"](self._cluster).decode().split(",")
            self.ports = [int(name.rpartition(":")[2]) for name in names]
            self.port = self.ports[0]
        else:
            for broker in self.brokers:
                self.up(broker)
        self._up = True

    def kill(self) -> None:
        for broker in self.brokers:
            self.down(broker)
        self._up = False

    def end(self) -> None:
        if self._cluster is not None:
            _library()["mock_cluster_destroy"](self._cluster)
            _library()["destroy"](self._handle)
            self._cluster = self._handle = None

    def down(self, broker: int) -> None:
        self._call("mock_broker_set_down", broker)

    def up(self, broker: int) -> None:
        self._call("mock_broker_set_up", broker)

    def lead(self, partition: int, broker: int) -> None:
        self._call("mock_partition_set_leader", TOPIC.encode(), partition, broker)

    def fail_topic(self, topic: str, error: int) -> None:
        """Answer so where the topic is asked for; else a topic that is asked for is made."""
        self._call("mock_topic_set_error", topic.encode(), error)

    def fail_next(self, api: int, *errors: int) -> None:
        self._call("mock_push_request_errors_array", api, len(errors), (_NUMBER * len(errors))(*errors))

    def empty(self) -> None:
        _library()["mock_topic_delete"](self._cluster, TOPIC.encode())
        self._call("mock_topic_create", TOPIC.encode(), PARTITIONS, 1)

    def messages(self) -> list[confluent_kafka.Message]:
        """Return all messages, those of a partition in their order."""
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        settings = {"bootstrap.servers": servers, "group.id": "test", "enable.partition.eof": True, "log_level": 0}
        consumer = confluent_kafka.Consumer(settings)
        found = []
        try:
            topics = consumer.list_topics(timeout=HANG_SECONDS).topics.values()
            places = [(topic.topic, number) for topic in topics if not topic.error for number in topic.partitions]
            start = confluent_kafka.OFFSET_BEGINNING
            consumer.assign([confluent_kafka.TopicPartition(*place, start) for place in places])
            ended = 0
            while ended < len(places):
                message = consumer.poll(HANG_SECONDS)
                assert message is not None, "the mock cluster does not answer"
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
                    ended += 1
        finally:
            consumer.close()
        return found

    def got(self) -> list[Got]:
        found = []
        for each in self.messages():
            headers: Any = each.headers() or ()
            value: Any = each.value()
            found.append(Got(each.topic() or "", {name: text.decode() for name, text in headers}, value))
        return found


class Front:
    """A port for each broker of a `Kafka`.  ``advertise``: changes host and port that clients get to know.
    ``mechanisms``: of the user ``cdc`` with the password ``planted``; none: everybody is let in.  ``rounds``: of
    SCRAM.  ``heard``: names of mechanisms that clients asked for."""

    def __init__(
        self,
        advertise: Callable[[str, int], tuple[str, int]] = lambda host, port: (host, port),
        mechanisms: tuple[str, ...] = (),
        rounds: int = ROUNDS,
    ) -> None:
        self.advertise = advertise
        self.mechanisms = mechanisms
        self.rounds = rounds
        self.heard: list[str] = []
        self.ports: dict[int, int] = {}

    async def serve(self, inner: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mechanism, scram = "", b""
        server, to_server = await asyncio.open_connection("127.0.0.1", inner)
        try:
            while True:
                request = await _frame(reader)
                api, version = (int.from_bytes(request[at : at + 2], "big") for at in (0, 2))
                said = request[10 + int.from_bytes(request[8:10], "big") :]
                if api == SASL_HANDSHAKE:
                    mechanism = SaslHandShakeRequest_v1.decode(said).mechanism
                    self.heard.append(mechanism)
                    error = NO_ERROR if mechanism in self.mechanisms else UNSUPPORTED
                    answer = SaslHandShakeResponse_v1(error, list(self.mechanisms)).encode()
                elif api == SASL_AUTHENTICATE:
                    token = SaslAuthenticateRequest_v1.decode(said).sasl_auth_bytes
                    error, reply, scram = self._judge(mechanism, token, scram)
                    words = "Authentication failed" if error else None
                    answer = SaslAuthenticateResponse_v1(error, words, reply, 0).encode()
                else:
                    to_server.write(len(request).to_bytes(4, "big") + request)
                    answer = self._changed(api, version, (await _frame(server))[4:])
                writer.write((len(answer) + 4).to_bytes(4, "big") + request[4:8] + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            to_server.close()
            writer.close()

    def _changed(self, api: int, version: int, answer: bytes) -> bytes:
        if api == API_VERSIONS and version == 0:
            versions: Any = ApiVersionResponse_v0.decode(answer)
            versions.api_versions += [(SASL_HANDSHAKE, 1, 1), (SASL_AUTHENTICATE, 1, 1)]
            return bytes(versions.encode())
        if api == METADATA:
            assert version == MetadataResponse_v5.API_VERSION
            cluster: Any = MetadataResponse_v5.decode(answer)
            cluster.brokers = [
                (node, *self.advertise(host, self.ports[port]), rack) for node, host, port, rack in cluster.brokers
            ]
            return bytes(cluster.encode())
        return answer

    def _judge(self, mechanism: str, token: bytes, state: bytes) -> tuple[int, bytes, bytes]:
        """Return error, answer, and what is remembered for the next token."""
        if mechanism == "PLAIN":
            return (NO_ERROR if token == b"cdc\0cdc\0planted" else WRONG_PASSWORD), b"", b""
        kind = "sha512" if mechanism.endswith("512") else "sha256"
        if not state:
            bare = token.removeprefix(b"n,,")
            salt = b64encode(b"salt of the user").decode()
            first = f"{bare.decode().partition('r=')[1]}{bare.decode().partition('r=')[2]}more,s={salt},i={self.rounds}"
            return NO_ERROR, first.encode(), bare + b"," + first.encode()
        without, _, proof = token.partition(b",p=")
        salted = hashlib.pbkdf2_hmac(kind, b"planted", b"salt of the user", self.rounds)
        stored = hashlib.new(kind, hmac.digest(salted, b"Client Key", kind)).digest()
        whole = state + b"," + without
        signature = hmac.digest(stored, whole, kind)
        key = bytes(one ^ other for one, other in zip(signature, b64decode(proof), strict=True))
        if hashlib.new(kind, key).digest() != stored:
            return WRONG_PASSWORD, b"", b""
        server = hmac.digest(hmac.digest(salted, b"Server Key", kind), whole, kind)
        return NO_ERROR, b"v=" + b64encode(server), b""


async def _frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


@asynccontextmanager
async def fronted(server: Kafka, front: Front, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Give the port of the first broker's front."""
    async with AsyncExitStack() as stack:
        for inner in server.ports:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner: int = inner) -> None:
                await front.serve(inner, reader, writer)

            front.ports[inner] = await stack.enter_async_context(receiver(serve, tls))
        yield front.ports[server.port]
