"""``cdc demo``: the whole product at work on a PostgreSQL of its own, with nothing to configure."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

import psycopg
from aiohttp import web

from cdc.admin.consumers import Consumers
from cdc.admin.principal import Principal
from cdc.config import Config, SourceConfig
from cdc.config.source import RulesText
from cdc.demo.receiver import Received, Refusals, receiver_app
from cdc.demo.server import DemoServer, demo_server
from cdc.dispatch.signing import new_secret
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import public_url
from cdc.model.errors import CdcError
from cdc.runtime import capture, consumer, outboxes
from cdc.runtime.service import service_of

HEADING = "-- ## "
EXPECTED = "-- => "


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One transaction. ``events``: names, in no particular order between records."""

    statements: tuple[str, ...]
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    title: str
    paragraphs: tuple[Paragraph, ...]


def load_story() -> list[Chapter]:
    text = (files("cdc.demo") / "story.sql").read_text(encoding="utf-8")
    return [_chapter(part) for part in text.split(f"\n{HEADING}")[1:]]


def _chapter(text: str) -> Chapter:
    title, _, body = text.partition("\n")
    paragraphs = (part.strip().splitlines() for part in body.split("\n\n"))
    found = []
    for lines in filter(None, paragraphs):
        expected = " ".join(line.removeprefix(EXPECTED) for line in lines if line.startswith(EXPECTED))
        statements = tuple(line for line in lines if not line.startswith("--"))
        found.append(Paragraph(statements, tuple(expected.split())))
    return Chapter(title, tuple(found))


Say = Callable[[str], None]
#: Applies the file of endpoints as ``cdc apply`` does.
Apply = Callable[[Config, Path], Awaitable[None]]

#: The file of endpoints; the first one tries again after these seconds, where the default waits 5, 25, 125 …
ENDPOINTS = """
[endpoint.receiver]
url = "{receiver}"
events = ["*"]
retries = [1, 5, 25]
secret_file = "receiver.secret"

[endpoint.program]
url = "pull:demo"
events = ["invoice.*"]

[endpoint.chat]
url = "{chat}"
events = ["invoice.paid"]
preset = "slack"
secret_file = "chat.secret"
"""
FURTHER = """
[endpoint.further]
url = {further}
events = ["invoice.*"]
"""
#: How long the events of one transaction may take before the demo gives up (seconds).
WAIT_SECONDS = 20.0
#: Seconds between two looks at the deliveries of the further endpoint.
POLL = 0.05
REFUSED = "receipt.paid"
#: An event by time, and the receipt that has it as soon as the consumer runs.
RULES = """
due = { at = "00:00", timezone = "UTC" }
event = [{ entity = "receipt", name = "due", days = [-7] }]
"""
OWED = """
INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif, personafisica)
VALUES ('9', 'Talleres Ruiz', 'Talleres Ruiz SL', 'B03567891', false);
INSERT INTO recibospagoscli (idrecibo, codigofactura, numero, codcliente, idempresa, fecha, vencimiento, importe)
SELECT 9, 'FAC2026A0', 1, '9', 1, today - 23, today + 7, 423.5
FROM (SELECT (now() AT TIME ZONE 'UTC')::date) AS day (today)
"""


