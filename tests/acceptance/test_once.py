"""``cdc run --once``: one bounded round, for cron on hosts where no process may stay; also as Windows would run it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

from cdc.demo.receiver import Refusals
from support.consumer import Consumer, Inbox, receiving
from support.database import Database

AS_WINDOWS = Path(__file__).parents[1] / "support/as_windows.py"
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
CHANGES = 200


async def _round(consumer: Consumer, *options: str, program: tuple[str, ...] = ("-m", "cdc")) -> dict[str, str]:
    """Run a round to its end; return what its last line says."""
    command = [sys.executable, *program, *consumer.arguments("--log-format", "text", "run", "--once", *options)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    line = next(each for each in done.stderr.splitlines() if "round ended" in each)
    return {name: quoted or plain for name, quoted, plain in re.findall(r"(\w+)=(?:'([^']*)'|(\S+))", line)}


async def test_round_sends_what_waits_and_ends(database: Database, tmp_path: Path) -> None:
    consumer, inbox = Consumer.of_one_table(tmp_path, database), Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        for number in range(CHANGES):
            database.execute(INSERT, [number])
        ended = await _round(consumer, "--for", "60s")
        assert sorted(event["key"]["id"] for event in inbox.events) == list(range(CHANGES))
        assert (ended["reason"], ended["events"], ended["attempts"]) == ("nothing more is to do now", "200", "200")
        assert float(ended["seconds"]) < 30
        assert 20 < int(ended["memory_mb"]) < 200
        database.execute(INSERT, [CHANGES])
        assert (await _round(consumer))["events"] == "1", "a later round continues after the former one"
        assert len(inbox.received) == CHANGES + 1


async def test_second_round_at_once_ends_without_work(postgres_db: Database, tmp_path: Path) -> None:
    consumer, inbox = Consumer.of_one_table(tmp_path, postgres_db), Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            await consumer.logged("dispatching")
            ended = await _round(consumer)
            assert ended["reason"] == "another cdc run works on this outbox"
            postgres_db.execute(INSERT, [1])
            await inbox.until_count(1)


async def test_round_ends_when_its_time_is_over(postgres_db: Database, tmp_path: Path) -> None:
    """The rest stays for a later round."""
    consumer, inbox = Consumer.of_one_table(tmp_path, postgres_db), Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*,*.read", "--rate", "1")
        for number in range(20):
            postgres_db.execute(INSERT, [number])
        begun = time.monotonic()
        ended = await _round(consumer, "--for", "5s")
        assert float(ended["seconds"]) <= 6
        assert time.monotonic() - begun < 20
        assert 3 <= len(inbox.received) < 20, "its rate admits one a second"


async def test_failing_receiver_does_not_hold_the_round(postgres_db: Database, tmp_path: Path) -> None:
    consumer, inbox = Consumer.of_one_table(tmp_path, postgres_db), Inbox()
    async with receiving(inbox, Refusals(1000)) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        postgres_db.execute(INSERT, [1])
        ended = await _round(consumer, "--for", "60s")
        assert (ended["reason"], ended["attempts"]) == ("nothing more is to do now", "1"), "its retry is due much later"


async def test_round_works_without_what_windows_lacks(database: Database, tmp_path: Path) -> None:
    consumer, inbox = Consumer.of_one_table(tmp_path, database), Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        database.execute(INSERT, [1])
        ended = await _round(consumer, program=(str(AS_WINDOWS),))
        assert ended["reason"] == "nothing more is to do now"
        assert len(inbox.received) == 1


def test_every_module_is_imported_without_what_windows_lacks(tmp_path: Path) -> None:
    def as_windows(*arguments: str) -> str:
        command = [sys.executable, str(AS_WINDOWS), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert int(as_windows("--import-all")) > 250
    (tmp_path / "cdc.toml").write_text(as_windows("config", "init"), encoding="utf-8")
    as_windows("outbox", "create")
    assert "delivery" in as_windows("--help")
    assert as_windows("endpoint", "list", "--json")
