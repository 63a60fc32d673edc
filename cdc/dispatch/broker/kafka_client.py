"""Kafka: a message in a topic, with the record as its key, stored by all replicas in sync (``acks=all``) of an
idempotent producer.

A client of Kafka connects to the addresses that brokers name.  `_KafkaConnection` opens every socket, to an address
that the policy has allowed.  ``aiokafka``'s producer would make connections of its own, so its parts are put together
here."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any, Final, NoReturn

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import READER_LIMIT, AIOKafkaConnection, AIOKafkaProtocol, ScramAuthenticator
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from cdc.dispatch.address import AddressRefused
from cdc.dispatch.broker.base import BrokerRefused, Message, Target, too_large
from cdc.dispatch.failure import error_detail
from cdc.dispatch.sender import Deadline

#: The longest answer that is read (bytes), and the most brokers of a cluster: what a broker sends costs memory and
#: time here.  Metadata of 3,000 partitions fit.
ANSWER_BYTES: Final = 256 * 1024
BROKERS: Final = 100
#: Rounds of the password's derivation that a broker may ask for: at least the standard's, at most a tenth of a second.
ROUNDS: Final = range(4096, 100_001)
#: Seconds between two questions about the cluster, and before a failed step is repeated.
PACE: Final = 0.2
#: Answers without a topic until it is missing: brokers may need a moment to create one.
TRIES: Final = 5
#: Messages of one request to a partition take no more bytes; a larger message goes alone.
_BATCH_BYTES: Final = 16 * 1024
_NO_LIMIT: Final = 2**31 - 1
#: By strength; PLAIN shows the password to the broker, or without TLS to anyone on the way.
_SCRAM: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256")
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
#: Errors of a message or its topic, which leave the connection as it is.
_OF_THE_EVENT: Final = (*_TOO_LARGE, TopicAuthorizationFailedError)
#: What no topic may hold; values that fill a template may.
_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9._-]")

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the delivery log has each failure


class _BoundedReader(asyncio.StreamReader):
    """Reads answers up to a size."""

    async def readexactly(self, n: int) -> bytes:
        if not 0 <= n <= ANSWER_BYTES:
            raise BrokerRefused(None, f"its answer of {n} bytes is longer than {ANSWER_BYTES}")
        return await super().readexactly(n)


class _Scram(ScramAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        if iterations not in ROUNDS:
            raise BrokerRefused(None, f"it asks for {iterations} rounds of SCRAM, not {ROUNDS[0]} to {ROUNDS[-1]}")
        super().create_salted_password(salt, iterations)


class _KafkaConnection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection to a checked address, with TLS for the name of its host."""

    def __init__(self, target: Target, mechanism: str | None, on_close: Callable[..., None]) -> None:
        super().__init__(
            target.host,
            target.port,
            client_id="facturascripts-cdc",
            request_timeout_ms=ceil(target.seconds * 1000),
            security_protocol="SASL_SSL" if target.tls else "SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_plain_username=target.user,
            sasl_plain_password=target.password,
            on_close=on_close,
        )
        self._tls = target.tls
        self._address = target.address

    async def connect(self) -> None:
        """Connect to the checked address instead of the name, with the bounded reader; a handshake needs a password."""
        loop = self._loop
        self._closed_fut = loop.create_future()
        reader = _BoundedReader(limit=READER_LIMIT, loop=loop)
        protocol = AIOKafkaProtocol(self._closed_fut, reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol,
            self._address,
            self._port,
            ssl=self._tls,
            server_hostname=self._host if self._tls is not None else None,
        )
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._reader, self._protocol = reader, protocol
        self._read_task = self._create_reader_task()
        await self._do_version_lookup()
        if self._sasl_mechanism is not None:
            await self._do_sasl_handshake()

    def authenticator_scram(self) -> _Scram:
        return _Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    def abort(self) -> None:
        """Cut the connection: nothing that is buffered is sent."""
        writer = self._writer
        self._on_close_cb = None
        self.close()
        if writer is not None:
            writer.transport.abort()


