"""``cdc backfill`` as users type it: who gets the rows, what is refused, looking on, pausing, ending."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.changing import fill
from support.consumer import Consumer
from support.database import Database

ROWS = 250


@pytest.fixture
def consumer(database: Database, tmp_path: Path) -> Consumer:
    """With triggers on a table that has rows already."""
    made = Consumer.of_one_table(tmp_path, database)
    fill(database, ROWS)
    database.execute("UPDATE contadores SET nota = '100%' WHERE id < 10")
    return made


def backfills(told: str) -> list[dict[str, Any]]:
    return list(json.loads(told)["backfills"])


def existing(consumer: Consumer) -> list[int]:
    """Keys of the rows that were told of."""
    told = consumer.run("event", "export", "--event", "contadores.existing")
    return [int(json.loads(line)["record"].rpartition(":")[2]) for line in told.splitlines()]


def test_the_command_captures_itself_while_no_consumer_does(consumer: Consumer) -> None:
    added = consumer.add_endpoint("http://127.0.0.1:9/", "contadores.deleted")
    (done,) = backfills(consumer.run("backfill", "contadores", "--endpoint", added["id"], "--json"))
    assert (done["state"], done["rows"], done["endpoint"]) == ("done", ROWS, added["id"])
    assert len(existing(consumer)) == ROWS
    assert len(json.loads(consumer.run("delivery", "list", "--limit", "1000", "--json"))["deliveries"]) == ROWS
    assert backfills(consumer.run("backfill", "--list", "--json")) == [done]
    audit = json.loads(consumer.run("audit", "list", "--json"))["entries"]
    assert [entry["subject"] for entry in audit if entry["action"] == "backfill.begin"] == [done["id"]]


def test_a_condition_narrows_it(consumer: Consumer) -> None:
    (done,) = backfills(consumer.run("backfill", "contadores", "--where", "nota LIKE '100%' AND id <> 3", "--json"))
    assert done["rows"] == 9
    assert sorted(existing(consumer)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Say which tables"),
        (["contadores", "--list"], "Say which tables"),
        (["clientes2"], "No event reports existing rows of clientes2"),
        (["contadores", "--endpoint", "ep_9"], "There is no endpoint ep_9"),
        (["contadores", "--where", "nada = 1"], "does not fit the table contadores"),
        (["contadores", "--where", "id = 1; DROP TABLE contadores"], "semicolon"),
        (["--cancel", "bf_9"], "There is no backfill bf_9"),
        (["--watch", "bf_9"], "There is no backfill bf_9"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    postgres_db: Database, tmp_path: Path, arguments: list[str], told: str
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    said = consumer.fail("backfill", *arguments, expect=2)
    assert told in said
    assert backfills(consumer.run("backfill", "--list", "--json")) == []


def test_a_paused_one_rests_and_goes_on_and_a_cancelled_one_has_ended(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    fill(postgres_db, ROWS)
    (begun,) = backfills(consumer.run("backfill", "contadores", "--detach", "--json"))
    (paused,) = backfills(consumer.run("backfill", "--pause", begun["id"], "--json"))
    assert paused["state"] == "paused"
    assert backfills(consumer.run("backfill", "--watch", begun["id"], "--json", expect=130)) == [paused]
    consumer.run("backfill", "--resume", begun["id"])
    (done,) = backfills(consumer.run("backfill", "--watch", begun["id"], "--json"))
    assert (done["state"], done["rows"]) == ("done", ROWS)
    (other,) = backfills(consumer.run("backfill", "contadores", "--detach", "--json"))
    (cancelled,) = backfills(consumer.run("backfill", "--cancel", other["id"], "--json"))
    assert (cancelled["state"], cancelled["rows"]) == ("cancelled", 0)
    assert backfills(consumer.run("backfill", "--watch", other["id"], "--json", expect=1)) == [cancelled]


def test_a_condition_that_meets_a_value_it_cannot_take_fails_and_tells_no_value(
    postgres_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    postgres_db.execute("INSERT INTO contadores VALUES (1, 1, 'Ann Secret')")
    told = consumer.run("backfill", "contadores", "--where", "CAST(nota AS integer) > 1", "--json", expect=1)
    (failed,) = backfills(told)
    assert failed["state"] == "failed"
    assert "22P02" in failed["error"]
    assert "Secret" not in told


def test_a_planner_that_looks_at_values_tells_none(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    postgres_db.execute("INSERT INTO contadores VALUES (1, 1, 'geheimnis')")
    postgres_db.execute(
        "CREATE FUNCTION a_note() RETURNS text STABLE LANGUAGE sql AS 'SELECT nota FROM public.contadores'"
    )
    for secret in ("public.a_note()", "CAST(public.a_note() AS regclass)"):
        condition = f"id < CAST({secret} AS integer)"
        said = consumer.fail("backfill", "contadores", "--where", condition, expect=2)
        assert "SQLSTATE" in said, said
        assert "geheimnis" not in said


def test_a_dry_run_begins_nothing(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    fill(postgres_db, ROWS)
    postgres_db.execute("ANALYZE contadores")
    (planned,) = backfills(consumer.run("backfill", "--all", "--dry-run", "--json"))
    assert (planned["table"], planned["estimate"], planned["receivers"]) == ("contadores", ROWS, [])
    assert backfills(consumer.run("backfill", "--list", "--json")) == []
