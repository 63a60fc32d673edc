"""``demo``."""

from __future__ import annotations

import click

from cdc.cli.asynchronous import run_async, until_terminated
from cdc.cli.output import echo
from cdc.cli.session import CommandSession, pass_session
from cdc.demo.story import demo as play
from cdc.logs import configure_logs

#: As the shell says of what SIGTERM ended.
TERMINATED = 143


@click.command()
@click.option("--once", is_flag=True, help="Play a short story, print each event, and end.")
@pass_session
def demo(session: CommandSession, once: bool) -> int:
    """Show everything at work on a PostgreSQL of its own.

    Nothing to configure: FacturaScripts-like tables, triggers, consumer and a receiver that verifies.  Without --once
    it stays up after the story, says where the page is and how to change rows by hand, and ends by Ctrl-C.
    """
    configure_logs(session.log_format or "text", "debug" if session.verbose else "error")
    code = run_async(until_terminated(play(once, echo)))
    return TERMINATED if code is None else code
