"""NATS JetStream: a message on a subject, confirmed by the stream that stores it.  ``Nats-Msg-Id`` is the event's id:
a stream drops a repetition within its duplicate window.  A delivery that is replayed within it is published under an id
of its own, which its retries have too.

A stream is also read here, for sources: by a consumer that the server forgets with the connection.  The reader knows
its place, so nothing is acknowledged."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections import deque
from collections.abc import Coroutine, Sequence
from math import ceil
from secrets import token_hex
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error, SecureConnRequiredError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck, RetentionPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from cdc.dispatch.broker.base import BrokerRefused, Message, Target, too_large
from cdc.dispatch.failure import error_detail, system_error
from cdc.model.broker import RECORD_HEADER, StreamMessage, StreamState, StreamUrl, record_token
from cdc.model.errors import SourceError, SourceUnavailable

#: What no subject may hold; values that fill a template may.
_NOT_IN_SUBJECTS: Final = re.compile(r"[\s*>]")
#: JetStream's answer where no stream listens to a subject, or its servers have no leader yet.
_UNAVAILABLE: Final = 503
#: JetStream's error code (JSStreamMessageExceedsMaximumErr) for a message above the stream's max_msg_size.
_LARGER_THAN_THE_STREAM: Final = 10054
#: Subject by which a stored message is read, in small letters.
_READING: Final = "$js.api.stream.msg.get."
#: Bytes of a header besides name and value, and of the block of them.
_AROUND, _AROUND_ALL = 4, 12
#: Seconds between signs of life of a consumer that has no message, and without one until it counts as gone.
_HEARTBEAT, _SILENT = 1.0, 6.0
#: Seconds that connecting to a server, or its answer, may take.
_SECONDS: Final = 5.0
#: Messages that wait to be stored; with more the server is asked for no more.
_MOST_WAITING: Final = 4000
_CONTROL: Final = "100"
_T = TypeVar("_T")


class _CheckedClient(Client):
    """A client that tries its one server once, and stays with it.  ``encrypted``: without TLS it says nothing, where
    the original would send user and password to a server that does not ask for TLS."""

    encrypted = False

    async def _select_next_server(self) -> None:
        server = self._server_pool[0]
        await self._connect_to_server(server)
        self._current_server = server

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self.encrypted and not info.get("tls_required"):
            raise SecureConnRequiredError
        await super()._process_info({**info, "connect_urls": []}, initial_connection)

    def abort(self) -> None:
        """Cut the connection: nothing that is buffered is sent."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        self._pending, self._pending_data_size = [], 0  # else closing fails in the attempt to send it


