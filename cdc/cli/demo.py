"""``demo``."""

from __future__ import annotations

from pathlib import Path

import click

from cdc.cli.app import CommandSession, pass_session
from cdc.cli.apply import applied, print_steps, read
from cdc.cli.environment import run_async, until_terminated
from cdc.cli.output import echo
from cdc.config import Config
from cdc.demo.story import demo as play
from cdc.logs import configure_logs

#: As the shell says of what SIGTERM ended.
TERMINATED = 143


@click.command()
@click.option("--once", is_flag=True, help="Play a short story, print each event, and end.")
@click.option(
    "--to",
    "further",
    metavar="URL",
    default="",
    help="Send the events of invoices there too, such as to RabbitMQ.",
)
@pass_session
def demo(session: CommandSession, once: bool, further: str) -> int:
    """Show everything at work on a PostgreSQL of its own.

    Nothing to configure: FacturaScripts-like tables, triggers, consumer and a receiver that verifies.  Without --once
    it stays up after the story, says where the page is and how to change rows by hand, and ends by Ctrl-C.
    """
    configure_logs(session.log_format or "text", "debug" if session.verbose else "error")
    code = run_async(until_terminated(play(once, echo, _apply, further)))
    return TERMINATED if code is None else code


async def _apply(config: Config, file: Path) -> None:
    print_steps(await applied(config, read(file), dry_run=False, prune=False))
