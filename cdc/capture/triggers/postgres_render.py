"""The SQL text of each thing that capture needs in a PostgreSQL database, and of the least grants.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from string import Template

import orjson

from cdc.capture.triggers.postgres_state import PostgresState
from cdc.database.postgres_capture import JOURNAL_VERSION, LOCK_CLASS, LOCK_IDLE, PROBE
from cdc.database.sqlfile import load, render
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, Accounts, heading
from cdc.model.errors import printable_line

_FOLDER = "postgres/trigger"
#: The SET clauses of the function of a table with columns that need them, in lower case as pg_proc.proconfig has them.
_STYLES = {
    "search_path": "pg_catalog, pg_temp",  # names of tables, types and functions (regclass) have their schema
    "datestyle": "iso",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "timezone": "utc",  # moments within arrays, ranges and composite values are written with their offset
}


@dataclass(frozen=True, slots=True)
class TriggerShape:
    """One of the triggers that each captured table has.  ``type``: pg_trigger.tgtype.  None has a WHEN."""

    name: str
    type: int


TRIGGERS = (
    TriggerShape("_cdc_row", 1 | 4 | 8),  # row, insert, delete
    TriggerShape("_cdc_truncate", 32),
    TriggerShape("_cdc_update", 1 | 16),  # row, update
)
#: How a trigger function begins since it compares rows itself.  Before, a WHEN of the trigger for updates did.
COMPARES = "IF OLD OPERATOR(pg_catalog.*=) NEW"


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal that means the same whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def text_array(values: Iterable[str]) -> str:
    """Return an array literal, sorted, so that the same set gives the same text."""
    return f"ARRAY[{', '.join(map(literal, sorted(values)))}]::pg_catalog.text[]"


def qualified(schema: str, table: str) -> str:
    return f"{quote(schema)}.{quote(table)}"


def statement(name: str, **parts: str) -> str:
    """Return a statement of statements.sql.  ``parts``: quoted, by their names in it."""
    return render(f"{_FOLDER}/statements.sql#{name}", **parts)


def journal(schema: str) -> str:
    return render(f"{_FOLDER}/journal.sql", version=str(JOURNAL_VERSION), schema=literal(schema))


def probe(*, existing: bool) -> list[str]:
    """Return the statements that create the probe.  ``existing``: only its function, so that grants on the table
    remain."""
    made = [] if existing else [statement("probe")]
    triggers = [] if existing else [trigger(shape, "cdc", PROBE) for shape in TRIGGERS]
    revoke = statement("revoke_function", function=quote(PROBE))
    return [*made, function(Capture(PROBE), styled=False), revoke, *triggers]


def function_settings(*, styled: bool) -> frozenset[str]:
    return frozenset(f"{name}={value}" for name, value in _STYLES.items() if styled)


def function(capture: Capture, *, styled: bool, partitioned: bool = False) -> str:
    """Return the statement that creates a table's trigger function.  ``styled``: the table has columns whose text
    depends on the session's settings."""
    head, _, tail = _function_parts(capture)
    head = Template(head).substitute(
        function=quote(capture.table),
        settings=" ".join(f"SET {name} = {value}" for name, value in _STYLES.items() if styled),
    )
    return f"{head}{dollar_quoted(function_source(capture, partitioned=partitioned))}{tail}"


def function_source(capture: Capture, *, partitioned: bool = False) -> str:
    """The function's body as pg_proc.prosrc holds it.  Triggers of a partitioned table fire on its partitions."""
    _, body, _ = _function_parts(capture)
    name = literal(capture.table) if partitioned else "TG_TABLE_NAME"
    # whether a row's image has one of the secret keys, written as row_to_json writes them: no space before the
    # colon; the comparison is of bytes, independent of the database's collation
    image = 'COALESCE(new_image, old_image) COLLATE pg_catalog."C"'
    keys = (literal(f"{orjson.dumps(secret).decode()}:") for secret in sorted(capture.secrets))
    found = " OR ".join(f"pg_catalog.strpos({image}, {key}) OPERATOR(pg_catalog.>) 0" for key in keys)
    return Template(body).substitute(name=name, secrets=text_array(capture.secrets), found=found)


