"""One consumer that reads six databases, by every way to capture on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database

#: Source → fixture of its database, way to capture.
ROUTES = {
    "postgres": ("postgres_db", "triggers"),
    "postgres-log": ("postgres_log_db", "logical"),
    "mariadb": ("mariadb_db", "triggers"),
    "mariadb-log": ("mariadb_binlog_db", "binlog"),
    "mysql": ("mysql_db", "triggers"),
    "mysql-log": ("mysql_binlog_db", "binlog"),
}


@dataclass
class Routes:
    """``databases``: by source."""

    databases: dict[str, Database]
    consumer: Consumer
    inbox: Inbox

    async def commit(self, *statements: str) -> None:
        """Run the statements in one transaction of each database."""
        await asyncio.gather(*(asyncio.to_thread(commit, one, statements) for one in self.databases.values()))

    async def each(self, *statements: str) -> None:
        """Run the statements in a transaction each, in each database."""
        await asyncio.gather(*(asyncio.to_thread(each, one, statements) for one in self.databases.values()))

    def of(self, source: str) -> list[dict[str, Any]]:
        """The events of one source, each once, in the order received."""
        return list({event["id"]: event for event in self.inbox.events if event["source"] == source}.values())

    async def until(self, count: int) -> None:
        """Wait until that many events have come from each source."""
        await self.inbox.until(lambda _: all(len(self.of(source)) >= count for source in self.databases), 120)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        started = sum(message["message"] == "reading" for message in self._messages())
        async with self.consumer.running():
            await self.consumer.logged("reading", times=started + len(self.databases), seconds=120)
            yield

    def _messages(self) -> list[dict[str, Any]]:
        return self.consumer.messages() if self.consumer.log.exists() else []


def commit(database: Database, statements: Sequence[str]) -> None:
    connection = database.connect()
    try:
        for statement in statements:
            connection.cursor().execute(statement)
        connection.commit()
    finally:
        connection.close()


def each(database: Database, statements: Sequence[str]) -> None:
    connection = database.connect(autocommit=True)
    try:
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


@asynccontextmanager
async def routes(
    request: pytest.FixtureRequest, folder: Path, tables: Sequence[str], events: str, options: str = ""
) -> AsyncIterator[Routes]:
    """The databases with these tables, captured and not yet read, and an endpoint that wants ``events``."""
    databases = {source: request.getfixturevalue(fixture) for source, (fixture, _) in ROUTES.items()}
    sources = [
        f'[source.{source}]\nurl = "{database_url(databases[source].info)}"\ncapture = "{way}"\n{options}\n'
        for source, (_, way) in ROUTES.items()
    ]
    consumer = Consumer.with_sources(folder, "\n".join(sources))
    inbox = Inbox()
    made = Routes(databases, consumer, inbox)
    await made.each(*tables)
    triggers = [part for source, (_, way) in ROUTES.items() if way == "triggers" for part in ("--source", source)]
    await consumer.call("install-triggers", *triggers)
    await consumer.call("install-slot", "--source", "postgres-log")
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, events)
        yield made
