"""The database of an outbox, as its subjects use it; SQLite and PostgreSQL implement it.

Statements are named, and so are their parameters.  ``sql/outbox`` has those that are the same for SQLite and
PostgreSQL, ``sql/outbox/<dialect>`` those that differ.  The same ones are written for PostgreSQL, but with parameters
``:name``; what SQLite writes otherwise is replaced here.  Values are Python's in both directions:
times are aware datetimes, lists are lists, text may hold NUL (PostgreSQL stores another sign for it).

The schema has numbered migrations: ``sql/<engine>/migrations/NNN_name.sql``, each applied in one transaction.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, Protocol, TypeVar

from cdc.database.sqlfile import names, parts
from cdc.model.delivery import DeliveryFilter, EventFilter
from cdc.model.endpoint import Endpoint, Order, PayloadFormat, public_url
from cdc.model.errors import UsageError
from cdc.outbox.secret_box import SecretBox, is_sealed
from cdc.outbox.shared import Subscriber, SubscriberCache, SubscriberIndex
from cdc.outbox.slices import LogSlice

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The state before storing: the last ids; the given ids that are stored; the subscribers."""

    last_event: int
    last_delivery: int
    known: frozenset[str]
    subscribers: SubscriberIndex


_FIELDS: Final = tuple(each.name for each in fields(Endpoint))
_TIMES: Final = ("created_at", "former_secret_until", "failing_since")
_CONVERTED: Final[Mapping[str, Callable[[Any], object]]] = {
    "enabled": bool,
    "format": PayloadFormat,
    "order": Order,
    "headers": lambda headers: tuple((name, value) for name, value in headers),
}


def field_values(endpoint: Endpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in _FIELDS}