class JetStream:
    """A `cdc.dispatch.broker.base.BrokerConnection`."""

    def __init__(self, target: Target) -> None:
        self._client = _CheckedClient()
        self._client.encrypted = target.tls is not None
        self._seconds = target.seconds
        self._context: JetStreamContext = self._client.jetstream(timeout=target.seconds)
        self._ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._unreadable: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def open(self, target: Target) -> None:
        address = f"[{target.address}]" if ":" in target.address else target.address
        try:
            await self._client.connect(
                f"nats://{address}:{target.port}",
                error_cb=self._noted,
                closed_cb=self._closed,
                allow_reconnect=False,
                connect_timeout=ceil(target.seconds),
                tls=target.tls,
                tls_hostname=target.host,
                user=target.user or None,
                password=target.password or None,
                token=target.token or None,
            )
        except Error as error:
            self._client.abort()
            raise BrokerRefused(None, _words(error)) from error
        except BaseException:
            self._client.abort()
            raise

    @property
    def closed(self) -> bool:
        return self._ended.done()

    async def publish(self, message: Message) -> str:
        message_id = message.id
        stored = await self._stored(message, message_id)
        if stored.duplicate and (replays := await message.replays()):
            message_id = f"{message.id}.{replays}"
            stored = await self._stored(message, message_id)
        if stored.duplicate and not await self._holds(stored, message_id):
            stored = await self._stored(message, f"{message_id}.{token_hex(8)}")
        return f"{stored.seq} in {stored.stream}{', stored before' if stored.duplicate else ''}"

    async def _holds(self, stored: PubAck, message_id: str) -> bool:
        """Return whether the stream holds the message that is said to be stored before.  A stream of several servers
        (nats-server 2.10) knows an id before it stores the message, and keeps the id of one that it refuses because it
        is full: the number is 0 then.  Where the account may not read the stream, any other number is believed."""
        if stored.seq and not self._unreadable.done():
            try:
                held = await self._answer(self._context.get_msg(stored.stream, stored.seq), self._unreadable)
                return (held.headers or {}).get("Nats-Msg-Id") == message_id
            except BrokerRefused:
                pass  # no message has this number any more, or the account may not read
        return bool(stored.seq) and self._unreadable.done()

    async def _stored(self, message: Message, message_id: str) -> PubAck:
        subject = _NOT_IN_SUBJECTS.sub("_", message.place[0])
        headers = {**message.headers, RECORD_HEADER: record_token(message.key), "Nats-Msg-Id": message_id}
        size = (
            len(message.body) + sum(len(name) + len(value) + _AROUND for name, value in headers.items()) + _AROUND_ALL
        )
        if size > self._client.max_payload:  # the server would close the connection
            raise too_large(f"{size} bytes are more than its max_payload, {self._client.max_payload}")
        try:
            return await self._answer(
                self._context.publish(subject, message.body, timeout=self._seconds, headers=headers)
            )
        except NoStreamResponseError as error:
            raise BrokerRefused(_UNAVAILABLE, f"no stream listens to {subject}") from error

    async def _answer(self, request: Coroutine[Any, Any, _T], refused: asyncio.Future[Exception] | None = None) -> _T:
        """Return the server's answer to a request.  ``refused``: ends the wait besides the end of the connection."""
        asking = asyncio.ensure_future(request)
        ends = [refused or self._ended, self._ended]
        waited: set[asyncio.Future[Any]] = {asking, *ends}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise next(end.result() for end in ends if end.done())
            return asking.result()
        except APIError as error:
            if error.err_code == _LARGER_THAN_THE_STREAM:
                raise too_large("its stream takes no message of this size (max_msg_size)") from error
            raise BrokerRefused(error.code, error.description or _words(error)) from error
        except ConnectionClosedError as error:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed") from error
        finally:
            asking.cancel()

    async def close(self) -> None:
        self._client.abort()
        await self._client.close()

    async def _noted(self, error: Exception) -> None:
        """A refusal to publish to a subject comes without saying for which message."""
        words = str(error).lower()
        ended = self._unreadable if _READING in words else self._ended
        if "permissions violation" in words and not ended.done():
            ended.set_result(BrokerRefused(None, _words(error)))

    async def _closed(self) -> None:
        if not self._ended.done():
            self._ended.set_result(ConnectionResetError(errno.ECONNRESET, "connection closed"))


def _words(error: Exception) -> str:
    return str(error).removeprefix("nats: ").strip("'.") or type(error).__name__


async def connect(target: Target) -> JetStream:
    opened = JetStream(target)
    await opened.open(target)
    return opened


