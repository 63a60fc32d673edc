"""``quarantine …``: changes that could not be processed and were skipped."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cdc.admin.admin import Admin
from cdc.cli.admin import with_admin
from cdc.cli.loss import quarantine_removal
from cdc.cli.output import confirm, confirm_loss, echo, json_option, print_json, print_table, say, yes_option
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.model.change import Quarantined
from cdc.model.errors import UsageError


@click.group()
def quarantine() -> None:
    """Show, reread and remove changes that were skipped."""


@quarantine.command("list")
@click.option("--source", metavar="NAME", help="Only changes of this source.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@json_option
@pass_session
def list_changes(session: CommandSession, source: str | None, limit: int, as_json: bool) -> None:
    """List skipped changes, newest first.

    Each was announced by an event source.gap.  They are stored as long as events ([retention] days).
    """
    config = quiet_configuration(session)
    found, counts = with_admin(config, lambda admin: _newest(admin, limit, source))
    if as_json:
        print_json({"quarantined": [_as_fields(each) for each in found], "counts": counts})
        return
    titles = ("id", "skipped", "source", "table", "operation", "record", "read again by")
    rows = [
        (one.id, one.found_at, one.source, one.table, one.operation, _record(one), one.backfill or "-") for one in found
    ]
    print_table(titles, rows, "No change is in quarantine.")
    total = sum(number for name, number in counts.items() if source in (None, name))
    if total > len(found):
        say(f"{total} in all: --limit shows more.")


@quarantine.command()
@click.argument("change_id", metavar="ID")
@json_option
@pass_session
def show(session: CommandSession, change_id: str, as_json: bool) -> None:
    """Show why a change was skipped, and its row."""
    found = with_admin(quiet_configuration(session), lambda admin: admin.quarantine.get(change_id))
    if as_json:
        print_json(_as_fields(found) | {"before": found.before, "after": found.after})
        return
    for name, value in _as_fields(found).items():
        echo(f"{name}: {_record(found) if name == 'key' else value}")
    for name, image in (("before", found.before), ("after", found.after)):
        echo(f"{name}: {image or '-'}")


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--endpoint", metavar="ID", default="", help="Send only to this endpoint, even if its events do not match."
)
@pass_session
def reread(session: CommandSession, change_ids: Sequence[str], endpoint: str) -> None:
    """Send the records of skipped changes as they are now.

    As events *.existing.  `cdc run` reads the rows; cdc backfill --list shows the progress.
    """
    config = quiet_configuration(session)

    async def reread_each(admin: Admin) -> None:
        for change_id in change_ids:
            begun = await admin.quarantine.reread(change_id, endpoint)
            say(f"{change_id}: the backfill {begun.id} sends its record.")

    with_admin(config, reread_each)


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1)
@click.option("--all", "all_changes", is_flag=True, help="Remove all skipped changes.")
@yes_option
@pass_session
def remove(session: CommandSession, change_ids: Sequence[str], all_changes: bool, yes: bool) -> None:
    """Delete skipped changes that you no longer need."""
    if bool(change_ids) == all_changes:
        raise UsageError("Say which changes, or --all.", "cdc quarantine list shows them.")
    config = quiet_configuration(session)
    if all_changes:
        number = sum(with_admin(config, lambda admin: admin.quarantine.counts()).values())
        confirm(quarantine_removal(number), yes=yes)
        removed = with_admin(config, lambda admin: admin.quarantine.remove_all())
    else:
        confirm_loss(lambda: quarantine_removal(len(set(change_ids))), yes=yes)
        removed = with_admin(config, lambda admin: admin.quarantine.remove(change_ids))
    say(f"{removed} removed.")


async def _newest(admin: Admin, limit: int, source: str | None) -> tuple[list[Quarantined], dict[str, int]]:
    return await admin.quarantine.newest(limit, source), await admin.quarantine.counts()


def _record(change: Quarantined) -> str:
    return ", ".join(f"{column} {value}" for column, value in (change.key or {}).items()) or "-"


def _as_fields(change: Quarantined) -> dict[str, object]:
    return {
        "id": change.id,
        "skipped_at": change.found_at,
        "source": change.source,
        "table": change.table,
        "operation": change.operation.value,
        "key": change.key,
        "transaction": change.token,
        "changed_at": change.changed_at,
        "reason": change.reason,
        "backfill": change.backfill,
    }
