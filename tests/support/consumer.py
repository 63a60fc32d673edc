"""``cdc run`` as users run it: a process of its own, which tests may kill; and a receiver that remembers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from cdc.connection import ConnectionInfo, Engine
from cdc.receiver import Received, Refusals, receiver_app


def database_url(info: ConnectionInfo) -> str:
    scheme = "postgresql" if info.engine is Engine.POSTGRESQL else "mysql"
    account = f"{quote(info.user, safe='')}:{quote(info.password, safe='')}"
    return f"{scheme}://{account}@{info.host}:{info.port}/{info.database}"


@dataclass
class Consumer:
    """A configuration in ``folder`` and the commands of the product on it."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def configure(folder: Path, info: ConnectionInfo, more: str = "") -> Consumer:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cdc.toml").write_text(
            f'[source.main]\nurl = "{database_url(info)}"\n'
            f'{more}\n[outbox]\nurl = "sqlite:///cdc.db"\n[dispatch]\nallow_private = true\n',
            encoding="utf-8",
        )
        return Consumer(folder)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cdc", "--config", str(self.folder / "cdc.toml"), *arguments]

    def run(self, *arguments: str, expect: int = 0) -> str:
        """A command to its end; what it wrote to stdout."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def add_endpoint(self, url: str, events: str = "*", *options: str) -> dict[str, Any]:
        """Its id and secret, and what else the command tells."""
        added: dict[str, Any] = json.loads(self.run("endpoint", "add", url, "--events", events, "--json", *options))
        return added

    @property
    def log(self) -> Path:
        return self.folder / "consumer.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("--log-format", "json", "run"),
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code; the process is waited for."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code


@dataclass
class Inbox:
    """Everything received, in order of arrival; `changed` is set by each."""

    received: list[Received] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, received: Received) -> None:
        self.received.append(received)
        self.changed.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [dict(each.event) for each in self.received]


@asynccontextmanager
async def receiving(inbox: Inbox, refusals: Refusals | None = None, secret: str | None = None) -> AsyncIterator[str]:
    """The URL of a receiver on loopback."""
    runner = web.AppRunner(receiver_app(secret, inbox.take, refusals), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/hook"
    finally:
        await runner.cleanup()
