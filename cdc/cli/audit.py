"""``audit …``: who changed what, and when; exports, and the check of the chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cdc.access.model import AuditFilter
from cdc.admin.audit_log import FORMATS, FileCheck, entry_as_json, exported, verify, verify_export
from cdc.cli.admin import opened_access
from cdc.cli.asynchronous import run_async
from cdc.cli.log_filter import moment
from cdc.cli.output import echo, json_option, print_json, print_script, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.audit import ChainCheck, RecordedEntry
from cdc.model.clock import SystemClock
from cdc.model.errors import UsageError


@click.group()
def audit() -> None:
    """Show, export and check the audit log.

    It holds all changes by people and programs, and all sign-ins.
    """


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", metavar="TIME", help="Only entries before then."),
        click.option("--since", metavar="2h|3d|2026-11-24T21:48Z", help="Only entries since then: a time or an age."),
        click.option("--subject", metavar="SUBJECT", help="Only on this subject (user:ann, token:shop)."),
        click.option("--action", metavar="ACTION", help="Only this action (user.add, endpoint.update)."),
        click.option("--actor", metavar="ACTOR", help="Only by this actor (user:ann, token:shop, cli:root)."),
    ):
        command = option(command)
    return command


def _filter(*, since: str | None, until: str | None, **which: str | None) -> AuditFilter:
    now = SystemClock().now()
    times = {name: moment(text, now) for name, text in (("since", since), ("until", until)) if text is not None}
    return AuditFilter(**which, **times)  # type: ignore[arg-type]  # texts by name, then times by name


@audit.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Next page: only entries older than this one.")
@json_option
@pass_session
def list_(session: CommandSession, /, *, limit: int, before: int | None, as_json: bool, **which: str | None) -> None:
    """List changes and sign-ins, newest first."""
    entries = run_async(_list(quiet_configuration(session), _filter(**which), limit, before))
    if as_json:
        print_json({"entries": [entry_as_json(each) for each in entries]})
        return
    rows = [
        (each.number, each.entry.at, each.entry.actor, each.entry.action, each.entry.subject, each.entry.detail_json())
        for each in entries
    ]
    print_table(("number", "at", "actor", "action", "subject", "detail"), rows, "No entry fits.")


async def _list(config: Config, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    async with opened_access(config) as store:
        return await store.audit(which, limit, before)


@audit.command()
@filter_options
@click.option("--format", "kind", type=click.Choice(list(FORMATS)), default="jsonl", show_default=True)
@pass_session
def export(session: CommandSession, /, *, kind: str, **which: str | None) -> None:
    """Print the audit log, oldest entry first.

    cdc audit verify checks JSON lines; CSV is for a spreadsheet.
    """
    run_async(_export(quiet_configuration(session), _filter(**which), kind))


async def _export(config: Config, which: AuditFilter, kind: str) -> None:
    async with opened_access(config) as store:
        async for text in exported(store, which, kind):
            print_script(text)


@audit.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@pass_session
def verify_(session: CommandSession, file: Path | None) -> int:
    """Check that the audit log is complete and unchanged.

    With FILE, check an export in JSON lines, and that the log still has its last entry.  Exit code 1: the first broken
    entry is named.
    """
    config = quiet_configuration(session)
    if file is not None:
        found = run_async(_verify_file(config, file))
        if not found.broken:
            gaps = "" if found.whole else ", with others left out (a filter)"
            bare = f" {found.without_hash} have no hash." if found.without_hash else ""
            echo(f"{found.entries} entries, {found.first} to {found.last}{gaps}: none was changed.{bare}")
        echo(*[found.broken] * bool(found.broken))
        return 1 if found.broken else 0
    check = run_async(_verify(config))
    if check.broken:
        echo(check.broken)
        return 1
    head = check.chain.head
    echo(f"{described(check)}.{f' The last one is {head.number}, {head.hash}.' if head is not None else ''}")
    if check.without_hash:
        say(without_hash(check))
    return 0


async def _verify(config: Config) -> ChainCheck:
    async with opened_access(config) as store:
        return await verify(store)


async def _verify_file(config: Config, file: Path) -> FileCheck:
    async with opened_access(config) as store:
        try:
            with file.open(encoding="utf-8") as lines:
                return await verify_export(store, lines)
        except UnicodeDecodeError:
            raise UsageError(f"{file} is no export of the audit log.", "It is not UTF-8 text.") from None


def described(check: ChainCheck) -> str:
    """Return a sentence about a log that is whole."""
    key = check.chain.key
    since = "without a key, so that who writes to the outbox can compute new hashes"
    if key is not None:
        since = "with a key" if key.since <= check.first else f"with a key since entry {key.since}"
    return f"{check.entries} entries are chained, {since}"


def without_hash(check: ChainCheck) -> str:
    numbers = check.without_hash
    named = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > len(numbers[:10]) else "")
    return f"No hash: entries {named}. A process of an earlier release wrote them, or somebody else did."