@dataclass(frozen=True, slots=True)
class EndpointCodec:
    """Conversion between endpoints, as they are stored, and rows.

    ``columns``: those of the statement ``endpoints``; fields that have none are together in ``settings``.  ``texts``:
    columns that are JSON texts.  ``document``: makes a parameter of the settings, ``values`` parameters of fields."""

    columns: Sequence[str]
    texts: Sequence[str]
    document: Callable[[dict[str, Any]], object]
    values: Callable[[Endpoint], dict[str, Any]] = field_values

    def row(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return parameters of ``insert_endpoint`` and ``update_endpoint``.

        A sealed URL among the settings has another name: a worker of release 0.2.0, which cannot open it, would send
        to it."""
        values = self.values(endpoint)
        settings = {name: value for name, value in values.items() if name not in self.columns}
        if "url" in settings and is_sealed(endpoint.url):
            settings["sealed_url"] = settings.pop("url")
        row = {name: values[name] for name in self.columns if name != "settings"}
        row |= {name: getattr(endpoint, name) for name in _TIMES if name in row}
        row |= {name: json.dumps(row[name]) for name in self.texts}
        return {**row, "settings": self.document(settings), "public_url": None}

    def endpoint(self, row: Row) -> Endpoint:
        """Return the endpoint of a row; a setting that an older version did not know has its default."""
        columns = dict(zip(self.columns, row, strict=True))
        settings = columns.pop("settings")
        settings = json.loads(settings) if isinstance(settings, str) else settings
        values = {"url": settings.get("sealed_url"), **settings, **columns}
        values |= {name: json.loads(values[name]) for name in self.texts}
        values = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        if isinstance(until := values.get("former_secret_until"), str):
            values["former_secret_until"] = datetime.fromisoformat(until)
        for name, made in _CONVERTED.items():
            if name in values:  # an account that reads no secrets gets few settings
                values[name] = made(values[name])
        return Endpoint(**{name: values[name] for name in _FIELDS if name in values})


class LogSearch(Protocol):
    """The events, or deliveries, that a filter means.  ``few``: so few that they are found at once."""

    @property
    def few(self) -> bool: ...

    def before(self, sequence: int, delivery: int) -> LogSearch:
        """Deliveries before that one of that event, newest first."""
        ...

    def after(self, sequence: int, delivery: int) -> LogSearch:
        """Deliveries behind that one of that event, oldest first."""
        ...

    def after_event(self, sequence: int) -> LogSearch:
        """Events with a greater sequence."""
        ...

    def within(self, part: LogSlice) -> LogSearch:
        """Search a part of the log only."""
        ...

    async def rows(self, name: str, limit: int, **parameters: Any) -> list[Row]:
        """The first rows that a statement gives, in its order."""
        ...


class Database(ABC):
    """One connection, in a transaction where something is written.  ``subscribers``: what the outbox remembers of them
    between transactions.  ``box``: seals and opens what is secret.  ``notifies``: processes hear of each other's
    writes."""

    codec: EndpointCodec
    subscribers: SubscriberCache
    box: SecretBox
    notifies: ClassVar[bool] = False

    @abstractmethod
    async def rows(self, name: str, /, **parameters: Any) -> list[Row]: ...

    async def row(self, name: str, /, **parameters: Any) -> Row | None:
        """Return the first row, if any."""
        return next(iter(await self.rows(name, **parameters)), None)

    async def value(self, name: str, /, **parameters: Any) -> Any:
        """Return the value of a statement that gives one row with one column."""
        ((value,),) = await self.rows(name, **parameters)
        return value

    @abstractmethod
    async def write(self, name: str, /, **parameters: Any) -> int:
        """Return how many rows the statement changed."""

    @abstractmethod
    async def rows_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> list[Row]:
        """The rows for each of the values in ``columns``, lists of the same length.  The statement of PostgreSQL has
        lists in their place, that of SQLite single values."""

    @abstractmethod
    async def write_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> None:
        """Write for each of the values in ``columns``, as `rows_each` reads."""

    @abstractmethod
    async def ledger(self, ids: Sequence[str]) -> Ledger: ...

    async def read_subscribers(self) -> Sequence[Subscriber]:
        return [self.subscriber_from(row) for row in await self.rows("subscribers")]

    @abstractmethod
    async def find_events(self, which: EventFilter, *, walked: bool = False) -> LogSearch:
        """``walked``: they are read slice by slice.  Raises `UsageError`, as the next one."""

    @abstractmethod
    async def find_deliveries(
        self, which: DeliveryFilter, *, newest_first: bool = False, walked: bool = False
    ) -> LogSearch: ...

    def check_text(self, which: EventFilter) -> None:
        """Raise `UsageError` for a search that no database can do."""
        if which.searches and self.box.contents.sealing:
            raise UsageError(
                "Payloads are encrypted in this outbox, so their text cannot be searched.",
                "Search by record, event, endpoint, state or time.",
            )

    @abstractmethod
    def one_delivery(self, number: int | None) -> LogSearch: ...

    @abstractmethod
    async def span(self, which: EventFilter, whole: LogSlice) -> LogSlice:
        """The part of the log where a time that has ended lies; all of it when it holds too many events."""

    @abstractmethod
    async def give_way(self) -> None:
        """Let other work be done between two steps of work that takes milliseconds."""

    @abstractmethod
    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what takes long and does not use the database, without stopping the event loop."""

    def due(self) -> None:  # noqa: B027 - only where it notifies
        """Have the other processes look for what is due once this is committed."""

    async def alone(self) -> None:  # noqa: B027 - only where transactions write at the same time
        """Keep others from changing access and the audit log until the transaction ends."""

    def overwriting(self) -> AbstractContextManager[None]:
        """Overwrite rows that are deleted or replaced inside the block, where the database leaves them in its file."""
        return nullcontext()

    def text(self, text: str) -> str:
        """A text as the database returns it."""
        return text

    def endpoint_row(self, endpoint: Endpoint, before: Endpoint | None = None) -> dict[str, Any]:
        """Parameters of ``insert_endpoint`` and ``update_endpoint``.  ``before``: the endpoint as it is stored, whose
        unchanged texts stay byte for byte."""
        row = self.codec.row(self.box.seal_endpoint(endpoint, before))
        return {**row, "public_url": public_url(endpoint.url)}

    def endpoint_from(self, row: Row) -> Endpoint:
        """Return the endpoint of a row of ``endpoints``."""
        return self.box.open_endpoint(self.codec.endpoint(row))

    def subscriber_from(self, row: Row) -> Subscriber:
        """Return the subscriber of a row of ``subscriber``."""
        number, patterns, sources, order, condition, endpoint_id = row
        if "events" in self.codec.texts:
            patterns, sources = json.loads(patterns), json.loads(sources)
        return Subscriber(number, tuple(patterns), tuple(sources), Order(order), condition, endpoint_id)


class Session(Protocol):
    """Connects to the database, and runs one function at a time that uses it."""

    async def read(
        self, work: Callable[Concatenate[Database, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """``work`` outside a transaction: for single statements."""
        ...


_FILE_NAME: Final = re.compile(r"([0-9]{3})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    script: str


@cache
def migrations(engine: str) -> tuple[Migration, ...]:
    """All migrations of an engine, from number 1 without a hole."""
    found = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in (files("cdc.sql") / engine / "migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    found.sort(key=lambda migration: migration.number)
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    return tuple(found)


@cache
def sqlite_statements() -> Mapping[str, str]:
    return _merged({name: _for_sqlite(text) for name, text in _folder("outbox").items()}, "sqlite")


@cache
def postgres_statements() -> Mapping[str, str]:
    return {name: _for_psycopg(text) for name, text in _merged(_folder("outbox"), "postgres").items()}


def _merged(shared: Mapping[str, str], dialect: str) -> Mapping[str, str]:
    own = _folder(f"outbox/{dialect}")
    assert not shared.keys() & own.keys(), "a statement is shared, or each dialect has its own"
    return {**shared, **own}


def _folder(folder: str) -> Mapping[str, str]:
    """The statements of a folder, by names that are used once; their comments are for readers of the files."""
    found: dict[str, str] = {}
    for file in names(folder):
        assert not found.keys() & parts(file).keys(), f"a statement is twice in {folder}"
        found |= {name: re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).strip() for name, text in parts(file).items()}
    return found


def _for_sqlite(text: str) -> str:
    """A list is a JSON array there, a transaction that writes is alone, and text is compared byte by byte."""
    text = text.replace("cdc_outbox.", "").replace("octet_length(", "length(")
    text = re.sub(r"\s+FOR UPDATE( SKIP LOCKED)?", "", text.replace(' COLLATE "C"', ""))
    text = re.sub(r"= ANY \((:\w+)::\w+\[\]\)", r"IN (SELECT value FROM json_each(\1))", text)
    return re.sub(r"(:\w+)::\w+", r"\1", text)


def _for_psycopg(text: str) -> str:
    """Lists of bytes are sent as bytes: as text they would be escaped."""
    text = re.sub(r"(?<![:\w]):(\w+)(?=::bytea\[\])", r"%(\1)b", text)
    return re.sub(r"(?<![:\w]):([a-z]\w*)", r"%(\1)s", text)
