"""`cdc table list` tells of every table whether it is captured, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.consumer import Consumer
from support.database import Database

PLUGIN = (
    "CREATE TABLE miplugin_cosas (id integer PRIMARY KEY, nombre varchar(40))",
    "CREATE TABLE miplugin_sin_clave (nombre varchar(40))",
    "CREATE TABLE miplugin_log (id integer PRIMARY KEY)",
)
MORE = """
tables = ["miplugin_*", "agentes"]
[source.main.rules]
exclude = ["miplugin_log"]
names = "model"
[source.main.rules.entity.variant]
enabled = false
"""


def _told(consumer: Consumer, *options: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(consumer.run("table", "list", "--json", *options))["tables"]}


def test_every_table_and_why(erp: Database, tmp_path: Path) -> None:
    for statement in PLUGIN:
        erp.execute(statement)
    consumer = Consumer.configure(tmp_path, erp.info, MORE)
    before = _told(consumer)
    assert before["facturascli"]["mend"] == "cdc install-triggers"
    consumer.run("install-triggers")
    told = _told(consumer)
    kept = ("captured", "events", "why", "mend")
    assert {name: tuple(told[name][key] for key in kept) for name in ("facturascli", "miplugin_cosas", "agentes")} == {
        "facturascli": (True, "invoice", "entity invoice", ""),
        "miplugin_cosas": (True, "miplugin_cosas", "pattern miplugin_* (`tables` of the source)", ""),
        "agentes": (True, "agente", "entity agente (`tables` of the source)", ""),
    }
    assert {
        name: (told[name]["captured"], told[name]["why"]) for name in told if not told[name]["captured"]
    }.items() >= {
        "miplugin_sin_clave": (False, "it has no primary key"),
        "miplugin_log": (False, "excluded (miplugin_log); name it in full to capture it all the same"),
        "variantes": (False, "entity variant is switched off, or all its events are"),
        "familias": (False, "no rule names it"),
    }.items()
    assert told["facturascli"]["model"] == "FacturaCliente"
    assert told.keys() == _tables(erp)
    assert set(_told(consumer, "--captured")) == {name for name in told if told[name]["captured"]}
    assert "miplugin_sin_clave" in consumer.run("table", "list", "--not-captured")


def _tables(database: Database) -> set[str]:
    schema = "public" if database.flavour == "postgresql" else database.name
    rows = database.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [schema])
    return {str(name) for (name,) in rows if not str(name).startswith("cdc_")}