@dataclass
class Inbox:
    """The events that the receiver got. ``commits``: PostgreSQL's transaction id → when its commit returned."""

    say: Say
    commits: dict[str, datetime] = field(default_factory=dict)
    accepted: list[Received] = field(default_factory=list)
    unverified: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, received: Received) -> None:
        self.say(self._line(received))
        self.unverified += not received.verified
        if received.answered < HTTPStatus.MULTIPLE_CHOICES:
            self.accepted.append(received)
            self.arrived.set()

    def _line(self, received: Received) -> str:
        event = received.event
        signature = "verified" if received.verified else f"NOT VERIFIED: {received.reason}"
        commit = self.commits.get(str(event.get("transaction")).partition(".")[0])
        after = "" if commit is None else f"{(received.received_at - commit).total_seconds() * 1000:7.1f} ms"
        taken = received.answered < HTTPStatus.MULTIPLE_CHOICES
        answer = "" if taken else f"  answered {received.answered}, retried"
        if event.get("days") is not None:
            after = f"{event['days']:7} days"
        key = " ".join(f"{name}={value}" for name, value in dict(event.get("key", {})).items())
        return f"  {event.get('event', '?'):22} {key:12} {signature} {after}{answer}"

    async def wait_for(self, count: int) -> None:
        """Wait until ``count`` events were accepted."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while len(self.accepted) < count:
                    self.arrived.clear()
                    await self.arrived.wait()
        except TimeoutError as error:
            raise CdcError(
                f"Only {len(self.accepted)} of {count} events arrived within {WAIT_SECONDS:g} s.",
                "Run it again with --verbose and report what it says.",
            ) from error


async def demo(once: bool, say: Say, apply: Apply, further: str = "") -> int:
    """Play the story; with ``once`` end after it, else stay until cancelled.  0 when every event arrived, verified.
    ``further``: the URL of one more endpoint, for the events of invoices."""
    say("Starting a private PostgreSQL with FacturaScripts' tables …")
    with demo_server() as server, _configured(server.info, page=not once) as (config, folder):
        say(f"PostgreSQL {server.version} is running. Triggers, as cdc install-triggers installs them:")
        # What is due is there before the triggers, which do not see it.
        async with await psycopg.AsyncConnection.connect(
            host=server.info.socket, user=server.info.user, dbname=server.info.database
        ) as connection:
            await connection.execute(OWED.encode())
        await asyncio.to_thread(_install, config, say)
        say("A receipt is due in seven days: it has its event without any change.")
        inbox, chat = Inbox(say), Inbox(lambda _: None)
        lines: list[str] = []
        refusals = Refusals(count=1, status=503, events=(REFUSED,))
        async with (
            _receiver(inbox, _write_secret(folder / "receiver.secret"), refusals) as url,
            _receiver(chat, _write_secret(folder / "chat.secret")) as chat_url,
        ):
            say("Endpoints of a file, as cdc apply endpoints.toml makes them:")
            file = folder / "endpoints.toml"
            text = ENDPOINTS + FURTHER if further else ENDPOINTS
            file.write_text(text.format(receiver=url, chat=chat_url, further=json.dumps(further)), encoding="utf-8")
            await apply(config, file)
            async with _consumer(config, lines.append):
                say("The consumer is running.\n")
                say("Each line: event, record, signature, time from commit to receipt.\n")
                problems = await _play(server.info, inbox)
                problems += await _fetch(config, say)

                await chat.wait_for(1)
                say("\nA message for a chat (cdc endpoint add URL --preset slack):")
                for each in chat.accepted:
                    say(f"  {unescape(str(each.event.get('text')))}")  # as Slack shows it
                problems += ["a chat's message had no valid signature"] if chat.unverified else []

                problems += await _deliver_further(config, further, inbox, say) if further else []
                _sum_up(say, inbox, problems)
                if not once:
                    await _stay(say, server, config.web.listen, lines)
    return 1 if problems else 0


def _write_secret(file: Path) -> str:
    secret = new_secret()
    file.write_text(secret, encoding="utf-8")
    return secret


@contextmanager
def _configured(info: ConnectionInfo, *, page: bool) -> Iterator[tuple[Config, Path]]:
    """A configuration, and the temporary folder of its files.  ``page``: whether the page is served, on a free port:
    several demos may run at once."""
    url = f"postgresql://{info.user}@localhost/{info.database}?socket={info.socket}"
    source = SourceConfig(url=url, include=("customer", "origin"))
    source.write_rules(RulesText(RULES, "the demo's rules"))
    with tempfile.TemporaryDirectory(prefix="cdc-outbox-") as folder:
        config = Config.model_validate(
            {
                "source": {"demo": source},
                "outbox": {"url": f"sqlite:///{Path(folder) / 'cdc.db'}"},
                "dispatch": {"allow_private": True},
                "web": {"listen": f"127.0.0.1:{_free_port()}" if page else ""},
            }
        )
        yield config, Path(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _install(config: Config, say: Say) -> None:
    source = config.select_source("demo")
    install = capture.installer(source)
    plan = install.plan_install(capture.captures(source))
    install.apply(plan, lambda _: None)
    say(
        f"  {sum(1 for step in plan.steps if step.table)} tables are captured; the ERP's code and schema are as before."
    )


@asynccontextmanager
async def _receiver(inbox: Inbox, secret: str, refusals: Refusals | None = None) -> AsyncIterator[str]:
    """A local receiver that verifies; its URL."""
    runner = web.AppRunner(receiver_app(secret, inbox.receive, refusals), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/webhooks"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _consumer(config: Config, say: Say) -> AsyncIterator[None]:
    """`cdc run` in this process."""
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(config, stop, say=say))
    try:
        yield
    finally:
        stop.set()
        await running


async def _play(info: ConnectionInfo, inbox: Inbox) -> list[str]:
    """Play every chapter and wait for its events; return the differences from the story."""
    await inbox.wait_for(1)
    problems = _differences(["receipt.due"], inbox.accepted)
    async with await psycopg.AsyncConnection.connect(
        host=info.socket, user=info.user, dbname=info.database
    ) as connection:
        for chapter in load_story():
            inbox.say(chapter.title)
            for paragraph in chapter.paragraphs:
                problems += await _perform(connection, paragraph, inbox)
    return problems


async def _perform(connection: psycopg.AsyncConnection, paragraph: Paragraph, inbox: Inbox) -> list[str]:
    before = len(inbox.accepted)
    cursor = await connection.execute("SELECT pg_current_xact_id()::text")
    row = await cursor.fetchone()
    assert row is not None
    for statement in paragraph.statements:
        await connection.execute(statement.encode())
    await connection.commit()
    inbox.commits[row[0]] = datetime.now(UTC)
    await inbox.wait_for(before + len(paragraph.events))
    return _differences(paragraph.events, inbox.accepted[before:])


async def _fetch(config: Config, say: Say) -> list[str]:
    """Fetch and acknowledge the consumer's events, as `cdc consume demo` does over the API; return what went wrong."""
    say("\nInvoices, fetched and acknowledged by a program (pull:demo), as behind NAT.")
    say("Each record's events come in order; others do not wait for them:")
    store = outboxes.open_outbox(config)
    await store.open()
    try:
        consumers = Consumers(service_of(config, store, SystemClock()), Principal("demo"))
        own, found = await consumers.find("demo"), 0
        while fetched := await consumers.fetch(own, 10, timedelta(seconds=60), 0.0, lambda: False):
            for each in fetched:
                say(f"  {each.delivery.event_name:22} {each.delivery.record}")
            answered = await consumers.answer(own, [each.receipt for each in fetched], {}, [])
            found += answered.acknowledged
    finally:
        await store.close()
    return [] if found else ["nothing was fetched"]


