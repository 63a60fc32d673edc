"""The least that an installing and a consuming account need on PostgreSQL, as statements.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.triggers.postgres_render import qualified, quote
from cdc.capture.triggers.postgres_state import PostgresState
from cdc.model.column import Capture
from cdc.sqlfile import render

INSTALLER = "cdc_installer"
CONSUMER = "cdc_consumer"


def grants(
    found: PostgresState, captures: Sequence[Capture], installer: str = INSTALLER, consumer: str = CONSUMER
) -> str:
    """Tables that do not exist are left out: the plan names them."""
    existing = [capture for capture in captures if capture.table in found.tables]
    tables = ",\n    ".join(qualified(found.schema, capture.table) for capture in existing)
    return render(
        "postgres/trigger/grants.sql",
        installer=quote(installer),
        consumer=quote(consumer),
        database=quote(found.server.database),
        schema=quote(found.schema),
        tables=tables,
        selects="\n".join(
            consumer_select(found.schema, capture, found.tables[capture.table].columns, consumer)
            for capture in existing
        ),
    )


def consumer_select(schema: str, capture: Capture, columns: Sequence[str], consumer: str = CONSUMER) -> str:
    """Column by column where the table has secrets."""
    listed = ""
    if capture.secrets.intersection(columns):
        open_ones = [name for name in columns if name not in capture.secrets]
        listed = f" ({', '.join(map(quote, open_ones))})"
    return f"GRANT SELECT{listed} ON {qualified(schema, capture.table)} TO {quote(consumer)};"
