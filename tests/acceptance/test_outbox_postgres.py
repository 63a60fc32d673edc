"""One process captures, three dispatch, on an outbox in PostgreSQL: killed at random, each with an account that may do
nothing else; and the server restarted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from cdc.model.connection import ConnectionInfo
from cdc.model.worker import ProcessRole
from support.commands import run_command, start_command
from support.consumer import Consumer, Inbox, answering, database_url, receiving
from support.counting import RECORDS, Work, configured, until_quiet, writers
from support.database import Database
from support.outbox_roles import role_accounts
from support.ports import free_port

CHANGES = int(os.environ.get("CDC_TEST_CHANGES", "4000"))
KILLS = 12
CONCURRENCY = 16  # of an endpoint, unless it says otherwise
TAKES = 0.05  # seconds that a receiver needs to answer
OPTIONS = ("deadlock_timeout=50ms",)
#: Role → what its process logs when it has begun.
AT_WORK = {
    "capture": "reading",
    "dispatch": "dispatching",
    "web": "serving the page, the API, health and metrics",
}


@dataclass
class Member(Consumer):
    """A process with a part in the work, and a name of its own that it keeps when it is started again."""

    role: str = "all"
    name: str = ""
    starts: int = 0

    def begin(self) -> None:
        self.starts += 1
        arguments = self.arguments("--log-format", "json", "run", "--role", self.role)
        environment = os.environ | self.environment | {"CDC_DISPATCH_WORKER": self.name}
        self.process = start_command(arguments, self.log, self.log, environment)

    async def at_work(self) -> None:
        """Since it began last."""
        await self.logged(AT_WORK[self.role], self.starts)


def with_outbox(database: Database, folder: Path) -> Consumer:
    """Source and outbox in one database: their schemas keep out of each other's way."""
    consumer = configured(database, folder)
    file = folder / "cdc.toml"
    text = file.read_text().replace("sqlite:///cdc.db", database_url(database.info))
    file.write_text(text)
    consumer.run("install-triggers")
    return consumer


@asynccontextmanager
async def members(
    folder: Path, dispatchers: int, accounts: Mapping[ProcessRole, ConnectionInfo] | None = None
) -> AsyncIterator[list[Member]]:
    """Running, the capturing one first; with ``accounts`` of the outbox also one that serves the page."""
    roles = ["capture", *["dispatch"] * dispatchers, *(["web"] if accounts else [])]
    made = [
        Member(folder, log_name=f"{role}-{number}.log", role=role, name=f"{role}-{number}")
        for number, role in enumerate(roles)
    ]
    for each in made if accounts else ():
        each.environment["CDC_OUTBOX_URL"] = database_url(accounts[ProcessRole(each.role)])
    made[-1].environment["CDC_WEB_LISTEN"] = f"127.0.0.1:{free_port()}" if accounts else ""
    try:
        for each in made:
            each.begin()
        for each in made:
            await each.at_work()
        yield made
    finally:
        codes = [await each.stop() for each in made if each.process is not None]
    assert set(codes) == {0}


async def slowly(_event: dict[str, Any]) -> int:
    """A receiver that takes its time: whoever is killed has requests on their way."""
    await asyncio.sleep(TAKES)
    return 204


def leased(database: Database, member: Member) -> bool:
    """Whether the member has deliveries on their way."""
    [(count,)] = database.execute("SELECT count(*) FROM cdc_outbox.delivery WHERE worker = %s", [member.name])
    return bool(count)


Trouble = Callable[[list[Member], Work], Awaitable[None]]


async def _through(database: Database, folder: Path, trouble: Trouble, *, accounts: bool = False) -> Inbox:
    """Writers at work on what trouble gives them, until everything has arrived.  ``accounts``: each process has one
    for its role alone."""
    consumer = with_outbox(database, folder)
    inbox = Inbox()
    async with answering(slowly, inbox) as url:
        consumer.add_endpoint(url, "contadores.*")
        with role_accounts(database) if accounts else nullcontext() as made:
            async with members(folder, 3, made) as running:
                async with writers(database, random.Random(folder.name)) as work:
                    await trouble(running, work)
                await until_quiet(database, consumer, inbox)
                if made:
                    sessions = "SELECT usename FROM pg_stat_activity WHERE application_name = 'cdc outbox'"
                    assert {name for (name,) in database.execute(sessions)} == {info.user for info in made.values()}
                    await manage(consumer, running[-1].environment["CDC_WEB_LISTEN"])
                    for role, info in made.items():
                        await examine(consumer, database, role, info)
    return inbox


async def examine(consumer: Consumer, database: Database, role: ProcessRole, info: ConnectionInfo) -> None:
    """Run the doctor with the account of a role."""
    text = (consumer.folder / "cdc.toml").read_text()
    source, outbox = text.split("[outbox]")
    own = outbox.replace(database_url(database.info), database_url(info))
    (consumer.folder / f"{role}.toml").write_text(f"{source}[outbox]{own}")
    said = (await asyncio.to_thread(run_command, "--config", str(consumer.folder / f"{role}.toml"), "doctor")).stdout
    assert f"may do what {role} needs, and nothing else" in said
    assert "WRONG" not in said, said


