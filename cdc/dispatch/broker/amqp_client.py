"""RabbitMQ (AMQP 0-9-1): a persistent message to an exchange, confirmed by the broker.  One that no queue takes is a
failure (``mandatory``).

``aiormq`` is the protocol under ``aio-pika``, which adds reconnecting and consumers; neither is of use here."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from typing import Any, Final

from aiormq import Connection, TransportFactory, spec
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ConnectionClosed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from yarl import URL

from cdc.dispatch.broker.base import BrokerRefused, Message, Target, too_large

#: In the URL the exchange without a name, which routes to the queue called like the routing key, has this one.
DEFAULT_EXCHANGE: Final = "amq.default"
#: The nearest status of HTTP: no queue takes the message; the broker does not take it now.
_UNROUTABLE, _NOT_NOW = 404, 503
#: In the words of the server about a message that has more bytes than it takes.
_TOO_LARGE: Final = re.compile(r"message size (\d+)")

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # the delivery log has each failure


class _CheckedTransport(TransportFactory):
    """Connects to the address of a target, with TLS for the name of its host."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self,
        url: URL,  # noqa: ARG002 - of the overridden method; the target has the address
        **kwargs: Any,  # noqa: ARG002 - of the overridden method; the target has the TLS context
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self._target
        name = target.host if target.tls is not None else None
        reader, self._writer = await asyncio.open_connection(
            target.address, target.port, ssl=target.tls, server_hostname=name
        )
        return reader, self._writer

    def abort(self) -> None:
        """Cut the connection: nothing that is buffered is sent."""
        if self._writer is not None:
            self._writer.transport.abort()


class RabbitChannel:
    """A `cdc.dispatch.broker.base.BrokerConnection`: one channel, which carries what is published at once."""

    def __init__(self, target: Target) -> None:
        self._transport = _CheckedTransport(target)
        user, password = (target.user, target.password) if target.user else (None, None)
        url = URL.build(scheme="amqp", user=user, password=password, host=target.address, port=target.port)
        self._connection = Connection(url, transport_factory=self._transport)
        self._connection.vhost = target.place[0]
        self._channel: AbstractChannel | None = None

    async def open(self) -> None:
        try:
            await self._connection.connect()
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        except (AuthenticationError, ProbableAuthenticationError, ConnectionClosed) as error:
            self._transport.abort()
            raise BrokerRefused(None, _words(error)) from error
        except InvalidFrameError as error:
            self._transport.abort()
            raise BrokerRefused(None, f"it does not open the vhost {self._connection.vhost}") from error
        except (AMQPConnectionError, RuntimeError) as error:
            self._transport.abort()
            raise ConnectionResetError(errno.ECONNRESET, "connection closed") from error
        except BaseException:
            self._transport.abort()
            raise

    @property
    def closed(self) -> bool:
        return self._channel is None or self._channel.is_closed or self._connection.is_closed

    async def publish(self, message: Message) -> str:
        assert self._channel is not None, "opened by `connect`"
        _, exchange, routing_key = message.place
        properties = spec.Basic.Properties(
            content_type=message.headers.get("Content-Type"),
            delivery_mode=2,
            message_id=message.id,
            headers=dict(message.headers),
        )
        try:
            await self._channel.basic_publish(
                message.body,
                exchange="" if exchange == DEFAULT_EXCHANGE else exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=True,
            )
        except PublishError as error:
            raise BrokerRefused(_UNROUTABLE, f"no queue takes {routing_key} from {exchange}") from error
        except DeliveryError as error:
            raise BrokerRefused(_NOT_NOW, "it did not confirm the message") from error
        except (AMQPConnectionError, ChannelInvalidStateError) as error:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed") from error
        except AMQPError as error:
            words = _words(error)
            size = _TOO_LARGE.search(words)
            if size is None:
                raise BrokerRefused(None, words) from error
            if int(size[1]) == len(message.body):
                raise too_large(f"{size[1]} bytes are more than it takes (max_message_size)") from error
            # another message's size: it closed the channel on which this one waits
            raise ConnectionResetError(errno.ECONNRESET, "connection closed") from error
        return f"{routing_key} in {exchange}"

    async def close(self) -> None:
        self._transport.abort()
        await self._connection.close()


def _words(error: AMQPError) -> str:
    """Return what the broker said: the last of the arguments."""
    return str(error.args[-1] if error.args else type(error).__name__).rstrip(".")


async def connect(target: Target) -> RabbitChannel:
    opened = RabbitChannel(target)
    await opened.open()
    return opened
