"""`cdc event schema`: what is printed without a database is what each engine's database has."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.config import SourceConfig
from cdc.facturascripts.schema import tables
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.schema import event_types
from cdc.model.connection import ConnectionInfo
from cdc.runtime import capture
from support.database import Database
from support.pipeline import install

PACKAGED = {kind.name: kind.schema for kind in event_types(load_catalogue(), tables())}


async def _schemas(database: Database, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def connection(_source: SourceConfig) -> ConnectionInfo:
        return database.info

    monkeypatch.setattr(SourceConfig, "connection", connection)
    kinds = await capture.event_types_of(SourceConfig(url="postgresql://cdc@localhost/erp"))
    return {kind.name: kind.schema for kind in kinds}


async def test_the_schemas_of_facturascripts_tables(erp: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    install(erp)
    assert await _schemas(erp, monkeypatch) == PACKAGED


async def test_a_plugins_column_is_described(erp: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    install(erp)
    erp.execute("ALTER TABLE clientes ADD COLUMN puntos integer")
    found = (await _schemas(erp, monkeypatch))["customer.created"]
    assert found["properties"]["data"]["properties"].pop("puntos") == {"type": ["integer", "null"]}
    assert found == PACKAGED["customer.created"]