async def _deliver_further(config: Config, url: str, inbox: Inbox, say: Say) -> list[str]:
    """Print what the further endpoint accepted; return what went wrong."""
    say(f"\nInvoices at {public_url(url)}:")
    expected = sum(str(each.event.get("event")).startswith("invoice.") for each in inbox.accepted)
    store = outboxes.open_outbox(config)
    await store.open()
    try:
        (endpoint,) = [each for each in await store.endpoints() if each.url == url]
        which, remaining = DeliveryFilter(endpoint_ids=(endpoint.id,), state=DeliveryState.DELIVERED), WAIT_SECONDS
        while len(found := await store.deliveries(which, expected)) < expected and remaining > 0:
            await asyncio.sleep(POLL)  # an outbox tells nobody of a delivery
            remaining -= POLL
    finally:
        await store.close()
    for each in reversed(found):
        say(f"  {each.event_name:22} {each.record}")
    return [] if len(found) == expected else [f"{len(found)} of {expected} events arrived there"]


def _differences(expected: Sequence[str], received: Sequence[Received]) -> list[str]:
    names = sorted(str(each.event.get("event")) for each in received)
    return [] if names == sorted(expected) else [f"expected {sorted(expected)}, received {names}"]


def _sum_up(say: Say, inbox: Inbox, problems: list[str]) -> None:
    if inbox.unverified:
        problems.append(f"{inbox.unverified} requests had no valid signature")
    for problem in problems:
        say(f"PROBLEM: {problem}")
    if not problems:
        say(f"\n{len(inbox.accepted)} events delivered, every signature verified.")


async def _stay(say: Say, server: DemoServer, page: str, lines: Sequence[str]) -> None:
    """Wait for Ctrl-C, which ends the demo.  ``lines``: the consumer's, with the link to the page."""
    for line in lines:
        say("\nThe page: open this link once and choose the first user's name and password;")
        say(f"later sign in as that user at http://{page}")
        say(f"    {line.rpartition(' ')[2]}")
    say("\nDatabase, consumer and receiver keep running. To change a row and watch,")
    say("type in another terminal:")
    say(f"    {server.psql}")
    say("    UPDATE clientes SET nombre = 'Ada Lovelace' WHERE codcliente = '1';")
    say("End with Ctrl-C.\n")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    await ended.wait()
    say("\nEnded; the demo's database and files are removed.")
