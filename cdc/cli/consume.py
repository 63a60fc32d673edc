"""The receiver's side: ``listen`` receives webhooks; ``consume`` fetches a consumer's events over the API."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import Any, Final

import aiohttp
import click
import orjson
import structlog
from aiohttp import web
from yarl import URL

from cdc.cli.app import CommandSession, pass_session, translate
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, set_on_signal
from cdc.cli.output import PLACES, Styled, echo, local_time, print_json_line, say, secret_from
from cdc.demo.receiver import Received, Refusals, receiver_app
from cdc.dispatch.signing import check_verifier
from cdc.model.clock import Backoff
from cdc.model.errors import CdcError, UsageError, printable_line
from cdc.model.event import format_time

log = structlog.get_logger(__name__)

_EVERY = 2**31


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="Port to listen on; 0: any free one."
)
@click.option(
    "--secret",
    envvar="CDC_LISTEN_SECRET",
    metavar="whsec_…|whpk_…",
    help="Secret or public key to verify with [that of the endpoint with this address].",
)
@click.option("--status", type=click.IntRange(200, 599), help="Answer with this status instead of 204, to see retries.")
@click.option("--count", type=click.IntRange(1), help="End after this number of requests.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per request, for programs.")
@pass_session
def listen(
    session: CommandSession,
    *,
    host: str,
    port: int,
    secret: str | None,
    status: int | None,
    count: int | None,
    as_json: bool,
) -> int:
    """Receive webhooks here and verify their signatures.

    Prints each request, for tests.  Without a secret it verifies with that of the endpoint that sends to the request's
    address, where the configuration has one: it may be added while this listens.  Deliveries to this machine need
    allow_private = true under [dispatch].  Exit code 1 after a wrong signature.
    """
    if secret is not None:
        check_verifier(secret)

    known: dict[URL, str] = {}

    async def configured(url: URL) -> str | None:
        """Return the secret of the endpoint with this URL; None without one, or without a configuration."""
        nonlocal known
        try:
            if url not in known:
                async with opened_outbox(quiet_configuration(session)) as store:
                    secrets = {URL(each.url): each.secret for each in await store.endpoints()}
                known |= {url: secrets[url]} if url in secrets else {}
        except CdcError as error:
            log.debug("no secret to verify with", reason=error.message)
        return known.get(url)

    printer = _ArrivalPrinter(as_json, count)
    refusals = None if status is None else Refusals(count=_EVERY, status=status)
    app = receiver_app(secret or configured, printer.show, refusals)
    run_async(_serve(app, host, port, printer.done))
    return 1 if printer.wrong else 0


class _ArrivalPrinter:
    """Prints what arrives; ``done`` is set when that is enough."""

    def __init__(self, as_json: bool, count: int | None) -> None:
        self._as_json = as_json
        self._left = count
        self.wrong = 0
        self.done = asyncio.Event()

    async def show(self, received: Received) -> None:
        self.wrong += not received.verified and received.answered == HTTPStatus.UNAUTHORIZED
        if self._as_json:
            print_json_line(_as_json(received))
        else:
            echo(*_for_people(received))
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.done.set()


async def _serve(app: web.Application, host: str, port: int, done: asyncio.Event) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.", "Choose another --port.") from error
        address = runner.addresses[0]
        say(f"Listening on http://{host}:{address[1]}/ (any path); end with Ctrl-C.")
        set_on_signal(done)
        await done.wait()
    finally:
        await runner.cleanup()


def _as_json(received: Received) -> dict[str, object]:
    return {
        "received_at": format_time(received.received_at),
        "verified": received.verified,
        "reason": received.reason or None,
        "answered": received.answered,
        "webhook_id": received.headers.get("webhook-id"),
        "event": received.headers.get("X-Webhook-Event"),
        "body": received.batch or received.event,
    }


def _for_people(received: Received) -> tuple[str | Styled, ...]:
    mark = Styled("verified", "green") if received.verified else Styled("NOT VERIFIED", "red")
    name = received.headers.get("X-Webhook-Event") or translate("no event name")
    head = f"{local_time(received.received_at)} {name} {received.headers.get('webhook-id', '')} "
    reason = f"\n  {received.reason}" if received.reason else ""
    content = received.batch or received.event
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() if content else repr(received.body)
    return printable_line(head), mark, f" → answered {received.answered}{reason}\n{body}"


#: A daemon's requests wait so long for an event (seconds).
_WAIT: Final = 20
#: Unless --lease says otherwise, a lease outlives the time of one event by this (seconds).
_MARGIN: Final = 30
#: What is done is acknowledged at least this often (seconds).
_ACKNOWLEDGE_EVERY: Final = 1.0
_LONGEST_REASON: Final = 200
#: After a signal to stop, what is done is acknowledged with so many tries.
_LAST_TRIES: Final = 3
#: Statuses after which the same request may succeed.
_BUSY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@click.command()
@click.argument("name")
@click.option(
    "--exec",
    "command",
    required=True,
    metavar="COMMAND",
    help="Program to run for each event: 'php handler.php'. Without a shell.",
)
@click.option(
    "--url", envvar="CDC_API_URL", default="http://127.0.0.1:8600", show_default=True, metavar="URL",
    help="Where cdc run serves its page and API [CDC_API_URL].",
)  # fmt: skip
@click.option(
    "--token", "place", default="env:CDC_API_TOKEN", show_default=True, metavar=PLACES,
    help="API token (cdc token add NAME --scope consume).",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Process what is due, then end: for cron.")
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Events to fetch at once.")
@click.option(
    "--timeout", type=click.IntRange(1, 43_000), default=60, metavar="SECONDS", show_default=True,
    help="Kill the command after this time; the event has failed then.",
)  # fmt: skip
@click.option(
    "--lease", type=click.IntRange(2, 43_200), metavar="SECONDS",
    help="After this time an event without an answer comes again, here or elsewhere [--timeout and 30 more].",
)  # fmt: skip
def consume(
    *, name: str, command: str, url: str, place: str, once: bool, limit: int, timeout: int, lease: int | None
) -> int:
    """Fetch a consumer's events, and run a program for each.

    NAME is a consumer that cdc endpoint add pull:NAME created.  The command works on any machine, also behind NAT: it
    needs only the API's address and a token.  The program after --exec gets the payload on standard input, and
    CDC_EVENT, CDC_EVENT_ID, CDC_RECORD and CDC_ATTEMPT in its environment.  With exit code 0 the event is
    acknowledged.  With any other it has failed: the last line on standard error is the reason, and it comes again
    after the waits of the endpoint's --retries.

    After a crash an event comes again, with the same id: handle it once.  Several processes with the same NAME share
    the work; events of one record come one after the other.  With --once the exit code is 1 when an event failed.
    """
    words, held = _words(command), lease or timeout + _MARGIN
    if held <= timeout:
        raise UsageError("--lease must be longer than --timeout.", "Leave it out, or raise it.")
    client = _ConsumerClient(url.rstrip("/"), name, secret_from(place, "the API token"), limit, held)
    return run_async(_Run(client, words, timeout, once).run())


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--exec cannot be read: {error}.", "Write --exec 'php handler.php'.") from None
    if not words:
        raise UsageError("--exec names no command.", "Write --exec 'php handler.php'.")
    return words


class _Unavailable(CdcError):
    """The API does not answer, or not now.  ``after``: seconds that it asks to wait."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class _ConsumerClient:
    """``lease``: seconds."""

    url: str
    name: str
    token: str = field(repr=False)
    limit: int
    lease: int

    async def fetch(self, session: aiohttp.ClientSession) -> list[Mapping[str, Any]]:
        answer = await self._ask(session, "GET", f"events?limit={self.limit}&wait=0&lease={self.lease}", 0)
        return list(answer["items"])

    async def wait(self, session: aiohttp.ClientSession, seconds: int) -> None:
        """Wait until an event is due.  Nothing is leased, so that it may be cancelled at any moment."""
        await self._ask(session, "GET", f"events?limit=0&wait={seconds}", seconds)

    async def answer(self, session: aiohttp.ClientSession, answers: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Return the receipts that came too late."""
        return list((await self._ask(session, "POST", "ack", 0, orjson.dumps(answers)))["late"])

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, what: str, wait: int, body: bytes | None = None
    ) -> Mapping[str, Any]:
        """Raises `_Unavailable` for what may be tried again, and `UsageError`."""
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Content-Type": "application/json"} if body else {})
        address = f"{self.url}/api/v1/consumers/{self.name}/{what}"
        longest = aiohttp.ClientTimeout(total=wait + 30)
        try:
            async with session.request(method, address, data=body, headers=headers, timeout=longest) as response:
                content = orjson.loads(await response.read())
                status, after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.InvalidURL, ValueError):
            raise UsageError(f"{self.url} is not the address of cdc's API.", "Give it with --url.") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _Unavailable(
                f"The API at {self.url} does not answer: {str(error) or type(error).__name__}."
            ) from None
        if status != HTTPStatus.OK:
            detail = str(content.get("detail", f"The API answered {status}."))
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY:
                raise _Unavailable(detail, float(after) if after.isdigit() else 0.0)
            raise UsageError(detail, str(content.get("hint", "")))
        answer: Mapping[str, Any] = content
        return answer


class _Run:
    """``seconds``: for one event."""

    def __init__(self, client: _ConsumerClient, words: Sequence[str], seconds: int, once: bool) -> None:
        self._client = client
        self._words = words
        self._seconds = seconds
        self._once = once
        self._stop = asyncio.Event()
        self._answers: dict[str, list[Any]] = {"acknowledged": [], "failed": [], "released": []}
        self._failures = 0

    async def run(self) -> int:
        set_on_signal(self._stop)
        async with aiohttp.ClientSession() as session:
            while not self._stop.is_set():
                fetched = await self._fetch(session)
                if not fetched and self._once:
                    break
                await self._process(session, fetched)
        return 1 if self._once and self._failures else 0

    async def _process(self, session: aiohttp.ClientSession, fetched: Sequence[Mapping[str, Any]]) -> None:
        began = acknowledged = time.monotonic()
        for event in fetched:
            # What could outlast its lease is left to the next request.
            if self._stop.is_set() or time.monotonic() - began > (self._client.lease - self._seconds) / 2:
                self._answers["released"].append(event["receipt"])
                continue
            await self._handle(event)
            if time.monotonic() - acknowledged >= _ACKNOWLEDGE_EVERY:
                await self._acknowledge(session)
                acknowledged = time.monotonic()
        await self._acknowledge(session)

    async def _handle(self, event: Mapping[str, Any]) -> None:
        reason = await self._execute(event)
        shown = printable_line(f"{event['event']} {event['id']} {event['record']}")
        if reason is None:
            self._answers["acknowledged"].append(event["receipt"])
            echo(f"{shown}: done")
            return
        self._failures += 1
        self._answers["failed"].append({"receipt": event["receipt"], "reason": reason[:_LONGEST_REASON]})
        say(f"{shown}: failed: {printable_line(reason)}")

    async def _execute(self, event: Mapping[str, Any]) -> str | None:
        """Return why the command failed; None when it ended with 0."""
        known = {"EVENT": "event", "EVENT_ID": "id", "RECORD": "record", "ATTEMPT": "attempt"}
        environment = {**os.environ, **{f"CDC_{name}": str(event[key]) for name, key in known.items()}}
        environment.pop("CDC_API_TOKEN", None)
        # A file, not a pipe: a command whose parent is killed has the whole payload all the same.
        try:
            stored = TemporaryFile()  # noqa: SIM115 - closed below
            stored.write(orjson.dumps(event["payload"]))
            stored.seek(0)
        except OSError as error:
            raise UsageError(
                f"An event's payload cannot be stored in the temporary folder: {error.strerror or error}.",
                "Make room there, or set TMPDIR to another folder.",
            ) from error
        with stored as payload:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._words, stdin=payload, stderr=asyncio.subprocess.PIPE, env=environment, start_new_session=True
                )
            except OSError as error:
                raise UsageError(f"{self._words[0]} cannot be run: {error.strerror}.", "See --exec.") from None
        try:
            async with asyncio.timeout(self._seconds):
                _, said = await process.communicate()
        except TimeoutError:
            return f"The command ran for more than {self._seconds} s and was killed."
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                await process.wait()
        if process.returncode == 0:
            return None
        lines = said.decode(errors="replace").replace("\0", "").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last or f"The command ended with {process.returncode}."

    async def _acknowledge(self, session: aiohttp.ClientSession) -> None:
        answers, self._answers = self._answers, {name: [] for name in self._answers}
        if not any(answers.values()):
            return
        backoff, tries = Backoff(first=0.5, most=30.0), 0
        while True:
            try:
                late = await self._client.answer(session, answers)
                break
            except _Unavailable as error:
                tries += self._stop.is_set()
                if self._once or tries == _LAST_TRIES:
                    raise
                await self._pause(error, backoff)
        if late:
            say(f"Too late to acknowledge: {len(late)}; these events come again.")

    async def _fetch(self, session: aiohttp.ClientSession) -> list[Mapping[str, Any]]:
        """Return fetched events; none after a signal to stop.  What leases is never cancelled: its answer may be on its
        way."""
        backoff = Backoff(first=0.5, most=30.0)
        while not self._stop.is_set():
            try:
                if (fetched := await self._client.fetch(session)) or self._once:
                    return fetched
                await self._until_stopped(self._client.wait(session, _WAIT))
            except _Unavailable as error:
                if self._once:
                    raise
                await self._pause(error, backoff)
        return []

    async def _until_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        work, stopping = asyncio.create_task(waiting), asyncio.create_task(self._stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if work.done():
            work.result()
            return
        work.cancel()
        await asyncio.wait({work})

    async def _pause(self, error: _Unavailable, backoff: Backoff) -> None:
        say(error.message)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(error.after, backoff.next())):
                await self._stop.wait()