async def manage(consumer: Consumer, listen: str) -> None:
    """Change an endpoint and read sources, log and health, as the page does."""
    token = json.loads(await consumer.call("token", "add", "program", "--scope", "manage", "--json"))["token"]
    async with ClientSession(f"http://{listen}", headers={"Authorization": f"Bearer {token}"}) as session:

        async def call(method: str, path: str, status: int, **body: Any) -> Any:
            async with session.request(method, f"/api/v1{path}", json=body or None) as answer:
                text = await answer.text()
                assert answer.status == status, text
                return json.loads(text)

        ((endpoint,), (delivery, *_)) = [
            (await call("GET", path, 200))["items"] for path in ("/endpoints", "/deliveries")
        ]
        assert [each["state"] for each in (await call("GET", "/sources", 200))["items"]] == ["standby"]
        await call("PATCH", f"/endpoints/{endpoint['id']}", 200, description="by the page's account")
        await call("GET", f"/deliveries/{delivery['id']}", 200)
        async with session.get("/health/ready") as answer:
            assert answer.status == 200, await answer.text()


def check(database: Database, inbox: Inbox) -> int:
    """Each change arrived, in the order of its record at first sight; what came again has the same id and bytes.
    How many came again."""
    counted = dict(database.execute("SELECT id, valor FROM contadores"))
    last = dict.fromkeys(counted, 0)
    seen: dict[str, bytes] = {}
    for received in inbox.received:
        event = received.event
        if event["id"] in seen:
            assert seen[event["id"]] == received.body
            continue
        seen[event["id"]] = received.body
        assert event["previous"]["valor"] == last[event["key"]["id"]], "out of order"
        last[event["key"]["id"]] = event["data"]["valor"]
    assert last == counted
    rows = database.execute(
        "SELECT state, count(*), count(worker), min(attempts) FROM cdc_outbox.delivery GROUP BY state"
    )
    assert rows == [(2, len(seen), 0, 1)], "all delivered, none left leased"
    again = len(inbox.received) - len(seen)
    print(f"{len(seen)} events, {again} sent again with the same id")
    return again


async def test_killed_at_random_nothing_is_lost_or_reordered(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("postgresql", *OPTIONS)
    dice = random.Random(20261125)

    async def kill(running: list[Member], work: Work) -> None:
        for _ in range(KILLS):
            member = dice.choice(running)
            await member.at_work()
            work.give(CHANGES // KILLS)
            while member.role == "dispatch" and not leased(database, member):
                work.give(10)  # the others may have been faster
                await asyncio.sleep(0.02)  # a table of other processes: there is no event to await
            await asyncio.sleep(dice.uniform(0, TAKES))
            await member.stop(signal.SIGKILL)
            member.begin()

    inbox = await _through(database, tmp_path, kill, accounts=True)
    assert 0 < check(database, inbox) <= KILLS * CONCURRENCY, "what was on its way came again, and nothing else"


async def test_the_server_restarts_under_load(own_server: Any, tmp_path: Path) -> None:
    """Once in good order, once as by a power cut."""
    database: Database = own_server("postgresql", *OPTIONS)

    def kill() -> None:
        database.server.kill()
        database.server.start()

    async def restart(_running: list[Member], work: Work) -> None:
        work.give(CHANGES)
        for act in (database.server.restart, kill):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(act)

    inbox = await _through(database, tmp_path, restart)
    check(database, inbox)
    failures = [
        line["error"]
        for number in (1, 2, 3)
        for line in Consumer(tmp_path, log_name=f"dispatch-{number}.log").messages()
        if line["message"] == "nothing leased"
    ]
    assert failures
    assert all("does not answer" in failure for failure in failures)


async def test_dispatchers_share_the_work_and_one_goes_on_alone(own_server: Any, tmp_path: Path) -> None:
    """The receiver takes its time, so that none of them can take everything."""
    database: Database = own_server("postgresql", *OPTIONS)
    consumer = with_outbox(database, tmp_path)
    inbox, rounds = Inbox(), 5
    async with answering(slowly, inbox) as url:
        consumer.add_endpoint(url, "contadores.*")
        async with members(tmp_path, 2) as (_, one, two):
            for _ in range(rounds):
                database.execute("UPDATE contadores SET valor = valor + 1")
            await inbox.until_count(rounds * RECORDS)
            assert await one.stop() == 0
            database.execute("UPDATE contadores SET valor = valor + 1")
            await inbox.until_count((rounds + 1) * RECORDS)
    sent = {each.name: sum(line["message"] == "attempt" for line in each.messages()) for each in (one, two)}
    assert sum(sent.values()) == len(inbox.received) == (rounds + 1) * RECORDS
    assert min(sent.values()) > 0, sent


async def test_an_outbox_whose_server_is_not_there_yet_is_waited_for(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("postgresql", *OPTIONS)
    consumer = with_outbox(database, tmp_path)
    await asyncio.to_thread(consumer.create_outbox)
    database.close()
    await asyncio.to_thread(database.server.stop)
    inbox = Inbox()
    async with receiving(inbox) as url:
        consumer.start()
        await consumer.logged("outbox failed")
        await asyncio.to_thread(database.server.start)
        await asyncio.to_thread(consumer.add_endpoint, url)
        await consumer.logged("reading")
        database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 1")
        await inbox.until_count(1)
        assert await consumer.stop() == 0
