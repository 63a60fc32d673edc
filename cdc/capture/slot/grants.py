"""The least that an installing and a consuming account need to read PostgreSQL's log, as statements.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.slot.state import SlotInstallation
from cdc.capture.triggers.postgres_grants import CONSUMER, INSTALLER, consumer_select
from cdc.capture.triggers.postgres_render import quote
from cdc.model.column import Capture
from cdc.sqlfile import render


def grants(
    found: SlotInstallation, captures: Sequence[Capture], installer: str = INSTALLER, consumer: str = CONSUMER
) -> str:
    """Tables that do not exist are left out: the plan names them."""
    existing = [capture for capture in captures if capture.table in found.tables]
    owners = sorted({found.tables[capture.table].owner for capture in existing})
    return render(
        "postgres/slot/grants.sql",
        installer=quote(installer),
        consumer=quote(consumer),
        database=quote(found.server.database),
        schema=quote(found.schema),
        owners="\n".join(f"GRANT {quote(owner)} TO {quote(installer)};" for owner in owners),
        selects="\n".join(
            consumer_select(found.schema, capture, found.tables[capture.table].columns, consumer)
            for capture in existing
        ),
    )
