"""The SQL text of each thing that reading PostgreSQL's log needs, and of the least grants.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.slot.state import SlotInstallation
from cdc.capture.triggers.postgres_render import account_parts, consumer_select, literal, qualified, quote
from cdc.database.postgres_capture import PUBLICATION, Identity, SlotMemory
from cdc.database.sqlfile import render
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, Accounts

#: Partitions are published as themselves: as their table, messages would not say whether they hold a row or its key.
_OPTIONS = "publish = 'insert, update, delete, truncate', publish_via_partition_root = false"
#: From this version on a table with stored generated columns cannot be updated unless they are published.
_GENERATED_VERSION = 180000
#: From this version on a slot may follow a fail-over to a standby that is set up for it.
_FAILOVER_VERSION = 170000
_IDENTITIES = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}


def publication(version: int, *, exists: bool) -> str:
    name = "publication_options" if exists else "publication"
    options = f"{_OPTIONS}, publish_generated_columns = stored" if version >= _GENERATED_VERSION else _OPTIONS
    return _render(name, options=options)


def remember(memory: SlotMemory) -> str:
    return _render("remember", memory=literal(memory.dump()))


def identity(schema: str, table: str, wanted: Identity) -> str:
    words = f"USING INDEX {quote(wanted.index)}" if wanted.kind == "i" else _IDENTITIES[wanted.kind]
    return render("postgres/slot/statements.sql#identity", table=qualified(schema, table), identity=words)


def publish(schema: str, table: str) -> str:
    return _render("publish", table=qualified(schema, table))


def unpublish(schema: str, table: str) -> str:
    return _render("unpublish", table=qualified(schema, table))


def drop_publication() -> str:
    return _render("drop_publication")


def create_slot(name: str, version: int) -> str:
    more = ", failover => true" if version >= _FAILOVER_VERSION else ""
    return render("postgres/slot/statements.sql#create_slot", slot=literal(name), more=more)


def drop_slot(name: str) -> str:
    return render("postgres/slot/statements.sql#drop_slot", slot=literal(name))


def _render(name: str, **parts: str) -> str:
    return render(f"postgres/slot/statements.sql#{name}", publication=quote(PUBLICATION), **parts)


def grants(
    found: SlotInstallation, captures: Sequence[Capture], accounts: Accounts, choice: AccountChoice, connects: str = ""
) -> str:
    """See `cdc.capture.triggers.postgres_render.grants`."""
    existing = [capture for capture in captures if capture.table in found.tables]
    owners = sorted({found.tables[capture.table].owner for capture in existing})
    installer, consumer = (accounts[role].name for role in (AccountRole.INSTALLER, AccountRole.CONSUMER))
    return render(
        "postgres/slot/grants.sql",
        **account_parts(accounts, choice, connects, " REPLICATION"),
        database=quote(found.server.database),
        schema=quote(found.schema),
        owners="\n".join(f"GRANT {quote(owner)} TO {quote(installer)};" for owner in owners),
        selects="\n".join(
            consumer_select(found.schema, capture, found.tables[capture.table].columns, consumer)
            for capture in existing
        ),
    )
