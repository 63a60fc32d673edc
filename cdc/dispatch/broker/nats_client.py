"""NATS JetStream: a message on a subject, confirmed by the stream that stores it.  ``Nats-Msg-Id`` is the event's id:
a stream drops a repetition within its duplicate window.  A delivery that is replayed within it is published under an id
of its own, which its retries have too."""

from __future__ import annotations

import asyncio
import errno
import re
from math import ceil
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error, SecureConnRequiredError
from nats.js.api import PubAck
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from cdc.dispatch.broker.base import Message, Refused, Target

#: What no subject may hold; values that fill a template may.
_NOT_IN_SUBJECTS: Final = re.compile(r"[\s*>]")
#: JetStream's answer where no stream listens to a subject, or its servers have no leader yet.
_UNAVAILABLE: Final = 503
_TOO_LARGE: Final = 413
#: Bytes of a header besides name and value, and of the block of them.
_AROUND, _AROUND_ALL = 4, 12


class _Checked(Client):
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


class JetStream:
    """A `cdc.dispatch.broker.base.Connection`."""

    def __init__(self, target: Target) -> None:
        self._client = _Checked()
        self._client.encrypted = target.tls is not None
        self._seconds = target.seconds
        self._context: JetStreamContext = self._client.jetstream()
        self._ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

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
            raise Refused(None, _words(error)) from error
        except BaseException:
            self._client.abort()
            raise

    @property
    def closed(self) -> bool:
        return self._ended.done()

    async def publish(self, message: Message) -> str:
        stored = await self._stored(message, message.id)
        if stored.duplicate and (replays := await message.replays()):
            stored = await self._stored(message, f"{message.id}.{replays}")
        return f"{stored.seq} in {stored.stream}{', stored before' if stored.duplicate else ''}"

    async def _stored(self, message: Message, message_id: str) -> PubAck:
        subject = _NOT_IN_SUBJECTS.sub("_", message.place[0])
        headers = {**message.headers, "Nats-Msg-Id": message_id}
        size = (
            len(message.body) + sum(len(name) + len(value) + _AROUND for name, value in headers.items()) + _AROUND_ALL
        )
        if size > self._client.max_payload:  # the server would close the connection
            raise Refused(_TOO_LARGE, f"{size} bytes are more than its max_payload, {self._client.max_payload}")
        sending: asyncio.Future[PubAck] = asyncio.ensure_future(
            self._context.publish(subject, message.body, timeout=self._seconds, headers=headers)
        )
        both: set[asyncio.Future[Any]] = {sending, self._ended}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise self._ended.result()
            return sending.result()
        except NoStreamResponseError as error:
            raise Refused(_UNAVAILABLE, f"no stream listens to {subject}") from error
        except APIError as error:
            raise Refused(error.code, error.description or _words(error)) from error
        except ConnectionClosedError as error:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed") from error
        finally:
            sending.cancel()

    async def close(self) -> None:
        self._client.abort()
        await self._client.close()

    async def _noted(self, error: Exception) -> None:
        """A refusal to publish to a subject comes without saying for which message."""
        if "permissions violation" in str(error).lower() and not self._ended.done():
            self._ended.set_result(Refused(None, _words(error)))

    async def _closed(self) -> None:
        if not self._ended.done():
            self._ended.set_result(ConnectionResetError(errno.ECONNRESET, "connection closed"))


def _words(error: Exception) -> str:
    return str(error).removeprefix("nats: ").strip("'.") or type(error).__name__


async def connect(target: Target) -> JetStream:
    opened = JetStream(target)
    await opened.open(target)
    return opened
