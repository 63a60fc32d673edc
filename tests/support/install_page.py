"""``docs/install.md`` as a script: its console blocks, run in their order, with what the commands really print.

The first line of a block is a command, the others are its output.  Names that differ from run to run are
replaced by those of the page (`Stand`).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.consumer import Consumer
from support.database import Database
from support.waiting import HANG_SECONDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "install.md"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_PATTERNS = (
    (re.compile(r"ep_[0-9a-f]{16}"), "ep_4b0e7d1c92fa6380"),
    (re.compile(r"evt_[0-9a-f]{32}"), "evt_9b0dd2531f4887cef743e2cc87841e1c"),
    (re.compile(r"whsec_[A-Za-z0-9+/=]{20,}"), "whsec_…"),
    (re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?"), r"2026-11-24\g<1>21:48:00"),
    (re.compile(r"(after|204) \d+ ms"), r"\1 12 ms"),
    (re.compile(r'"transaction": "[^"]*"'), '"transaction": "…"'),
    (re.compile(r"server: mariadb .*"), "server: mariadb 11.8"),
    (re.compile(r'"test": "[0-9a-f]{32}"'), '"test": "…"'),
    (re.compile(r"[\d.]+ GB are free"), "51.2 GB are free"),
    (re.compile(r"set-up/\S+"), "set-up/…"),
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
#: Commands that run beside the others, and their output when they are ready for those.
_READY = {"listen": b"Listening on", "run": b"reading"}
_FIRST_LINES = ("dispatching", "serving the page", "Nobody can sign in", "reading", "delivered ")


@dataclass(frozen=True)
class Shown:
    command: str
    output: str


def blocks(text: str) -> list[Shown]:
    """Every command of the page, with what is printed below it."""
    parts = (block.removeprefix("$ ").partition("\n") for block in _BLOCK.findall(text))
    return [Shown(command, output.rstrip("\n")) for command, _, output in parts]


def rewritten(text: str, shown: list[Shown]) -> str:
    """The page with these outputs."""
    left = iter(shown)

    def block(_: re.Match[str]) -> str:
        each = next(left)
        return f"$ {each.command}\n{each.output}\n" if each.output else f"$ {each.command}\n"

    return _BLOCK.sub(block, text)


@dataclass
class Stand:
    """A machine as the page describes it: FacturaScripts on MariaDB, ports and folders of our own in their place."""

    folder: Path
    erp: Database
    ports: dict[int, int]
    known: dict[str, str] = field(default_factory=dict)  # id or secret on the page → the real one
    background: dict[str, tuple[asyncio.subprocess.Process, bytes]] = field(default_factory=dict)

    def real(self, command: str) -> str:
        text = command.replace("/var/www/html/config.php", str(self.folder / "config.php"))
        text = text.replace("/etc/systemd/system", str(self.folder / "system"))
        for page, real in self.ports.items():
            text = text.replace(f":{page}", f":{real}").replace(f"--port {page}", f"--port {real}")
        for shown, known in self.known.items():
            text = text.replace(shown, known)
        return text

    def on_the_page(self, text: str) -> str:
        info = self.erp.info
        text = text.replace(str(self.folder / "config.php"), "/var/www/html/config.php")
        text = text.replace(str(self.folder / "system"), "/etc/systemd/system")
        text = text.replace(f"{Path(sys.executable).parent}/cdc", "/usr/local/bin/cdc")
        text = text.replace(f"{self.folder}/", "/etc/facturascripts-cdc/").replace(
            str(self.folder), "/etc/facturascripts-cdc"
        )
        text = text.replace(f"{info.host}:{info.port}", "127.0.0.1:3306").replace(info.database, "facturascripts")
        text = text.replace(info.user, "facturascripts")
        for page, real in self.ports.items():
            text = text.replace(f":{real}", f":{page}")
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text.rstrip("\n")

    async def play(self, shown: list[Shown]) -> list[Shown]:
        """Return the output of each command.  `cdc listen` and `cdc run` continue beside the others until the end."""
        outputs: list[str | None] = [await self._one(each.command) for each in shown]
        for name in [each for each in _READY if each in self.background]:
            for number, each in enumerate(shown):
                if f"cdc {name}" in each.command:
                    outputs[number] = await self._ended(name)
        return [Shown(each.command, output or "") for each, output in zip(shown, outputs, strict=True)]

    async def _one(self, command: str) -> str | None:
        if command.startswith("mariadb "):
            await asyncio.to_thread(self.erp.execute, re.findall(r'-e "(.*)"', command)[0])
            return None
        line = self.real(command)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        process = await asyncio.create_subprocess_shell(
            f"exec {line}" if command == "cdc run" else line,  # it is signalled itself, not the shell
            cwd=self.folder,
            env=os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", "CDC_WEB_LISTEN": f"127.0.0.1:{self.ports[8600]}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        name = next((each for each in _READY if f"cdc {each}" in command), "")
        if name:
            self.background[name] = process, await _until_ready(process, _READY[name])
            return None
        out, _ = await process.communicate()
        text = out.decode()
        assert process.returncode == 0, (line, text)
        self._learn(text)
        return self.on_the_page(text)

    def _learn(self, text: str) -> None:
        for pattern in (r"ep_[0-9a-f]{16}", r"whsec_[A-Za-z0-9+/=]{20,}"):
            for real in re.findall(pattern, text)[:1]:
                self.known["whsec_…" if real.startswith("whsec") else "ep_4b0e7d1c92fa6380"] = real

    async def _ended(self, name: str) -> str:
        """`cdc listen` ends by itself when it has had enough; `cdc run` is stopped then."""
        process, said = self.background.pop(name)
        if name == "run":
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(HANG_SECONDS):
            out, _ = await process.communicate()
        lines = (said + out).decode().splitlines()
        return self.on_the_page("\n".join(_in_order(lines) if name == "run" else lines))


async def _until_ready(process: asyncio.subprocess.Process, mark: bytes) -> bytes:
    """Return the output up to the line that has ``mark`` in it."""
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(HANG_SECONDS):
        while mark not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line
    return said


def _in_order(lines: list[str]) -> list[str]:
    """Return the first lines of `cdc run`, whose parts start concurrently, in a fixed order and without those of its
    end."""
    begun = [(place, line) for line in lines for place, mark in enumerate(_FIRST_LINES) if mark in line]
    return [line for _, line in sorted(begun, key=lambda each: each[0])]


def reset(consumer: Consumer) -> None:
    """Restore the state before the first command."""
    consumer.run("uninstall-triggers")
    for path in consumer.folder.glob("cdc.*"):
        path.unlink()
