"""``cdc run`` with ``capture = "binlog"`` as a process of its own: the events beside the statements, in order, and the
same payloads as through triggers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pymysql
import pytest

from cdc.event import Event
from cdc.mapping.catalogue import Catalogue, load_catalogue
from support.actions import load_actions
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.notation import assert_same, parts, without_cascades
from support.recording import SHARED, expectation, load, recording, run

ERP = Path(__file__).parents[1] / "golden" / "erp.sql"
#: A row of this table is written behind each transaction: when its event is here, what is before it has been mapped.
MARK = "marcas"
#: A foreign key nulls it when the ERP replaces an accounting entry: where that is not seen, the row's next change says
#: that it was null before.
NULLED = "idasiento"
RULES = f'tables = ["{MARK}"]\n'
CATALOGUE: Catalogue = load_catalogue(RULES, "rules.toml")
FLAVOURS = ("mariadb", "mysql")


@dataclass(frozen=True, slots=True)
class Script:
    """``expected``: a line for each transaction that gives events.  ``prepare``: what is there before."""

    statements: tuple[str, ...]
    expected: tuple[str, ...]
    prepare: Callable[[Database], None] | None = None

    def seen(self, *, cascades: bool) -> list[str]:
        return list(self.expected) if cascades else without_cascades(self.expected)


@dataclass
class Play:
    """Statements of one user, and what a consumer made of them: transaction → events, in the order of the commits."""

    database: Database
    consumer: Consumer
    inbox: Inbox
    marks: int = 0
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def run(self, statements: Sequence[str]) -> None:
        """Some are refused by foreign keys, as they are meant to be."""
        connection = self.database.connect()
        cursor = connection.cursor()
        for statement in statements:
            try:
                cursor.execute(statement)
            except pymysql.err.IntegrityError:
                continue
            if statement in ("COMMIT", "ROLLBACK"):
                await self._mark()
        connection.commit()
        await self._mark()

    async def _mark(self) -> None:
        self.marks += 1
        self.database.execute(f"INSERT INTO {MARK} VALUES (%s)", [self.marks])
        name, number = f"{MARK}.created", self.marks
        await self.inbox.until(lambda inbox: any(e["event"] == name and e["key"]["id"] == number for e in inbox.events))

    async def finish(self, events: int) -> None:
        """``events``: how many there are, apart from the marks."""
        await self.inbox.until(lambda inbox: len(inbox.received) >= events + self.marks)
        for event in self.inbox.events:
            if not event["event"].startswith(f"{MARK}."):
                self.events.setdefault(event["transaction"], []).append(event)

    def payloads(self) -> Counter[bytes]:
        """What does not differ from run to run."""
        kept = ("event", "source", "key", "data", "previous", "inferred")
        found: Counter[bytes] = Counter()
        for event in self.inbox.events:
            if event["event"].startswith(f"{MARK}."):
                continue
            payload = {name: event[name] for name in kept if name in event}
            if self.database.flavour == "mariadb" and NULLED in payload.get("previous", {}):
                payload["previous"] = {name: old for name, old in payload["previous"].items() if name != NULLED}
            found[orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)] += 1
        return found


def _consumer(database: Database, folder: Path, more: str = "") -> Consumer:
    database.execute(f"CREATE TABLE {MARK} (id INT PRIMARY KEY)")
    consumer = Consumer.configure(folder, database.info, f'rules = "rules.toml"\n{more}')
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    return consumer


def _as_events(payloads: Sequence[dict[str, Any]]) -> list[Event]:
    tables = {entity.name: entity.table for entity in CATALOGUE.entities}
    return [_as_event(payload, tables[payload["event"].partition(".")[0]]) for payload in payloads]


def _as_event(payload: dict[str, Any], table: str) -> Event:
    return Event(
        id=payload["id"],
        name=payload["event"],
        source=payload["source"],
        table=table,
        record=f"{table}:{payload['key']}",
        key=payload["key"],
        data=payload["data"],
        previous=payload.get("previous"),
        time=datetime.now(UTC),
        transaction=payload["transaction"],
    )


def _in_order(play: Play) -> list[list[Event]]:
    """Transactions by the last number of their GTIDs."""
    tokens = sorted(play.events, key=lambda token: int(token.replace(":", "-").rpartition("-")[2]))
    return [_as_events(play.events[token]) for token in tokens]


async def _played(script: Script, database: Database, folder: Path, capture: str) -> Play:
    if script.prepare is not None:
        script.prepare(database)
    consumer = _consumer(database, folder, f'capture = "{capture}"')
    if capture == "triggers":
        await consumer.call("install-triggers")
    lines = script.seen(cascades=capture == "triggers" or database.flavour == "mysql")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        play = Play(database, consumer, inbox)
        async with consumer.running():
            await play.run(script.statements)
            await play.finish(sum(parts(line).total() for line in lines))
        problems = [line for line in consumer.messages() if line["level"] in ("warning", "error")]
        assert problems == []
    return play


async def _by_both(script: Script, flavour: str, own_server: Any, folder: Path, *, erp: bool) -> None:
    by_log = await _played(script, own_server(flavour, binlog=True, erp=erp), folder / "log", "binlog")
    transactions = _in_order(by_log)
    lines = script.seen(cascades=flavour == "mysql")
    assert len(transactions) == len(lines)
    for line, events in zip(lines, transactions, strict=True):
        assert_same(line, events, CATALOGUE)
    by_triggers = await _played(script, own_server(flavour, binlog=True, erp=erp), folder / "triggers", "triggers")
    if flavour == "mysql":
        assert by_triggers.payloads() - by_log.payloads() == Counter()
    # what only cascades change is in no payload of MariaDB's log
    assert by_log.payloads() - by_triggers.payloads() == Counter()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_process_gives_the_events_beside_the_statements(
    flavour: str, own_server: Any, tmp_path: Path
) -> None:
    actions = load_actions(ERP)
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in action.expected),
    )
    await _by_both(script, flavour, own_server, tmp_path, erp=True)


def _begin_recording(database: Database) -> None:
    load(database)
    connection = database.connect()
    run(connection, recording()[0].statements)
    connection.commit()


@pytest.mark.timeout(600)
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recording is not at hand (CDC_SHARED)")
@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_process_gives_the_events_of_the_recording(flavour: str, own_server: Any, tmp_path: Path) -> None:
    actions, lines = recording()[1:], expectation()
    script = Script(
        tuple(statement for action in actions for statement in action.statements),
        tuple(line for action in actions for line in lines.get(action.number, [])),
        _begin_recording,
    )
    await _by_both(script, flavour, own_server, tmp_path, erp=False)
