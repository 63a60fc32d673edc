"""Workers of the last release on the outbox that a newer one has migrated: what they run is understood."""

from __future__ import annotations

import json
import re

import psycopg
import pytest
from psycopg import errors

from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.postgres.schema import migrate_postgres
from cdc.outbox.secret_box import SecretBox
from support.database import Database
from support.outboxes import endpoint
from support.releases import FOLDER, KEY, STATEMENTS, dumped, releases

LAST = releases()[-1]
#: A statement prepared without its values may leave their types open, which says nothing of tables and columns.
_HARMLESS = (errors.IndeterminateDatatype, errors.AmbiguousFunction)

_PARAMETER = r"%\((\w+)\)[sb]"


async def test_statements_of_the_last_release_fit_the_migrated_outbox(postgres_db: Database) -> None:
    """A migration expands: what it removes or renames, a worker of the last release still uses."""
    await migrate_postgres(postgres_db.info)
    statements: dict[str, str] = json.loads(dumped(LAST, STATEMENTS))
    assert len(statements) > 50
    connection = postgres_db.connect()
    connection.autocommit = True
    refused = {name: why for name, text in statements.items() if (why := refusal(connection, text))}
    assert not refused


@pytest.mark.parametrize("keys", [[KEY], []])
async def test_worker_of_the_last_release_finds_no_url_where_urls_are_sealed(
    keys: list[str], postgres_outbox_db: Database
) -> None:
    """It would send to the sealed text and give deliveries up.  Without its URL no endpoint can be read, so that it
    leases nothing."""
    outbox = PostgresOutbox(postgres_outbox_db.info, box=SecretBox(keys))
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    await outbox.close()
    statement: str = json.loads(dumped(LAST, STATEMENTS))["endpoints"]
    connection = postgres_outbox_db.connect()
    ((settings, *_),) = connection.execute(statement.encode(), {"id": None}).fetchall()
    connection.close()
    assert settings.get("url") == (None if keys else endpoint().url)
    assert ("sealed_url" in settings) is bool(keys)


def refusal(connection: psycopg.Connection[tuple[object, ...]], text: str) -> str:
    """Return why the server does not understand the statement; empty where it does.  Scripts and templates are passed
    over."""
    if ";" in text.rstrip("; \n") or "$" in text:
        return ""
    names = list(dict.fromkeys(re.findall(_PARAMETER, text)))
    numbered = re.sub(_PARAMETER, lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")
    try:
        connection.execute(f"PREPARE tried AS {numbered}".encode())
    except _HARMLESS:
        return ""
    except psycopg.Error as error:
        return str(error)
    connection.execute("DEALLOCATE tried")
    return ""


def test_the_last_release_left_its_statements() -> None:
    assert (FOLDER / LAST / STATEMENTS).is_file()


@pytest.mark.parametrize(
    "change", ["ALTER TABLE cdc_outbox.delivery RENAME due TO due_at", "DROP TABLE cdc_outbox.lane_alias"]
)
async def test_a_migration_that_contracts_is_found(change: str, postgres_db: Database) -> None:
    await migrate_postgres(postgres_db.info)
    postgres_db.execute(change)
    connection = postgres_db.connect()
    connection.autocommit = True
    statements = json.loads(dumped(LAST, STATEMENTS))
    assert [name for name, text in statements.items() if refusal(connection, text)]
