"""``cdc consume`` beside ``cdc run``: what it fetches while it is killed and started again, and how it answers."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.commands import Forked, start_command
from support.consumer import Consumer
from support.database import Database
from support.health import Health
from support.ports import free_port
from support.waiting import HANG_SECONDS

RECORDS, CHANGES, KILLS = 6, 8, 3
#: So many that none is a dead letter before the test lets it pass.
RETRIES = ",".join(["1"] * 50)
#: Writes the payload as a line, for it is JSON without a line break.
HANDLER = """\
IFS= read -r payload
sleep 0.02
printf '%s\\n' "$payload" >> handled
"""
#: The row 2 is refused until there is a file "fixed".
CHOOSY = f"""\
case $CDC_RECORD in *:2) if ! test -e fixed; then echo first >&2; echo "no stock for it" >&2; exit 3; fi;; esac
{HANDLER}"""


@dataclass
class Program:
    """``cdc consume`` in a folder of its own, without a configuration."""

    folder: Path
    url: str
    token: str
    process: Forked | None = None

    def start(self, handler: str, *options: str) -> None:
        (self.folder / "handler.sh").write_text(handler)
        command = f"sh {shlex.quote(str(self.folder / 'handler.sh'))}"
        arguments = ["consume", "orders", "--exec", f"env -C {shlex.quote(str(self.folder))} {command}", *options]
        environment = os.environ | {"CDC_API_URL": self.url, "CDC_API_TOKEN": self.token}
        self.process = start_command(arguments, self.said, self.errors, environment)

    @property
    def said(self) -> Path:
        return self.folder / "said"

    @property
    def errors(self) -> Path:
        return self.folder / "errors"

    async def end(self, *, kill: bool = False) -> int:
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        return await asyncio.to_thread(self.process.wait, HANG_SECONDS)

    async def once(self, handler: str) -> int:
        self.start(handler, "--once")
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, HANG_SECONDS)

    def handled(self) -> list[dict[str, Any]]:
        file = self.folder / "handled"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def until_handled(self, count: int) -> None:
        """Wait for so many different events."""
        async with asyncio.timeout(2 * HANG_SECONDS):
            while len({each["id"] for each in self.handled()}) < count:
                assert self.process is not None
                assert self.process.poll() is None, self.errors.read_text()
                await asyncio.sleep(0.02)


@dataclass
class Serving:
    consumer: Consumer
    program: Program
    endpoint: str


@pytest.fixture
async def serving(postgres_db: Database, tmp_path: Path) -> AsyncIterator[Serving]:
    """A consumer ``orders`` of a table, and a program that may fetch its events."""
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, postgres_db)
    health = Health.of(consumer, free_port())
    added = await asyncio.to_thread(consumer.add_endpoint, "pull:orders", "*", "--retries", RETRIES)
    token = json.loads(await consumer.call("token", "add", "program", "--scope", "consume", "--json"))["token"]
    folder = tmp_path / "program"
    folder.mkdir()
    async with consumer.running():
        await health.until(lambda status, _: status == 200)
        yield Serving(consumer, Program(folder, health.url, token), added["id"])


def _change(database: Database, changes: int) -> int:
    """Insert and update rows, the rows in turn; return how many events that gives."""
    for row in range(RECORDS):
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [row])
    for value in range(1, changes):
        for row in range(RECORDS):
            database.execute("UPDATE contadores SET valor = %s WHERE id = %s", [value, row])
    return RECORDS * changes


async def test_nothing_is_lost_or_reordered_while_the_program_is_killed(
    serving: Serving, postgres_db: Database
) -> None:
    program = serving.program
    total = await asyncio.to_thread(_change, postgres_db, CHANGES)
    for kill in range(1, KILLS + 1):
        program.start(HANDLER, "--limit", "3", "--timeout", "4", "--lease", "5")
        await program.until_handled(kill * total // (KILLS + 2))
        await program.end(kill=True)
    program.start(HANDLER, "--limit", "3", "--timeout", "4", "--lease", "5")
    await program.until_handled(total)
    async with asyncio.timeout(2 * HANG_SECONDS):
        # the command of a killed program may have ended by itself: its event comes again after the lease
        while {each["state"] for each in await serving.consumer.deliveries()} != {"delivered"}:
            assert program.process is not None
            assert program.process.poll() is None, program.errors.read_text()
            await asyncio.sleep(0.2)
    assert await program.end() == 0, program.errors.read_text()
    handled = program.handled()
    deliveries = await serving.consumer.deliveries()
    assert {each["id"] for each in handled} == {each["event_id"] for each in deliveries}
    assert len({each["id"] for each in handled}) == total
    first: dict[str, dict[str, Any]] = {}
    for each in handled:
        first.setdefault(each["id"], each)
        assert each == first[each["id"]], "an event that comes again is the same"
    values: defaultdict[int, list[int]] = defaultdict(list)
    for each in first.values():
        values[each["key"]["id"]].append(each["data"]["valor"])
    assert dict(values) == {row: list(range(CHANGES)) for row in range(RECORDS)}


async def test_a_failed_event_comes_again_and_holds_back_only_its_record(
    serving: Serving, postgres_db: Database
) -> None:
    program = serving.program
    total = await asyncio.to_thread(_change, postgres_db, 2)
    program.start(CHOOSY)
    await program.until_handled(total - 2)
    assert {each["key"]["id"] for each in program.handled()} == set(range(RECORDS)) - {2}
    (program.folder / "fixed").touch()
    await program.until_handled(total)
    assert await program.end() == 0
    assert [each["data"]["valor"] for each in program.handled() if each["key"]["id"] == 2] == [0, 1]
    assert "failed: no stock for it" in program.errors.read_text()
    (first, *_) = [each for each in await serving.consumer.deliveries() if each["record"].endswith(":2")][::-1]
    shown = json.loads(await serving.consumer.call("delivery", "show", first["id"], "--json"))
    assert (shown["log"][0]["error"], shown["log"][0]["answer"]) == (
        "The consumer reported a failure.",
        "no stock for it",
    )


async def test_once_ends_when_nothing_is_due_and_reports_failures_by_its_exit_code(
    serving: Serving, postgres_db: Database
) -> None:
    program = serving.program
    assert await program.once(HANDLER) == 0
    await serving.consumer.call("endpoint", "update", serving.endpoint, "--retries", "none")
    total = await asyncio.to_thread(_change, postgres_db, 1)
    while len(await serving.consumer.deliveries()) < total:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)
    assert await program.once(CHOOSY) == 1
    assert len(program.handled()) == total - 1
    assert await program.once(CHOOSY) == 0
    states = [each["state"] for each in await serving.consumer.deliveries()]
    assert sorted(states) == ["dead"] + ["delivered"] * (total - 1)


async def test_a_wrong_token_or_name_ends_the_program(serving: Serving) -> None:
    program = serving.program
    program.token = "cdct_wrong"
    assert await program.once(HANDLER) == 2
    assert "Missing or unknown API token." in program.errors.read_text()
