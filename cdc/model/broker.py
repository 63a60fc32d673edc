"""URLs of message brokers: ``redis://host:port/DATABASE/STREAM``.

The last parts of the path are templates: ``{source}``, ``{event}`` and ``{entity}`` (what the event's name begins with)
are replaced by those of each event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from cdc.model.errors import UsageError


class Broker(NamedTuple):
    """A kind of broker.  ``extra``: of this package, which brings the client.  ``client``: the package to import.
    ``place``: the parts of the path.  ``fixed``: how many of them belong to the connection, and hold no template."""

    title: str
    extra: str
    client: str
    place: tuple[str, ...]
    fixed: int
    example: str


class Scheme(NamedTuple):
    broker: Broker
    port: int
    tls: bool


_REDIS: Final = Broker("Redis", "redis", "redis", ("DATABASE", "STREAM"), 1, "/0/facturascripts.{source}")
_NATS: Final = Broker("NATS", "nats", "nats", ("SUBJECT",), 0, "/facturascripts.{source}.{event}")
_RABBITMQ: Final = Broker(
    "RabbitMQ", "amqp", "aiormq", ("VHOST", "EXCHANGE", "KEY"), 1, "/%2F/facturascripts/{source}.{event}"
)
_KAFKA: Final = Broker("Kafka", "kafka", "aiokafka", ("TOPIC",), 0, "/facturascripts.{source}")
SCHEMES: Final[Mapping[str, Scheme]] = {
    "redis": Scheme(_REDIS, 6379, tls=False),
    "rediss": Scheme(_REDIS, 6379, tls=True),
    "amqp": Scheme(_RABBITMQ, 5672, tls=False),
    "amqps": Scheme(_RABBITMQ, 5671, tls=True),
    "kafka": Scheme(_KAFKA, 9092, tls=False),
    "kafkas": Scheme(_KAFKA, 9093, tls=True),
    "nats": Scheme(_NATS, 4222, tls=False),
    "tls": Scheme(_NATS, 4222, tls=True),
}
#: What a template may name.
FIELDS: Final = ("source", "event", "entity")
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
#: Tokens and dots, without wildcards, outside the server's own subjects.
_SUBJECT: Final = re.compile(r"[^\s.*>$][^\s.*>]*(\.[^\s.*>]+)*")
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")


class BrokerUrl(NamedTuple):
    """``place``: the parts of the path, decoded; templates as they are."""

    scheme: Scheme
    host: str
    port: int
    place: tuple[str, ...]

    @property
    def where(self) -> str:
        """Return host and port, for sentences."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def filled(self, event: str, source: str) -> tuple[str, ...]:
        """Return the place of an event."""
        values = {"event": event, "source": source, "entity": event.rpartition(".")[0] or event}
        return tuple(_FIELD.sub(lambda found: values[found[1]], part) for part in self.place)


@lru_cache(maxsize=1024)  # asked for each request
def scheme_of(url: str) -> str:
    """Return the scheme in lower case."""
    return url.partition(":")[0].lower()


def broker_of(url: str) -> Broker | None:
    """Return the broker that the URL leads to; None where it leads to none."""
    scheme = SCHEMES.get(scheme_of(url))
    return None if scheme is None else scheme.broker


@lru_cache(maxsize=1024)  # asked for each request
def broker_url(url: str) -> BrokerUrl:
    """Parse the URL of a broker.  Raises `UsageError`, which names no user and password."""
    name = scheme_of(url)
    scheme = SCHEMES[name]
    broker = scheme.broker
    hint = f"Write {name}://host[:port]/{'/'.join(broker.place)}, such as {name}://broker.example.com{broker.example}"
    try:
        parts = urlsplit(url)
        port = parts.port or scheme.port
    except ValueError:
        raise UsageError("The endpoint's URL cannot be read.", hint) from None
    place = tuple(unquote(part) for part in parts.path.split("/")[1:])
    if not parts.hostname or len(place) != len(broker.place) or not all(place) or parts.query or parts.fragment:
        raise UsageError(f"The endpoint's URL does not name the place for events in {broker.title}.", hint)
    if not all(part.isprintable() for part in place):
        raise UsageError("The endpoint's URL has characters that cannot be shown.", hint)
    unknown = [name for part in place for name in _FIELD.findall(part) if name not in FIELDS]
    if unknown or any("{" in part or "}" in part for part in [*place[: broker.fixed], *_without_fields(place)]):
        known = ", ".join(f"{{{each}}}" for each in FIELDS)
        raise UsageError(
            "The endpoint's URL has braces that name nothing.",
            f"In {' and '.join(broker.place[broker.fixed :])}, {known} are replaced by those of the event.",
        )
    if broker is _REDIS and not (place[0].isascii() and place[0].isdecimal()):
        raise UsageError("The endpoint's URL has no number of a Redis database.", hint)
    if broker is _NATS and not _SUBJECT.fullmatch(_FIELD.sub("x", place[0])):
        raise UsageError("The endpoint's URL has no subject of NATS.", hint)
    if broker is _KAFKA and not _TOPIC.fullmatch(_FIELD.sub("x", place[0])):
        raise UsageError("The endpoint's URL has no topic of Kafka.", hint)
    return BrokerUrl(scheme, parts.hostname, port, place)


def _without_fields(place: tuple[str, ...]) -> list[str]:
    return [_FIELD.sub("", part) for part in place]
