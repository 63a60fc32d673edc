"""``audit …``: who changed what, and when."""

from __future__ import annotations

from typing import Any

import click

from cdc.access.model import AuditFilter
from cdc.cli.admin import opened_access
from cdc.cli.asynchronous import run_async
from cdc.cli.output import json_option, print_json, print_table, time_as_json
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.audit import RecordedEntry


@click.group()
def audit() -> None:
    """Show the audit log: all changes and sign-ins."""


@audit.command("list")
@click.option("--actor", metavar="ACTOR", help="Only by this actor (user:ann, token:shop, cli:root).")
@click.option("--action", metavar="ACTION", help="Only this action (user.add, endpoint.update).")
@click.option("--subject", metavar="SUBJECT", help="Only on this subject (user:ann, token:shop).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Next page: only entries older than this one.")
@json_option
@pass_session
def list_(session: CommandSession, /, *, limit: int, before: int | None, as_json: bool, **which: str | None) -> None:
    """List changes and sign-ins, newest first."""
    entries = run_async(_list(quiet_configuration(session), AuditFilter(**which), limit, before))
    if as_json:
        print_json({"entries": [_as_json(each) for each in entries]})
        return
    rows = [
        (each.number, each.entry.at, each.entry.actor, each.entry.action, each.entry.subject, each.entry.detail_json())
        for each in entries
    ]
    print_table(("number", "at", "actor", "action", "subject", "detail"), rows, "No entry fits.")


async def _list(config: Config, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    async with opened_access(config) as store:
        return await store.audit(which, limit, before)


def _as_json(each: RecordedEntry) -> dict[str, Any]:
    return {
        "number": each.number,
        "at": time_as_json(each.entry.at),
        "actor": each.entry.actor,
        "action": each.entry.action,
        "subject": each.entry.subject,
        "detail": each.entry.detail,
    }
