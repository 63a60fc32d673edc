"""The state of a PostgreSQL database, as far as an installer must know: read, never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.abc import Params
from psycopg.rows import class_row, tuple_row

from cdc.capture.triggers.base import within
from cdc.database.postgres_capture import PROBE
from cdc.database.sqlfile import load, render
from cdc.model.column import Capture, SecretPatterns

Connection = psycopg.Connection[Any]
TABLES = ("cdc_installation", "cdc_capture", "cdc_journal")
T = TypeVar("T")
_QUERIES = "trigger/queries.sql"


class Waiting(NamedTuple):
    """The content of the journal: ``changes``, counted up to 100,001.  ``age``: of the oldest, in seconds.  ``disk``:
    bytes that the journal takes.  ``consumer``: whether a session holds its lock."""

    changes: int
    age: float
    disk: int
    consumer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server's properties that both installers read.  ``version``: as in server_version_num.  ``schema``: the
    session's current one, empty when there is none."""

    version: int
    standby: bool
    read_only: bool
    role: str
    database: str
    schema: str
    may_create: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view or the like of the ERP.  ``kind``: pg_class.relkind; ``r`` is an ordinary table."""

    name: str
    kind: str
    owner: str
    has_key: bool
    columns: list[str]
    key: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer(Server):
    """The server as the installer of triggers must know it.  ``schema_…``: the state of the schema cdc for this
    role.  ``present``: our tables in it.  ``namesakes``: others' tables that are named like ours.  ``silent_roles``:
    those in whose sessions no trigger fires by default."""

    schema_exists: bool
    schema_owned: bool
    schema_ours: bool
    present: list[str]
    marker_exists: bool
    states_exist: bool
    schema_usable: bool
    namesakes: list[str]
    silent_roles: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTable(Relation):
    """A table as the installer of triggers must know it.  ``styled``: it has columns whose text depends on the
    session's settings.  ``partitions``: their names for statements.  ``foreign``: the code of others because of which
    its rows are not read; see foreign.sql."""

    may_trigger: bool
    styled: bool
    foreign: str = ""
    partitions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A function in our schema.  ``definer``: it has its owner's rights.  ``open``: everybody may call it.
    ``appends``: it is the one that writes the journal for all triggers."""

    name: str
    source: str
    definer: bool
    settings: list[str] = field(default_factory=list)
    open: bool = False
    appends: bool = False


@dataclass(frozen=True, slots=True)
class PostgresTrigger:
    """A trigger of ours, or of our names, on a table.  ``enabled``: pg_trigger.tgenabled.  ``function``: its name in
    our schema; None when it calls another one."""

    table: str
    name: str
    enabled: str
    type: int
    condition: bool
    function: str | None


@dataclass(frozen=True, slots=True)
class PostgresState:
    """The state of the database that a plan depends on.  ``version`` is None when there is no journal of ours (or this
    role may not look); ``schema`` is the ERP's, as installed, else the session's.  ``append``: the function that
    writes the journal for all triggers.  ``changed``: captured tables whose triggers are not those that were
    installed, even if they look the same."""

    server: PostgresServer
    schema: str
    version: int | None = None
    captures: Mapping[str, Capture] = field(default_factory=dict)
    tables: Mapping[str, PostgresTable] = field(default_factory=dict)
    functions: Mapping[str, FoundFunction] = field(default_factory=dict)
    triggers: Mapping[str, tuple[PostgresTrigger, ...]] = field(default_factory=dict)
    append: FoundFunction | None = None
    changed: frozenset[str] = frozenset()

    def hiding(self, patterns_of: Callable[[str], SecretPatterns]) -> PostgresState:
        """Return the same, as if what is installed were captured with these patterns."""
        captures = [replace(each, patterns=patterns_of(name)) for name, each in self.captures.items()]
        return replace(self, captures={each.table: each for each in within(self.tables, captures)})

    @property
    def installed(self) -> Collection[str]:
        return self.captures

    @property
    def complete(self) -> bool:
        return self.version is not None and len(self.server.present) == len(TABLES)

    @property
    def journal_lost(self) -> bool:
        """Triggers of ours are there without the tables that they need: nothing is recorded."""
        lost = self.server.schema_ours and len(self.server.present) < len(TABLES)
        return lost and bool(self.functions.keys() - {PROBE})


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Read everything within the block from one snapshot; the connection must be outside a transaction."""
    with connection.transaction():
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def fetch(connection: Connection, noun: type[T], query: str, parameters: Params | None = None, **parts: str) -> list[T]:
    """The rows of a statement of the folder ``postgres``, as these nouns.  ``parts``: by their names in it."""
    sql = render(f"postgres/{query}", server=load("postgres/read/server.sql"), **parts)
    with connection.cursor(row_factory=class_row(noun)) as cursor:
        return cursor.execute(sql.encode(), parameters).fetchall()


def inspect(connection: Connection) -> PostgresState:
    with snapshot(connection):
        return _inspect(connection)


def _inspect(connection: Connection) -> PostgresState:
    server = fetch(connection, PostgresServer, f"{_QUERIES}#inspect_server")[0]
    version, schema = None, server.schema
    captures: dict[str, Capture] = {}
    present = server.present if server.schema_usable else []
    with connection.cursor(row_factory=tuple_row) as cursor:
        if "cdc_installation" in present:
            installation = cursor.execute(load(f"postgres/{_QUERIES}#inspect_installation").encode()).fetchone()
            if installation is not None:
                version, schema = installation
        if "cdc_capture" in present:
            rows = cursor.execute(load(f"postgres/{_QUERIES}#inspect_captures").encode()).fetchall()
            captures = {name: Capture(name, frozenset(secrets)) for name, secrets in rows}
        changed: frozenset[str] = frozenset()
        if captures and version is not None and server.states_exist:
            states = render(f"postgres/{_QUERIES}#inspect_states", state=load("postgres/trigger/state.sql"))
            changed = frozenset(name for (name,) in cursor.execute(states.encode()).fetchall())
    parts = {name: load(f"postgres/read/{name}.sql") for name in ("exposed", "foreign")}
    tables = fetch(connection, PostgresTable, f"{_QUERIES}#inspect_tables", [schema], **parts)
    triggers: dict[str, tuple[PostgresTrigger, ...]] = {}
    for trigger in fetch(connection, PostgresTrigger, f"{_QUERIES}#inspect_triggers", [schema]):
        triggers[trigger.table] = (*triggers.get(trigger.table, ()), trigger)
    functions = fetch(connection, FoundFunction, f"{_QUERIES}#inspect_functions")
    return PostgresState(
        server,
        schema,
        version,
        captures,
        {table.name: table for table in tables},
        {function.name: function for function in functions if not function.appends},
        triggers,
        next((function for function in functions if function.appends), None),
        changed,
    )
