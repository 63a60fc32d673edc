"""Redis and Valkey: ``XADD`` to a stream.  Fields: ``body``, and each header by its name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis.asyncio import Connection as RedisConnection
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.maint_notifications import MaintNotificationsConfig

from cdc.dispatch.broker.base import BrokerRefused, Message, Target

#: Answers that say something of the event or its stream, not of the server, and the nearest status of HTTP.
_OF_THE_EVENT = {"WRONGTYPE": 409}
#: Answers of a server that starts, is a replica, or has not this stream's part of a cluster.
_OF_THE_SERVER = (BusyLoadingError, ClusterDownError, MovedError, ReadOnlyError)


@contextmanager
def _worded() -> Iterator[None]:
    """Raise the client's errors as those of a `BrokerConnection`."""
    try:
        yield
    except (ResponseError, AuthenticationError, BusyLoadingError) as error:
        status, reason = _OF_THE_EVENT.get(str(error).partition(" ")[0]), str(error).rstrip(".")
        raise BrokerRefused(status, reason, elsewhere=isinstance(error, _OF_THE_SERVER)) from error
    except ConnectionLost as error:
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error


class _CheckedConnection(RedisConnection):
    """A connection to an address, with TLS for the name of its host."""

    def __init__(self, *, target: Target, **options: Any) -> None:
        super().__init__(host=target.address, port=target.port, **options)
        self._target = target

    def _connection_arguments(self) -> dict[str, Any]:
        where: dict[str, Any] = {"host": self.host, "port": self.port}
        if self._target.tls is not None:
            where |= {"ssl": self._target.tls, "server_hostname": self._target.host}
        return where


class RedisStreams:
    """A `cdc.dispatch.broker.base.BrokerConnection`: a pool, since a connection of Redis carries one command at a time.

    A command is sent once: retries are the dispatcher's.  Notifications with which a server sends its clients to
    another address are off."""

    def __init__(self, target: Target) -> None:
        pool = ConnectionPool(
            connection_class=_CheckedConnection,
            target=target,
            db=int(target.place[0]),
            username=target.user or None,
            password=target.password or None,
            socket_timeout=None,  # one bound covers the whole attempt
            socket_connect_timeout=None,
            protocol=2,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._client = Redis(connection_pool=pool)

    @property
    def closed(self) -> bool:
        return False  # the pool opens another one

    async def open(self) -> None:
        """Connect, sign in and wait for an answer: a server that says nothing is none.  Raises `BrokerRefused` or an
        error of the connection."""
        with _worded(), suppress(NoPermissionError):  # an account may be one for XADD only
            await self._client.ping()

    async def publish(self, message: Message) -> str:
        stream = message.place[1]
        fields: dict[Any, Any] = {**message.headers, "body": message.body}
        with _worded():
            entry = await self._client.xadd(stream, fields)
        return f"{entry.decode() if isinstance(entry, bytes) else entry} in {stream}"

    async def close(self) -> None:
        await self._client.connection_pool.disconnect(inuse_connections=True)


async def connect(target: Target) -> RedisStreams:
    opened = RedisStreams(target)
    try:
        await opened.open()
    except BaseException:
        await opened.close()
        raise
    return opened
