"""``cdc run`` with its management page, on a database with FacturaScripts' tables."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cdc.demo.story import load_story
from support.consumer import Consumer
from support.database import Database
from support.health import Health
from support.ports import free_port
from support.waiting import HANG_SECONDS

MANAGER, VIEWER = "marta", "vera"
PASSWORD = "seis gatos negros"
_LINK = re.compile(r"http://\S+/set-up/\S+")


@dataclass(frozen=True)
class Site:
    """``base``: its address, without a slash at the end.  ``link``: lets the first user in, once."""

    consumer: Consumer
    base: str
    link: str

    def user(self, name: str, role: str) -> None:
        password = self.consumer.folder / "password"
        password.write_text(PASSWORD)
        self.consumer.run("user", "add", name, "--role", role, "--password-file", str(password))


@asynccontextmanager
async def serving(database: Database, folder: Path) -> AsyncIterator[Site]:
    """Triggers are installed, nobody can sign in yet."""
    consumer = await asyncio.to_thread(_installed, database, folder)
    health = Health.of(consumer, free_port())
    async with consumer.running():
        yield Site(consumer, health.url, await _link(consumer))


def _installed(database: Database, folder: Path) -> Consumer:
    consumer = Consumer.configure(folder, database.info)
    consumer.run("install-triggers")
    return consumer


async def _link(consumer: Consumer) -> str:
    async with asyncio.timeout(HANG_SECONDS):
        while (found := _LINK.search(consumer.said.read_text())) is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)  # polled: a file sends no notice when it grows
        return found[0]


def play_story(database: Database) -> int:
    """The demo's story, in one go; how many events it gives."""
    paragraphs = [paragraph for chapter in load_story() for paragraph in chapter.paragraphs]
    connection = database.connect()
    for paragraph in paragraphs:
        for statement in paragraph.statements:
            connection.cursor().execute(statement)
        connection.commit()
    return sum(len(paragraph.events) for paragraph in paragraphs)
