"""``cdc run`` as a process of its own, fed with statements of one user: what came of each transaction."""

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

from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.model.event import Event
from support import recording_postgres
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.notation import parts, without_cascades

#: A row of this table is written behind each transaction: when its event is here, what is before it has been mapped.
MARK = "marcas"
#: A foreign key nulls it when the ERP replaces an accounting entry: where that is not seen, the row's next change says
#: that it was null before.
NULLED = "idasiento"
RULES = f'tables = ["{MARK}"]\n'
CATALOGUE: Catalogue = load_catalogue(RULES, "rules.toml")
INSTALL = {"triggers": "install-triggers", "logical": "install-slot"}


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
        connection = self.database.connect(autocommit=self.database.flavour == "postgresql")
        for statement in statements:
            if self.database.flavour == "postgresql":
                recording_postgres.run(connection, (statement,))
            else:
                _run(connection, statement)
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
        """Return the part of the payloads that is equal in every run."""
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


def _run(connection: Any, statement: str) -> None:
    try:
        connection.cursor().execute(statement)
    except pymysql.err.IntegrityError:
        return


def _consumer(database: Database, folder: Path, more: str = "") -> Consumer:
    database.execute(f"CREATE TABLE {MARK} (id INT PRIMARY KEY)")
    consumer = Consumer.configure(folder, database.info, f'rules = "rules.toml"\n{more}')
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    return consumer


def as_events(payloads: Sequence[dict[str, Any]]) -> list[Event]:
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


async def played(script: Script, database: Database, folder: Path, capture: str) -> Play:
    if script.prepare is not None:
        script.prepare(database)
    consumer = _consumer(database, folder, f'capture = "{capture}"')
    if capture in INSTALL:
        await consumer.call(INSTALL[capture])
    lines = script.seen(cascades=capture in INSTALL or database.flavour == "mysql")
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
