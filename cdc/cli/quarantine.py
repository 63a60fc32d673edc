"""``quarantine …``: changes that could not be processed and were skipped."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.auditing import actor, note
from cdc.cli.output import confirm, echo, json_option, print_json, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.change import Operation, Quarantined
from cdc.model.errors import NotFound, UsageError
from cdc.outbox.base import OutboxStore
from cdc.runtime import backfill

_PAGE = 500


@click.group()
def quarantine() -> None:
    """Changes that could not be processed and were skipped."""


@quarantine.command("list")
@click.option("--source", metavar="NAME", help="Of this source only.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@json_option
@pass_session
def list_changes(session: CommandSession, source: str | None, limit: int, as_json: bool) -> None:
    """List skipped changes, newest first.

    Each was reported by an event source.gap, and is kept as long as events are ([retention] days).
    """
    config = quiet_configuration(session)
    found, counts = run_async(_newest(config, limit, source))
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
    """Show a skipped change: why it was skipped, and the row before and after it."""
    found = run_async(_found(quiet_configuration(session), change_id))
    if as_json:
        print_json(_as_fields(found) | {"before": found.before, "after": found.after})
        return
    for name, value in _as_fields(found).items():
        echo(f"{name}: {_record(found) if name == 'key' else value}")
    for name, image in (("before", found.before), ("after", found.after)):
        echo(f"{name}: {image or '-'}")


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--endpoint", metavar="ID", default="", help="For this endpoint alone, whatever events it names.")
@pass_session
def reread(session: CommandSession, change_ids: Sequence[str], endpoint: str) -> None:
    """Read the rows of skipped changes again, and send them as they are now (events ….existing).

    `cdc run` does it, as other backfills: cdc backfill --list.
    """
    config = quiet_configuration(session)
    for change_id in change_ids:
        begun = run_async(_reread(config, change_id, endpoint))
        say(f"{change_id} is read again by {begun}.")


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1)
@click.option("--all", "all_changes", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def remove(session: CommandSession, change_ids: Sequence[str], all_changes: bool, yes: bool) -> None:
    """Remove skipped changes that need nothing more."""
    if bool(change_ids) == all_changes:
        raise UsageError("Say which changes, or --all.", "cdc quarantine list shows them.")
    config = quiet_configuration(session)
    if all_changes:
        confirm("Remove all changes from quarantine?", yes=yes)
    say(f"{run_async(_remove(config, change_ids))} removed.")


async def _newest(config: Config, limit: int, source: str | None) -> tuple[list[Quarantined], dict[str, int]]:
    async with opened_outbox(config) as store:
        return await store.quarantined(limit, source=source), await store.count_quarantined()


async def _found(config: Config, change_id: str) -> Quarantined:
    async with opened_outbox(config) as store:
        return await _find(store, change_id)


async def _find(store: OutboxStore, change_id: str) -> Quarantined:
    found = await store.find_quarantined(change_id)
    if found is None:
        raise NotFound(f"No change {change_id} is in quarantine.", "cdc quarantine list shows those that are.")
    return found


async def _reread(config: Config, change_id: str, endpoint: str) -> str:
    async with opened_outbox(config) as store:
        found = await _find(store, change_id)
        if found.key is None or found.operation in (Operation.DELETE, Operation.TRUNCATE):
            raise UsageError(
                f"The change {change_id} ({found.operation} of {found.table}) leaves no row to read.",
                "cdc quarantine show prints what is known of it.",
            )
        source = config.select_source(found.source)
        (planned,) = await backfill.planned_for_row(source, found.table, found.key, actor(), endpoint)
        await backfill.receivers(store, planned)
        await store.add_backfill(planned, note("quarantine.reread", change_id))
        await store.set_reread(change_id, planned.id)
    return planned.id


async def _remove(config: Config, change_ids: Sequence[str]) -> int:
    removed: list[str] = []
    async with opened_outbox(config) as store:
        if change_ids:
            removed += [each for each in change_ids if await _removed(store, each)]
        else:
            while page := await store.quarantined(_PAGE):
                removed += [each.id for each in page if await _removed(store, each.id)]
    missing = [each for each in change_ids if each not in removed]
    if missing:
        raise NotFound(f"No change {missing[0]} is in quarantine.", "cdc quarantine list shows those that are.")
    return len(removed)


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


async def _removed(store: OutboxStore, change_id: str) -> bool:
    if await store.find_quarantined(change_id) is None:
        return False
    return await store.remove_quarantined(change_id, note("quarantine.remove", change_id))
