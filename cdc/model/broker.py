"""URLs of message brokers: ``redis://host:port/DATABASE/STREAM``.

Several servers of one broker are listed with commas: ``nats://one.example.com,two.example.com:4223/SUBJECT``.

The last parts of the path are templates: ``{source}``, ``{event}`` and ``{entity}`` (what the event's name begins with)
are replaced by those of each event; in a subject of NATS also ``{record}``.

A stream of NATS is a source, too: `StreamUrl`, `StreamState`, `StreamMessage` and `EventStream`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

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
#: In a subject of NATS alone: a stream may hold any number of them.
RECORD: Final = "record"
#: The header that names the event's record, as `record_token` writes it.
RECORD_HEADER: Final = "X-Webhook-Record"
#: Characters of a record in a subject, which a server limits to 4 KB.
_LONGEST_TOKEN: Final = 200
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

    def filled(self, event: str, source: str, record: str) -> tuple[str, ...]:
        """Return the place of an event."""
        values = {"event": event, "source": source, "entity": event.rpartition(".")[0] or event}
        if self.scheme.broker is _NATS:
            values[RECORD] = record_token(record).replace(".", "%2E")[:_LONGEST_TOKEN]
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
def server_urls(url: str) -> tuple[str, ...]:
    """Return the URL with each of the servers that it lists with commas; only URLs of brokers list several."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES:
        return (url,)
    netloc, slash, path = rest.partition("/")
    return tuple(f"{scheme}://{server}{slash}{path}" for server in netloc.split(","))


@lru_cache(maxsize=1024)  # asked for each request
def broker_url(url: str) -> BrokerUrl:
    """Parse the URL of one server of a broker.  Raises `UsageError`, which names no user and password."""
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
    fields = (*FIELDS, RECORD) if broker is _NATS else FIELDS
    unknown = [name for part in place for name in _FIELD.findall(part) if name not in fields]
    if unknown or any(
        "{" in part or "}" in part for part in [*place[: broker.fixed], *[_FIELD.sub("", part) for part in place]]
    ):
        known = ", ".join(f"{{{each}}}" for each in fields)
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


def record_token(record: str) -> str:
    """Return a record's name as printable ASCII without spaces; `unquote` gives it back."""
    return quote(record, safe=":")


class StreamUrl(NamedTuple):
    """A stream as a source.  ``servers``: hosts and ports of one cluster.  ``password``: a token without ``user``."""

    tls: bool
    servers: tuple[tuple[str, int], ...]
    stream: str
    user: str = ""
    password: str = ""

    @property
    def where(self) -> str:
        """Return the stream and its servers, for sentences."""
        servers = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers)
        return f"{self.stream} at {servers}"


_STREAM: Final = re.compile(r"[^\s.*>/\\]+")
_EXAMPLE: Final = "nats://cdc:password@one.example.com,two.example.com/EVENTS"


def stream_url(url: str) -> StreamUrl:
    """Parse ``nats://user:password@host:port,host:port/STREAM``.  Raises `UsageError`, which names no password."""
    wrong = UsageError("The URL does not name a stream of NATS and its servers.", f"Write {_EXAMPLE}")
    scheme, _, rest = url.partition("://")
    place, _, stream = rest.partition("/")
    account, _, hosts = place.rpartition("@")
    kind = SCHEMES.get(scheme.lower())
    if kind is None or kind.broker is not _NATS or not _STREAM.fullmatch(unquote(stream)):
        raise wrong
    try:
        servers = tuple(_server(each, kind.port) for each in hosts.split(","))
    except ValueError:
        raise wrong from None
    user, _, password = account.partition(":")
    if password and not user:
        raise wrong
    return StreamUrl(kind.tls, servers, unquote(stream), unquote(user), unquote(password))


def _server(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.query or parts.fragment or not text.isprintable():
        raise ValueError
    return parts.hostname, parts.port or port


def subject_problem(subject: str) -> str:
    """Return the reason why this is no subject, or pattern of subjects, of a source; empty: it is one."""
    *tokens, last = subject.split(".")
    right = all(re.fullmatch(r"\*|[^\s*>]+", each) for each in tokens) and re.fullmatch(r"[*>]|[^\s*>]+", last)
    return "" if right and not subject.startswith("$") else f"has {subject!r}, which is no subject of NATS"


#: In a pattern of subjects: the token that names the source of the event.
SOURCE_PART: Final = "{source}"


def source_subject_problem(pattern: str) -> str:
    """Return the reason why this pattern does not say which token of a subject names the source; empty: it does."""
    tokens = pattern.split(".")
    braces = any("{" in each or "}" in each for each in tokens if each != SOURCE_PART)
    if tokens.count(SOURCE_PART) == 1 and not braces:
        return subject_problem(pattern.replace(SOURCE_PART, "*"))
    return f"has {pattern!r}; one of its parts is {SOURCE_PART}, as in facturascripts.{SOURCE_PART}.>"


def source_of_subject(pattern: str, subject: str) -> str | None:
    """Return the token that names the source; None where the subject is none of the pattern's."""
    tokens, found = subject.split("."), None
    *parts, last = pattern.split(".")
    if last == ">":
        if len(tokens) <= len(parts):
            return None
        tokens = tokens[: len(parts)]
    else:
        parts = [*parts, last]
    if len(tokens) != len(parts):
        return None
    for part, token in zip(parts, tokens, strict=True):
        if part == SOURCE_PART:
            found = token
        elif part not in ("*", token):
            return None
    return found


class StreamState(NamedTuple):
    """``created``: when, which tells a stream from another one of its name.  ``first`` and ``last``: sequences of its
    messages; ``first`` is one more than ``last`` where there are none.  ``retention``: the reason for which messages
    are removed: ``limits``, ``interest`` or ``workqueue``.  ``replicas``, ``age`` (seconds, 0: any): as configured."""

    created: str
    first: int
    last: int
    retention: str = "limits"
    replicas: int = 1
    age: float = 0.0


class StreamMessage(NamedTuple):
    """``record``: of the header, as `record_token` writes it; empty: there is none.  ``subject``: as it was published,
    for which the server has checked the publisher's rights."""

    sequence: int
    record: str
    body: bytes
    subject: str = ""


class EventStream(Protocol):
    """A connection to a server, for one stream.  All methods raise `SourceUnavailable` when it is gone."""

    async def state(self) -> StreamState:
        """Raises `SourceError` when there is no such stream."""
        ...

    async def follow(self, subject: str, after: int) -> None:
        """Begin to read the messages behind the sequence ``after``, of subjects that match; empty: of all."""
        ...

    async def messages(self, most: int) -> tuple[Sequence[StreamMessage], int]:
        """Wait for messages, in their order, or a sign of life.  Return them and the sequence up to which nothing else
        is to be read."""
        ...

    async def close(self) -> None:
        """Safe to call twice and in any state."""
        ...