class _ClusterClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """Knows the cluster, and opens connections to its brokers.  ``ended``: the error that no repetition can change.
    ``trouble``: why the last broker could not be reached."""

    def __init__(self, target: Target) -> None:
        super().__init__(
            bootstrap_servers=[],
            request_timeout_ms=ceil(target.seconds * 1000),
            retry_backoff_ms=ceil(PACE * 1000),
        )
        self._target = target
        self._mechanisms = _mechanisms(target)
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next_update = 0.0
        self.ended: asyncio.Future[Exception] = self._loop.create_future()
        self.trouble: Exception = ConnectionResetError(errno.ECONNRESET, "connection closed")
        self.cluster.add_listener(self._keep_known)

    async def bootstrap(self) -> None:
        connection = await self._opened(self._target)
        try:
            self.cluster.update_metadata(await connection.send(MetadataRequest([])))
        finally:
            connection.abort()
        if self.ended.done():
            self.give_up()
        if not self.cluster.brokers():
            raise BrokerRefused(None, "it names no broker of its cluster")
        self._sync_task = self._loop.create_task(self._md_synchronizer())

    async def partitions(self, topic: str) -> list[int]:
        """Return those of a topic, in their order.  Raises `BrokerRefused` where there is no such topic."""
        answers = 0
        while not (found := self.cluster.partitions_for_topic(topic)):
            if topic in self.cluster.unauthorized_topics:
                raise BrokerRefused(None, f"the user may not write to the topic {topic}")
            if answers == TRIES:
                self._topics.discard(topic)
                raise BrokerRefused(404, f"it has no topic {topic}")
            self._topics.add(topic)
            answers += bool(await self.force_metadata_update())
        return sorted(found)

    def give_up(self) -> NoReturn:
        raise self.ended.result()

    def end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    def abort(self) -> list[asyncio.Task[Any]]:
        """Cut all connections.  Return the tasks that still run."""
        self.end(ConnectionResetError(errno.ECONNRESET, "connection closed"))
        for connection in self._conns.values():
            connection.abort()
        return [] if self._sync_task is None else [self._sync_task]

    def _keep_known(self, _: object) -> None:
        brokers = {broker.nodeId for broker in self.cluster.brokers()}
        if len(brokers) > BROKERS:
            self.end(BrokerRefused(None, f"it names {len(brokers)} brokers, more than {BROKERS}"))
        for key in [key for key in self._conns if key[0] not in brokers]:
            self._conns.pop(key).abort()

    async def _metadata_update(self, cluster_metadata: Any, topics: set[str]) -> bool:
        """Ask for the topics in use, at a pace: the original asks for all where there are none, and without a pause."""
        await asyncio.sleep(self._next_update - self._loop.time())
        self._next_update = self._loop.time() + PACE
        try:
            return bool(topics) and await super()._metadata_update(cluster_metadata, topics)
        except Exception as error:  # noqa: BLE001 - a broker may send any bytes; the error becomes the reason of the failed attempt
            self.end(_failure(error))
            return False

    async def _get_conn(self, node_id: int, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:  # noqa: ARG002 - the signature of the method that aiokafka calls
        """Return a connection to a broker, or None after a pause."""
        key = (node_id, group)
        async with self._locks[node_id]:
            connection = self._conns.get(key)
            if connection is not None and connection.connected():
                return connection
            if connection is not None:
                self._conns.pop(key).abort()
            broker = self.cluster.broker_metadata(node_id)
            if broker is not None and not self.ended.done():
                try:
                    with Deadline(self._target.seconds / 3):  # so that there is time for another broker
                        self._conns[key] = await self._to(broker.host, broker.port)
                except (AddressRefused, BrokerRefused) as error:
                    self.end(error)
                except Exception as error:  # noqa: BLE001 - any error means that this broker cannot be reached now
                    where = f"its cluster advertises a broker at {_shown(broker.host)}:{broker.port}"
                    self.trouble = BrokerRefused(None, f"{where}, which cannot be reached: {_detail(_failure(error))}")
                else:
                    return self._conns[key]
        await asyncio.sleep(PACE)
        self.force_metadata_update()
        return None

    async def _to(self, host: str, port: int) -> _KafkaConnection:
        if not host or _shown(host) != host:
            raise BrokerRefused(None, "it names a broker that has no valid host")
        address = await self._target.look_up(host, port)
        return await self._opened(replace(self._target, host=host, address=address, port=port))

    async def _opened(self, target: Target) -> _KafkaConnection:
        """Connect, with the strongest mechanism that the broker takes."""
        for mechanism in self._mechanisms:
            connection = _KafkaConnection(target, mechanism, self._on_connection_closed)
            try:
                await connection.connect()
            except UnsupportedSaslMechanismError:
                connection.abort()
            except BaseException:
                connection.abort()
                raise
            else:
                self._mechanisms = (mechanism,)
                return connection
        names = ", ".join(str(each) for each in self._mechanisms)
        raise BrokerRefused(None, f"it takes user and password by none of {names}")


class _Sender(Sender):  # type: ignore[misc]  # aiokafka has no types
    """Sends batches.  Where a broker takes none of one, the next has its number: the original would leave a gap, after
    which brokers take nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.requests: set[asyncio.Task[Any]] = set()

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        task = asyncio.current_task()
        assert task is not None, "requests are tasks"
        self.requests.add(task)
        task.add_done_callback(self.requests.discard)
        await super()._send_produce_req(node_id, batches)
        for partition, batch in batches.items():
            if batch.future.done() and isinstance(batch.future.exception(), _OF_THE_EVENT):
                self._txn_manager.increment_sequence_number(partition, -batch.record_count)

    async def identify(self) -> None:
        """Get the number of an idempotent producer, from the first broker that can be reached."""
        brokers = list(self.client.cluster.brokers())
        random.shuffle(brokers)
        for broker in brokers:
            if await self._do_init_pid(broker.nodeId):
                return
            if self.client.ended.done():
                self.client.give_up()
        raise self.client.trouble


class KafkaProducer:
    """A `cdc.dispatch.broker.base.BrokerConnection`."""

    def __init__(self, target: Target) -> None:
        self._client = _ClusterClient(target)
        self._seconds = target.seconds
        numbers = TransactionManager(None, _NO_LIMIT)
        self._waiting = MessageAccumulator(
            self._client.cluster, _BATCH_BYTES, 0, target.seconds, txn_manager=numbers, loop=asyncio.get_running_loop()
        )
        self._sender = _Sender(
            self._client,
            acks=-1,
            txn_manager=numbers,
            message_accumulator=self._waiting,
            retry_backoff_ms=ceil(PACE * 1000),
            request_timeout_ms=ceil(target.seconds * 1000),
        )
        self._partitioner = DefaultPartitioner()

    async def open(self) -> None:
        try:
            await self._client.bootstrap()
            await self._sender.identify()
            await self._sender.start()
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception):
                raise _failure(error) from error
            raise

    @property
    def closed(self) -> bool:
        return self._client.ended.done() or self._sender.sender_task.done()

    async def publish(self, message: Message) -> str:
        topic = _NOT_IN_TOPICS.sub("_", message.place[0])
        sending = asyncio.ensure_future(self._send(topic, message))
        both: set[asyncio.Future[Any]] = {sending, self._client.ended}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            stored = sending.result() if sending.done() else self._client.give_up()
        except _TOO_LARGE as error:
            raise too_large(f"{len(message.body)} bytes are more than {topic} takes (max.message.bytes)") from error
        except TopicAuthorizationFailedError as error:
            raise BrokerRefused(None, f"the user may not write to the topic {topic}") from error
        except BrokerRefused:
            raise
        except Exception as error:
            self._client.end(ConnectionResetError(errno.ECONNRESET, "connection closed"))
            raise _failure(error) from error
        finally:
            sending.cancel()
        return f"{stored.offset} in {topic}, partition {stored.partition}"

    async def _send(self, topic: str, message: Message) -> Any:
        key = message.key.encode()
        partition = self._partitioner(key, await self._client.partitions(topic), [])
        headers = [(name, value.encode()) for name, value in message.headers.items()]
        return await (
            await self._waiting.add_message(
                TopicPartition(topic, partition), key, message.body, self._seconds, headers=headers
            )
        )

    async def close(self) -> None:
        running = [*self._client.abort(), *self._sender.requests]
        if self._sender.sender_task is not None:
            running.append(self._sender.sender_task)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _mechanisms(target: Target) -> tuple[str | None, ...]:
    if target.token:
        raise BrokerRefused(None, "it takes user and password, and the endpoint has a token")
    if not target.user:
        return (None,)
    return _SCRAM if target.tls is None else (*_SCRAM, "PLAIN")


def _failure(error: Exception) -> Exception:
    """Return the error that an attempt ends with."""
    if isinstance(error.__cause__, BrokerRefused):
        return error.__cause__
    if isinstance(error, KafkaConnectionError | NodeNotReadyError):
        return ConnectionResetError(errno.ECONNRESET, "connection closed")
    if isinstance(error, BrokerResponseError):
        return BrokerRefused(
            None, _shown(str(error.args[0]).rstrip(".") if error.args and error.args[0] else error.message)
        )
    if isinstance(error, OSError | BrokerRefused):
        return error
    return BrokerRefused(None, f"its answer is not one of Kafka ({type(error).__name__})")


def _detail(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return error.reason if isinstance(error, BrokerRefused) else error_detail(error)


def _shown(text: str) -> str:
    """Return words of a broker as a log can show them."""
    return "".join(each if each.isprintable() else "?" for each in text[:255])


async def connect(target: Target) -> KafkaProducer:
    opened = KafkaProducer(target)
    await opened.open()
    return opened
