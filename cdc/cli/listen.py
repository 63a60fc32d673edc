"""``listen``: a local receiver."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import click
import orjson
from aiohttp import web

from cdc.cli.asynchronous import run_async, set_on_signal
from cdc.cli.output import Styled, echo, print_json_line, say
from cdc.demo.receiver import Received, Refusals, receiver_app
from cdc.dispatch.signing import check_verifier
from cdc.model.errors import UsageError, printable_line
from cdc.model.event import format_time

_EVERY = 2**31


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="Port to listen on; 0: any free one."
)
@click.option(
    "--secret", envvar="CDC_LISTEN_SECRET", metavar="whsec_…|whpk_…", help="Secret or public key to verify with."
)
@click.option("--status", type=click.IntRange(200, 599), help="Answer with this status instead of 204, to see retries.")
@click.option("--count", type=click.IntRange(1), help="End after this number of requests.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per request, for programs.")
def listen(*, host: str, port: int, secret: str | None, status: int | None, count: int | None, as_json: bool) -> int:
    """Receive webhooks here and verify their signatures.

    Prints each request, for tests.  Deliveries to this machine need allow_private = true under [dispatch].  Exit code 1
    after a wrong signature.
    """
    if secret is not None:
        check_verifier(secret)
    printer = _ArrivalPrinter(as_json, count)
    refusals = None if status is None else Refusals(count=_EVERY, status=status)
    app = receiver_app(secret, printer.take, refusals)
    run_async(_serve(app, host, port, printer.done))
    return 1 if printer.wrong else 0


class _ArrivalPrinter:
    """Prints what arrives; ``done`` is set when that is enough."""

    def __init__(self, as_json: bool, count: int | None) -> None:
        self._as_json = as_json
        self._left = count
        self.wrong = 0
        self.done = asyncio.Event()

    async def take(self, received: Received) -> None:
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
    name = received.headers.get("X-Webhook-Event", "no event name")
    head = f"{format_time(received.received_at)} {name} {received.headers.get('webhook-id', '')} "
    reason = f"\n  {received.reason}" if received.reason else ""
    content = received.batch or received.event
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() if content else repr(received.body)
    return printable_line(head), mark, f" → answered {received.answered}{reason}\n{body}"