def append(schema: str, owners: Collection[str]) -> str:
    """Return the statement that creates the function that writes the journal.  ``owners``: of the captured tables."""
    head, _, tail = load(f"{_FOLDER}/append.sql").split("$$cdc$$")
    return f"{head}{dollar_quoted(append_source(schema, owners))}{tail}"


def append_source(schema: str, owners: Collection[str]) -> str:
    """The function's body as pg_proc.prosrc holds it."""
    _, body, _ = load(f"{_FOLDER}/append.sql").split("$$cdc$$")
    return Template(body).substitute(
        writers=f"{text_array(owners if len(owners) == 1 else ())}::pg_catalog.name[]",
        schema=literal(schema),
        namespace=literal(quote(schema)),
        prefix=literal(f"{quote(schema)}."),
        probe=PROBE,
        lock_class=str(LOCK_CLASS),
        lock_idle=str(LOCK_IDLE),
    )


def _function_parts(capture: Capture) -> tuple[str, str, str]:
    """The template before, within and after its dollar quotes.  It is split before names are put in: a table or
    a column may have the quote in its name."""
    name = "function_secrets" if capture.secrets else "function"
    head, body, tail = load(f"{_FOLDER}/{name}.sql").split("$$cdc$$")
    return head, body, tail


def dollar_quoted(body: str) -> str:
    """Quote a function's body so that nothing in it ends the quote."""
    tag = next(tag for tag in (f"$cdc{number or ''}$" for number in count()) if tag not in body)
    return f"{tag}{body}{tag}"


def trigger(shape: TriggerShape, schema: str, table: str) -> str:
    name = shape.name.removeprefix("_cdc_")
    return statement(f"trigger_{name}", table=qualified(schema, table), function=quote(table))


def remember_capture(capture: Capture) -> str:
    secrets = text_array(capture.secrets)
    state = load(f"{_FOLDER}/state.sql")
    return statement("capture", table=literal(capture.table), secrets=secrets, state=state)


def grants(
    found: PostgresState, captures: Sequence[Capture], choice: AccountChoice, accounts: Accounts, connects: str = ""
) -> str:
    """Return the least grants.  Tables that do not exist are left out: the plan names them.  ``connects``: statements
    that let nobody else connect."""
    existing = [capture for capture in captures if capture.table in found.tables]
    tables = ",\n    ".join(each for capture in existing for each in with_partitions(found, capture.table))
    consumer = accounts[AccountRole.CONSUMER].name
    return render(
        "postgres/trigger/grants.sql",
        **account_parts(accounts, choice, connects),
        database=quote(found.server.database),
        schema=quote(found.schema),
        tables=tables,
        selects="\n".join(
            consumer_select(found.schema, capture, found.tables[capture.table].columns, consumer)
            for capture in existing
        ),
    )


def account_parts(accounts: Accounts, choice: AccountChoice, connects: str, attributes: str = "") -> dict[str, str]:
    """Return the parts of the statements for accounts.  ``attributes``: of their roles."""
    parts = {"heading": "\n".join(heading(choice, accounts)), "connects": connects}
    for role, account in accounts.items():
        name = quote(account.name)
        statement = f"CREATE ROLE {name} LOGIN{attributes} PASSWORD {literal(account.password)};"
        exists = f"-- {printable_line(account.name)} exists: its password stays."
        alter = [f"ALTER ROLE {name}{attributes};"] if attributes else []
        parts |= {role.value: name, f"create_{role}": statement if account.password else "\n".join([exists, *alter])}
    return parts


def connects(database: str, roles: Sequence[str]) -> str:
    """Return the statements that let only these roles, and those of this script, connect to a database."""
    grant = f"GRANT CONNECT ON DATABASE {quote(database)} TO {', '.join(map(quote, roles))};\n" if roles else ""
    return statement("connects", database=quote(database), grant=grant)


def with_partitions(found: PostgresState, table: str) -> list[str]:
    return [qualified(found.schema, table), *found.tables[table].partitions]


def consumer_select(schema: str, capture: Capture, columns: Sequence[str], consumer: str) -> str:
    """Column by column where the table has secrets."""
    listed = ""
    if capture.secrets.intersection(columns):
        open_ones = [name for name in columns if name not in capture.secrets]
        listed = f" ({', '.join(map(quote, open_ones))})"
    return f"GRANT SELECT{listed} ON {qualified(schema, capture.table)} TO {quote(consumer)};"