class StreamReader(JetStream):
    """A `cdc.model.broker.EventStream`: one consumer, whose messages are numbered, so that none is missed."""

    def __init__(self, target: Target, url: StreamUrl) -> None:
        super().__init__(target)
        self._url = url
        self._waiting: deque[StreamMessage] = deque()
        self._arrived = asyncio.Event()
        self._number = 0  # of the consumer's last message
        self._reached = 0
        self._resume = ""  # the subject by which the server waits to be asked for more
        self._missed = False

    async def state(self) -> StreamState:
        try:
            info = await self._context.stream_info(self._url.stream)
        except NotFoundError as error:
            raise SourceError(
                f"There is no stream {self._url.where}.", "Create it: nats stream add, with retention limits."
            ) from error
        except (Error, OSError) as error:
            raise self._gone(_reason(error)) from error
        config, state = info.config, info.state
        return StreamState(
            created=str(info.created),
            first=state.first_seq if state.messages else state.last_seq + 1,
            last=state.last_seq,
            retention=RetentionPolicy(config.retention or "limits").value,
            replicas=config.num_replicas or 1,
            age=config.max_age or 0.0,
        )

    async def follow(self, subject: str, after: int) -> None:
        inbox = self._client.new_inbox()
        self._reached = after
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            flow_control=True,
            idle_heartbeat=_HEARTBEAT,
            deliver_subject=inbox,
            filter_subject=subject or None,  # one: with several, nats-server 2.10 finds a hundred messages a second
            num_replicas=1,
            mem_storage=True,
        )
        try:
            await self._client.subscribe(inbox, cb=self._take)
            await self._context.add_consumer(self._url.stream, config)
        except (Error, OSError) as error:
            raise self._gone(_reason(error)) from error

    async def messages(self, most: int) -> tuple[Sequence[StreamMessage], int]:
        if not self._waiting:
            await self._wait()
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self._arrived.clear()
        try:
            await self._ask_for_more()
        except Error as error:
            raise self._gone(_reason(error)) from error
        return taken, self._waiting[0].sequence - 1 if self._waiting else self._reached

    async def _wait(self) -> None:
        if self._missed:
            raise self._gone("messages are missing")
        arriving = asyncio.ensure_future(self._arrived.wait())
        both: set[asyncio.Future[Any]] = {arriving, self._ended}
        try:
            done, _ = await asyncio.wait(both, timeout=_SILENT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arriving.cancel()
        if not done:
            raise self._gone(f"silent for {_SILENT:g} s")
        if arriving not in done:
            raise self._gone(_reason(self._ended.result()))

    async def _take(self, message: Msg) -> None:
        """Take what the consumer sends: a message, a sign of life, or a request to say when there is room for more."""
        headers = message.headers or {}
        if message.reply.startswith("$JS.ACK."):
            sequence = message.metadata.sequence
            if self._follows(sequence.consumer - 1):
                self._number, self._reached = sequence.consumer, sequence.stream
                record = headers.get(RECORD_HEADER, "")
                self._waiting.append(StreamMessage(sequence.stream, record, message.data, message.subject))
        elif headers.get("Status") == _CONTROL:
            self._resume = message.reply or headers.get("Nats-Consumer-Stalled", "") or self._resume
            if "Nats-Last-Stream" in headers and self._follows(int(headers["Nats-Last-Consumer"])):
                self._reached = max(self._reached, int(headers["Nats-Last-Stream"]))
            await self._ask_for_more()
        self._arrived.set()

    def _follows(self, before: int) -> bool:
        """Return whether nothing is missing.  ``before``: the number that the last message must have had."""
        self._missed |= before != self._number
        return not self._missed

    async def _ask_for_more(self) -> None:
        if self._resume and len(self._waiting) < _MOST_WAITING and not self.closed:
            resume, self._resume = self._resume, ""
            await self._client.publish(resume)

    def _gone(self, why: str) -> SourceUnavailable:
        return SourceUnavailable(f"The stream {self._url.where} cannot be read now: {why}.")


async def read_stream(url: StreamUrl, tls: ssl.SSLContext | None) -> StreamReader:
    """Connect to the first server that answers.  ``tls``: for an encrypted connection.  Raises `SourceUnavailable`."""
    account = {"user": url.user, "password": url.password} if url.user else {"token": url.password}
    failures: list[str] = []
    for host, port in url.servers:
        target = Target(host, host, port, tls, (), _SECONDS, _as_named, **account)
        reader = StreamReader(target, url)
        try:
            async with asyncio.timeout(_SECONDS):
                await reader.open(target)
        except Exception as error:  # noqa: BLE001 - a server may make its client fail in any way; the next one is tried, and the error below names each failure
            failures.append(f"{host}:{port} ({_reason(error)})")
        else:
            return reader
    raise SourceUnavailable(f"No server of the stream {url.stream} answers: {', '.join(failures)}.")


def _reason(error: Exception) -> str:
    if isinstance(error, BrokerRefused):
        return error.reason
    cause = system_error(error)
    return error_detail(cause) if isinstance(cause, OSError) else _words(error)


async def _as_named(host: str, _port: int) -> str:
    """Return the host itself: the configuration names the servers of a source."""
    return host
