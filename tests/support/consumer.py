"""``cdc run`` as users run it: a process of its own, which tests may kill; and a receiver that remembers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from cdc.demo.receiver import Received, Refusals, receiver_app
from cdc.model.connection import ConnectionInfo, Engine
from support.commands import Forked, run_command, start_command
from support.database import Database
from support.waiting import HANG_SECONDS

TABLE = "CREATE TABLE contadores (id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(40))"
RULES = 'tables = ["contadores"]\n'
NO_STANDING_BACK = "[process]\nnice = 0\n"
#: Processes of this test: one that failed leaves them behind.
_started: list[subprocess.Popen[bytes] | Forked] = []
#: Commands that tests call before there is an endpoint; an outbox is created for them.
_ON_AN_OUTBOX = ("backfill", "doctor", "user")


def database_url(info: ConnectionInfo) -> str:
    scheme = "postgresql" if info.engine is Engine.POSTGRESQL else "mysql"
    account = f"{quote(info.user, safe='')}:{quote(info.password, safe='')}"
    return f"{scheme}://{account}@{info.host}:{info.port}/{info.database}"


def kill_started() -> None:
    """Kill the consumers that still run."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.wait(timeout=30)


@dataclass
class Consumer:
    """A configuration in ``folder`` and the commands of the product on it.

    ``as_installed``: `start` begins a program and lets others of the machine go first, which is for what measures it.
    Without, it is forked (`support.commands`) and takes its share of a busy machine: a test waits for less, and writers
    do not leave it ever further behind.
    """

    folder: Path
    process: subprocess.Popen[bytes] | Forked | None = None
    log_name: str = "consumer.log"
    environment: dict[str, str] = field(default_factory=dict)  # of `start`, beside this process's own
    has_outbox: bool = False
    as_installed: bool = False

    @staticmethod
    def configure(folder: Path, info: ConnectionInfo, more: str = "", *, as_installed: bool = False) -> Consumer:
        sources = f'[source.main]\nurl = "{database_url(info)}"\n{more}\n'
        return Consumer.with_sources(folder, sources, as_installed=as_installed)

    @staticmethod
    def with_sources(folder: Path, sources: str, *, as_installed: bool = False) -> Consumer:
        """``sources``: their tables, as the configuration file has them."""
        folder.mkdir(parents=True, exist_ok=True)
        text = f'{sources}\n[outbox]\nurl = "sqlite:///cdc.db"\n{"" if as_installed else NO_STANDING_BACK}'
        text += '[dispatch]\nallow_private = true\n[web]\nlisten = ""\n'
        (folder / "cdc.toml").write_text(text, encoding="utf-8")
        return Consumer(folder, as_installed=as_installed)

    @staticmethod
    def of_one_table(folder: Path, database: Database, more: str = "", capture: str = "triggers") -> Consumer:
        """Return a consumer of a database that gets the table ``contadores``, the only captured one; triggers are
        installed."""
        database.execute(TABLE)
        options = f'rules = "rules.toml"\ncapture = "{capture}"\n{more}'
        consumer = Consumer.configure(folder, database.info, options)
        (folder / "rules.toml").write_text(RULES, encoding="utf-8")
        if capture == "triggers":
            consumer.run("install-triggers")
        return consumer

    def arguments(self, *more: str) -> list[str]:
        """Return the program's arguments for this configuration."""
        return ["--config", str(self.folder / "cdc.toml"), *more]

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "cdc", *self.arguments(*more)]

    def run(self, *arguments: str, expect: int = 0) -> str:
        """A command to its end (`support.commands`); what it wrote to stdout."""
        return self._done(arguments, expect).stdout

    def talk(self, *arguments: str) -> str:
        """A command to its end; what it wrote to stderr."""
        return self._done(arguments, 0).stderr

    def fail(self, *arguments: str, expect: int = 1) -> str:
        """A command that must fail; what it wrote to stderr."""
        return self._done(arguments, expect).stderr

    def _done(self, arguments: tuple[str, ...], expect: int) -> subprocess.CompletedProcess[str]:
        if not self.has_outbox and arguments[0] in _ON_AN_OUTBOX:
            self.create_outbox()
        done = run_command(*self.arguments(*arguments))
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    async def call(self, *arguments: str, expect: int = 0) -> str:
        """`run`, while a receiver in this process continues to answer."""
        return await asyncio.to_thread(lambda: self.run(*arguments, expect=expect))

    async def deliveries(self, *options: str) -> list[dict[str, Any]]:
        """Newest first."""
        listed = await self.call("delivery", "list", "--json", "--limit", "10000", *options)
        return list(json.loads(listed)["deliveries"])

    def add_endpoint(self, url: str, events: str = "*,*.read", *options: str) -> dict[str, Any]:
        """Add an endpoint; return the command's answer, with id and secret."""
        added: dict[str, Any] = json.loads(self.run("endpoint", "add", url, "--events", events, "--json", *options))
        self.has_outbox = True
        return added

    def create_outbox(self) -> None:
        """Create the outbox, the step before the first `cdc run`."""
        self.run("outbox", "create")
        self.has_outbox = True

    @property
    def log(self) -> Path:
        return self.folder / self.log_name

    @property
    def said(self) -> Path:
        """Return the file of `cdc run`'s standard output, with the set-up link; the log is another one."""
        return self.log.with_suffix(".out")

    def start(self, style: str = "json") -> None:
        if not self.has_outbox:
            self.create_outbox()
        arguments = ("--verbose", "--log-format", style, "run")
        if not self.as_installed:
            self.process = start_command(self.arguments(*arguments), self.said, self.log, os.environ | self.environment)
            _started.append(self.process)
            return
        with self.log.open("ab") as log, self.said.open("ab") as said:
            self.process = subprocess.Popen(
                self.command(*arguments),
                stdout=said,
                stderr=log,
                env=os.environ | self.environment | {"PYTHONUNBUFFERED": "1"},
            )
        _started.append(self.process)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code; the process is waited for."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=HANG_SECONDS)
        self.process = None
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """`end`, while a receiver in this process continues to answer."""
        return await asyncio.to_thread(self.end, number)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Consumer]:
        """Reading inside the block.  At its end, unless the test ended it, it must stop in good order."""
        earlier = sum(line["message"] == "reading" for line in self.messages("reading"))
        self.start()
        try:
            await self.logged("reading", earlier + 1)
            yield self
        except BaseException:
            if self.process is not None:
                await self.stop(signal.SIGKILL)
            raise
        if self.process is not None:
            assert await self.stop() == 0

    def messages(self, holding: str = "") -> list[dict[str, Any]]:
        """Return the consumer's log so far, line by line; only lines with the text ``holding``, if any."""
        lines = self.log.read_bytes().split(b"\n")[:-1] if self.log.exists() else []
        return [json.loads(line) for line in lines if holding.encode() in line]

    async def logged(self, message: str, times: int = 1, seconds: float = HANG_SECONDS) -> dict[str, Any]:
        """The line that says so for the ``times``-th time, as soon as it is there."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = [line for line in self.messages(message) if line["message"] == message]
                    if len(found) >= times:
                        return found[times - 1]
                    assert self.process is None or self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.02)  # polled: a file sends no notice when it grows
        except TimeoutError:
            raise AssertionError(f"{message!r} was not logged:\n{self.log.read_text()}") from None


@dataclass
class Inbox:
    """Everything received, in order of arrival; `changed` is set by each."""

    received: list[Received] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _copied: list[Received] = field(default_factory=list)
    _events: list[dict[str, Any]] = field(default_factory=list)  # of `_copied`: waiting tests ask at each arrival

    async def take(self, received: Received) -> None:
        self.received.append(received)
        self.changed.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        known = len(self._copied)
        if known and (len(self.received) < known or self.received[known - 1] is not self._copied[-1]):
            self._copied, self._events, known = [], [], 0  # a test has cleared what was received
        self._copied += self.received[known:]
        self._events += [dict(each.event) for each in self.received[known:]]
        return self._events[:]

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """The events that were answered with success."""
        return [dict(each.event) for each in self.received if each.answered < HTTPStatus.BAD_REQUEST]

    async def until(self, enough: Callable[[Inbox], bool], seconds: float = HANG_SECONDS) -> None:
        """Wait until enough has arrived."""
        try:
            async with asyncio.timeout(seconds):
                while not enough(self):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            last = "\n".join(f"{each.answered} {each.body[:200]!r}" for each in self.received[-10:])
            raise AssertionError(f"Not enough arrived: {len(self.received)} requests, the last are\n{last}") from None

    async def until_event(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until an event that is ``wanted`` has arrived, also before those of other records."""
        await self.until(lambda inbox: any(map(wanted, inbox.events)))

    async def until_count(self, count: int, seconds: float = HANG_SECONDS) -> None:
        await self.until(lambda inbox: len(inbox.received) >= count, seconds)


@asynccontextmanager
async def receiving(inbox: Inbox, refusals: Refusals | None = None, secret: str | None = None) -> AsyncIterator[str]:
    """The URL of a receiver on loopback."""
    async with _served(receiver_app(secret, inbox.take, refusals)) as url:
        yield url


@asynccontextmanager
async def answering(
    answer: Callable[[dict[str, Any]], Awaitable[int]], inbox: Inbox | None = None
) -> AsyncIterator[str]:
    """The URL of a receiver on loopback that answers what ``answer`` makes of each event, when it is ready to."""
    inbox = inbox or Inbox()

    async def receive(request: web.Request) -> web.Response:
        received_at = datetime.now(UTC)
        body = await request.read()
        event = json.loads(body)
        status = await answer(event)
        await inbox.take(Received(event, request.headers, received_at, False, "", body, status))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with _served(app) as url:
        yield url


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application.  Open requests are not waited for at the end."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/hook"
    finally:
        await runner.cleanup()
