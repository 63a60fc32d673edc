"""Changes of a document's lines alone change the document, by every way to capture."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cdc.capture.base import JournalLimits
from cdc.mapping.catalogue import load_catalogue
from support.database import Database
from support.pipeline import install, pipeline
from support.routes import ROUTES, commit, each, routes

TABLES = (
    "CREATE TABLE pedidoscli (idpedido integer PRIMARY KEY, nombrecliente varchar(40), total double precision)",
    """CREATE TABLE lineaspedidoscli (
        idlinea integer PRIMARY KEY, idpedido integer, descripcion varchar(9), pvptotal double precision,
        FOREIGN KEY (idpedido) REFERENCES pedidoscli (idpedido))""",
)


def _line(number: int, order: int, text: str) -> str:
    return f"INSERT INTO lineaspedidoscli VALUES ({number}, {order}, '{text}', 0)"


#: Transactions, each with the events that it gives: name, order, lines, former lines (None: none are shown).
STEPS: tuple[tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]], ...] = (
    (
        ("INSERT INTO pedidoscli VALUES (1, 'Ada', 10)", _line(1, 1, "a"), _line(2, 1, "b")),
        (("order.created", 1, "ab", None),),
    ),
    (
        ("INSERT INTO pedidoscli VALUES (2, 'Eva', 20)", _line(3, 2, "c")),
        (("order.created", 2, "c", None),),
    ),
    (
        ("UPDATE lineaspedidoscli SET descripcion = 'A' WHERE idlinea = 1",),
        (("order.updated", 1, "Ab", "ab"),),
    ),
    ((_line(4, 1, "d"),), (("order.updated", 1, "Abd", "Ab"),)),
    (("DELETE FROM lineaspedidoscli WHERE idlinea = 2",), (("order.updated", 1, "Ad", "Abd"),)),
    (
        (
            "UPDATE lineaspedidoscli SET descripcion = 'D' WHERE idlinea = 4",
            "UPDATE pedidoscli SET total = 11 WHERE idpedido = 1",
        ),
        (("order.updated", 1, "AD", "Ad"),),
    ),
    (
        ("UPDATE lineaspedidoscli SET pvptotal = 1",),
        (("order.updated", 1, "AD", "AD"), ("order.updated", 2, "c", "c")),
    ),
    (
        ("UPDATE lineaspedidoscli SET idpedido = 2 WHERE idlinea = 4",),
        (("order.updated", 1, "A", "AD"), ("order.updated", 2, "cD", "c")),
    ),
    (
        (
            "UPDATE lineaspedidoscli SET descripcion = descripcion",
            "UPDATE pedidoscli SET nombrecliente = 'Bea' WHERE idpedido = 1",
        ),
        (("order.updated", 1, "A", None),),
    ),
    (
        ("DELETE FROM lineaspedidoscli WHERE idpedido = 2", "DELETE FROM pedidoscli WHERE idpedido = 2"),
        (("order.deleted", 2, "cD", None),),
    ),
)


def _seen(event: dict[str, Any]) -> tuple[Any, ...]:
    former = event.get("previous", {}).get("lines")
    return event["event"], event["key"]["idpedido"], _texts(event["data"]["lines"]), former and _texts(former)


def _texts(lines: list[dict[str, Any]]) -> str:
    return "".join(line["descripcion"] for line in lines)


def _sorted(events: list[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """The events of each order, in order; between records there is none."""
    return {order: [event for event in events if event[1] == order] for order in (1, 2)}


@pytest.mark.timeout(600)
async def test_change_of_lines_alone_updates_document(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """First as each transaction is committed, then all together, as after a stop of the consumer.

    A log may give these in several batches.  Lines that a transaction did not change are then as they are in the
    database when its batch is read: only those of the newest event are certain."""
    expected = _sorted([event for _, events in STEPS for event in events])
    async with routes(request, tmp_path, TABLES, "order.*", 'include = ["lines"]') as running:
        async with running.running():
            count = 0
            for statements, events in STEPS:
                await running.commit(*statements)
                count += len(events)
                await running.until(count)
            await running.commit("DELETE FROM lineaspedidoscli", "DELETE FROM pedidoscli")
            await running.until(count := count + 1)
        for source in running.databases:
            events = running.of(source)
            assert _sorted([_seen(event) for event in events[:-1]]) == expected, source
            assert _seen(events[-1]) == ("order.deleted", 1, "A", None), source
            merged = next(event for event in events if "total" in event.get("previous", {}))
            assert (merged["previous"]["total"], merged["data"]["total"]) == (10.0, 11.0), source
        backlog = STEPS[:-1]  # a document that is gone when its lines are read has no event
        for statements, _ in backlog:
            await running.commit(*statements)
        expected = _sorted([event for _, events in backlog for event in events])
        async with running.running():
            await running.until(count + sum(map(len, expected.values())))
        for source in running.databases:
            again = _sorted([_seen(event) for event in running.of(source)[count:]])
            if ROUTES[source][1] == "triggers":
                assert again == expected, source
            for order, events in again.items():
                assert [event[:2] for event in events] == [event[:2] for event in expected[order]], source
                assert events[-1] == expected[order][-1], source


async def test_huge_transactions_give_one_event_for_each_document(database: Database) -> None:
    """They are read in parts; the lines of a document may lie in several."""
    rules = load_catalogue('[entity.order]\ninclude = ["lines"]')
    await asyncio.to_thread(each, database, TABLES)
    install(database, rules)
    orders = ", ".join(f"({number}, 'Ada', 1)" for number in range(2, 402))
    own = ", ".join(f"({number}, 1, 'x', 0)" for number in range(1, 5001))
    others = ", ".join(f"({number}, {2 + number % 400}, 'x', 0)" for number in range(5001, 9001))
    async with pipeline(database, rules) as running:
        await asyncio.to_thread(commit, database, ["INSERT INTO pedidoscli VALUES (1, 'Ada', 10)"])
        assert [[event.name for event in each] for each in await running.drain()] == [["order.created"]]
        statements = (f"INSERT INTO pedidoscli VALUES {orders}", f"INSERT INTO lineaspedidoscli VALUES {own}, {others}")
        await asyncio.to_thread(commit, database, statements)
        (events,) = await running.drain()
        assert Counter(event.name for event in events) == {"order.created": 400, "order.updated": 1}
        await asyncio.to_thread(commit, database, ["UPDATE lineaspedidoscli SET pvptotal = 1"])
        (events,) = await running.drain()
        assert Counter(event.name for event in events) == {"order.updated": 401}
        assert len({event.record for event in events}) == 401
        assert all(len(event.data["lines"]) == (5000 if event.key["idpedido"] == 1 else 10) for event in events)
        assert not [name for name in running.states if name.startswith("lines:")]


OWN = """
[entity.web_order]
table = "tienda_pedidos"
lines = { table = "tienda_lineas", column = "idpedido" }
include = ["lines"]
"""


async def test_lines_inserted_at_once_are_no_former_lines(postgres_db: Database) -> None:
    """The transaction is read in parts: the lines of all of them are in the database when the first is mapped."""
    postgres_db.execute("CREATE TABLE tienda_pedidos (id integer PRIMARY KEY)")
    postgres_db.execute("CREATE TABLE tienda_lineas (id integer PRIMARY KEY, idpedido integer, texto varchar(20))")
    postgres_db.execute("INSERT INTO tienda_pedidos VALUES (1)")
    catalogue = load_catalogue(OWN)
    install(postgres_db, catalogue)
    async with pipeline(postgres_db, catalogue, JournalLimits(batch=100, huge=200)) as running:
        postgres_db.execute("INSERT INTO tienda_lineas SELECT n, 1, 'x' FROM generate_series(1, 600) n")
        ((event,),) = await running.drain()
        postgres_db.execute("UPDATE tienda_lineas SET texto = 'y' WHERE id = 7")
        ((edited,),) = await running.drain()
    assert (event.name, len(event.data["lines"])) == ("web_order.updated", 600)
    assert event.previous is not None
    named = event.previous["lines_changed"]
    assert named == {"added": [{"id": n} for n in range(1, 101)], "removed": [], "changed": [], "more": True}
    assert edited.previous is not None
    assert edited.previous["lines_changed"]["changed"] == [{"key": {"id": 7}, "previous": {"texto": "x"}}]
