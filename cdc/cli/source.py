"""``source`` and ``table``: the configured databases, and why each of their tables is captured or not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from cdc.cli.admin import actor, with_admin
from cdc.cli.app import CommandGroup, CommandSession, pass_session, translate
from cdc.cli.config import accounts_option
from cdc.cli.environment import of_each, opened_outbox, quiet_configuration, run_async, select_sources, sources_option
from cdc.cli.output import (
    confirm_loss,
    counted,
    fitting,
    json_option,
    print_json,
    print_script,
    print_table,
    question,
    say,
    yes_option,
)
from cdc.config import DEFAULT_FILE, Config, SourceConfig, find_config, load_config
from cdc.config.write import (
    InstallationFacts,
    ScannedInstallation,
    account_options,
    append,
    as_toml,
    scan,
    with_names,
    write_passwords,
)
from cdc.model.finding import DescribedTable
from cdc.runtime import capture, outboxes

#: Databases that are asked at the same time.
_AT_ONCE: Final = 8


@click.group(cls=CommandGroup)
def source() -> None:
    """List, find and adopt the databases that cdc reads."""


@source.command("list")
@click.option("--search", "text", default="", metavar="TEXT", help="Only with this text in name or database.")
@click.option("--limit", type=click.IntRange(1, 10_000), help="At most so many [all].")
@click.option("--after", default="", metavar="NAME", help="Next page: sources after this one.")
@json_option
@pass_session
def list_sources(session: CommandSession, text: str, limit: int | None, after: str, *, as_json: bool) -> None:
    """List the sources, and why one cannot be read."""
    found = capture.described(quiet_configuration(session, required=False), text, limit, after)
    if as_json:
        print_json({"sources": [each._asdict() for each in found]})
        return
    rows = [(each.name, each.capture, each.reads, each.tables, each.problem) for each in found]
    nothing = "There is no source yet: cdc source scan PATH, or cdc config init"
    titles = ("source", "capture", "reads", "more tables", "problem")
    print_table(titles, rows, "No source fits." if text or after else nothing)


@source.command("scan")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option(
    "--depth", type=click.IntRange(0, 50), default=6, show_default=True, help="How many folders deep to search."
)
@click.option(
    "--capture",
    "mode",
    type=click.Choice(["triggers", "binlog", "logical"]),
    help="How to capture their changes [triggers].",
)
@click.option(
    "--name",
    "pattern",
    default="",
    metavar="PATTERN",
    help="Names of {folder}, {site}, {company}, {database} [as fits].",
)
@click.option(
    "--check/--no-check", default=True, help="Ask each database whether its changes can be captured [--check]."
)
@accounts_option
@click.option("--dry-run", is_flag=True, help="Print the sources and change nothing.")
@yes_option
@json_option
@pass_session
def scan_(
    session: CommandSession,
    *,
    paths: tuple[Path, ...],
    depth: int,
    mode: str | None,
    pattern: str,
    check: bool,
    accounts: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find FacturaScripts installations and add them as sources.

    Searches for config.php below each PATH, names the sources by folder, site or company, shows what would be added,
    and asks on a terminal.  Existing sources stay as they are, so you can run it again for new installations; then send
    SIGHUP to `cdc run`.  Accounts of --accounts need not exist: `cdc grants` prints the SQL that creates them, with
    these passwords.
    """
    present = quiet_configuration(session) if _file(session).exists() else Config()
    found = scan(paths, present, depth)
    facts = _examined(found, mode) if check else {}
    found = with_names(found, present.source, pattern, facts)
    new = [each for each in found if each.name]
    own = {} if accounts is None else {e.name: account_options(e.name, e.engine, mode, accounts) for e in new}
    text = as_toml(found, {} if mode is None else {"capture": mode}, own)
    if not as_json:
        _show_found(found, facts, table=not dry_run)
    if new and not dry_run:
        confirm_loss(lambda: f"Add {counted(len(new), 'source')} to {_file(session)}?", yes=yes)
        for options in own.values():
            write_passwords(options)
        append(_file(session), text)
    if as_json:
        listed = [_installation_as_json(each, facts) for each in found]
        print_json({"found": listed, "written": bool(new) and not dry_run, "toml": text})
        return
    if dry_run:
        print_script(text)
    elif new:
        added = counted(len(new), "source")
        say(f"{added} added to {_file(session)}.")
        say("Next:")
        for step in _following(mode, first=not present.source, accounts=bool(own)):
            say(f"  {step}")
    else:
        say("Nothing new was found.")
    for name, known in present.source.items():
        if known.facturascripts is not None and not os.access(known.facturascripts, os.R_OK):
            say(f"{name}: {known.facturascripts} cannot be read. Correct [source.{name}], or remove it.")


def _following(mode: str | None, *, first: bool, accounts: bool) -> list[str]:
    """Return what makes new sources work.  ``first``: nothing else may be set up yet, not even an outbox."""
    install = {"logical": "cdc install-slot", "binlog": "cdc doctor"}.get(mode or "", "cdc install-triggers")
    steps = [
        "cdc grants: an administrator of the server runs part 1 before, part 2 after the next" if accounts else "",
        install,
        "cdc endpoint add URL --events invoice.paid: the first one creates the outbox" if first else "",
        "cdc run, as a service: cdc service install; where it runs, reload it",
    ]
    return [each for each in steps if each]


def _examined(found: Sequence[ScannedInstallation], mode: str | None) -> dict[Path, InstallationFacts]:
    """Ask the databases of those that become sources, several at once."""
    sources = {
        each.path: SourceConfig.model_validate({"facturascripts": each.path, "capture": mode or "triggers"})
        for each in found
        if each.name
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(sources, pool.map(capture.survey, sources.values()), strict=True))


def _show_found(found: Sequence[ScannedInstallation], facts: Mapping[Path, InstallationFacts], *, table: bool) -> None:
    """Show a table on standard output, or lines beside a script; then what is wrong, and what is left out."""
    new = [each for each in found if each.name]
    wrong = {each.path: facts[each.path].problem for each in new if each.path in facts and facts[each.path].problem}
    if table and new:
        checks = dict.fromkeys(facts, "OK") | dict.fromkeys(wrong, translate("see below"))
        rows = [(each.name, each.path.parent, each.schema, checks.get(each.path)) for each in new]
        print_table(("source", "folder", "database", "check"), rows, "", cut=["folder"])
    for each in new:
        if not table:
            say(f"{each.path}: {each.name}, {translate(each.database)}")
        if each.path in wrong:
            say(fitting(f"{each.name}: {translate(wrong[each.path])}", "  ", err=True))
    for each in found:
        if not each.name:
            say(fitting(f"{each.path}: {translate(f'left out: {each.why}')}", "  ", err=True))


@source.command()
@click.argument("name")
@yes_option
@pass_session
def adopt(session: CommandSession, name: str, yes: bool) -> None:
    """Accept this outbox for a source that a lost one has read.

    For an outbox that was lost, or restored from an older copy: the journal no longer has the changes that were read
    since.  All captured tables are read again and sent as events .read; deleted records are not reported.
    """
    config = quiet_configuration(session)
    confirm_loss(lambda: source_adoption(name, run_async(_adopted_tables(config, name))), yes=yes)
    tables = with_admin(config, lambda admin: admin.sources.adopt(name))
    say(f"{name}: adopted; cdc run reads {len(tables)} tables again.")


@source.command("move-outbox")
@click.argument("name")
@click.argument("target", metavar="CONFIG", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@click.option("--endpoint", "named", multiple=True, metavar="ID", help="Copy this endpoint of several sources, too.")
@click.option("--leave", "left", multiple=True, metavar="ID", help="Leave this endpoint, with what waits for it, here.")
@click.option("--log", is_flag=True, help="Also copy finished deliveries, with their attempts.")
@click.option("--dry-run", is_flag=True, help="Show what would be moved and change nothing.")
@json_option
@pass_session
def move_outbox(
    session: CommandSession,
    *,
    name: str,
    target: Path,
    named: tuple[str, ...],
    left: tuple[str, ...],
    log: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move a source to the outbox of another cell.

    CONFIG is the configuration file of the other cell; write [source.NAME] into it first, and reload its cdc run after
    the move.  Both cells may run.  The source's position, its states, unfinished deliveries with their order and
    retries, backfills, skipped changes and its own endpoints move; secrets are encrypted with the key of the other
    cell.  From the start this cell can store nothing more of the source; the other one begins when everything is there.

    Deliveries that are being sent are waited for.  After an interruption run the same command again.  Then remove
    [source.NAME] here.  This cell's log stays, and shows the moved deliveries as cancelled.
    """
    config = quiet_configuration(session)
    there = load_config(target)
    there.select_source(name)
    work = outboxes.move_source(config, there, name, actor(), named=named, left=left, log=log, dry_run=dry_run)
    moved = run_async(work)
    if as_json:
        print_json({**asdict(moved), "moved": not dry_run})
        return
    print_table(
        ("endpoint", "unfinished deliveries"),
        [(each, str(moved.deliveries[each])) for each in moved.endpoints],
        "No endpoint goes along.",
    )
    say(
        f"{name}: {counted(sum(moved.deliveries.values()), 'unfinished delivery', 'unfinished deliveries')}, "
        f"{counted(moved.snapshot_rows, 'stored row')}, {counted(moved.states, 'state')}, "
        f"{counted(moved.backfills, 'backfill')}, {counted(moved.quarantined, 'skipped change')} "
        f"{'would move' if dry_run else 'moved'} to {moved.outbox}."
    )
    if not dry_run:
        say(f"Now remove [source.{name}] from this configuration and reload cdc run.")


async def _adopted_tables(config: Config, name: str) -> list[str]:
    async with opened_outbox(config) as store:
        return (await outboxes.adoption(config.select_source(name), store)).tables


def _file(session: CommandSession) -> Path:
    """The configuration file, or where one is to be made."""
    return find_config(session.config_path, os.environ, Path.cwd()) or Path.cwd() / DEFAULT_FILE


def _installation_as_json(each: ScannedInstallation, facts: Mapping[Path, InstallationFacts]) -> dict[str, Any]:
    return {
        "problem": (facts[each.path].problem or None) if each.path in facts else None,
        "path": str(each.path),
        "source": each.name or None,
        "database": each.database or None,
        "left_out": each.why or None,
    }


@click.group(cls=CommandGroup)
def table() -> None:
    """List tables, and why each is captured or not."""


@table.command("list")
@sources_option
@click.option("--captured/--not-captured", default=None, help="Only captured tables, or only the others.")
@json_option
@pass_session
def list_tables(session: CommandSession, sources: tuple[str, ...], captured: bool | None, as_json: bool) -> None:
    """List all tables, captured or not, and why.

    "rows" is the server's estimate.  `tables = ["miplugin_*"]` of a source captures more tables, by name or pattern.
    "hidden" are secret columns, which are not sent; `reveal = ["TABLE.COLUMN"]` in the rules sends one.
    """
    chosen = select_sources(quiet_configuration(session), sources)
    described, failed = of_each(chosen, lambda source: (source.name, capture.described_tables(source)))
    found = [
        (name, each) for name, tables in described for each in tables if captured is None or each.captured is captured
    ]
    if as_json:
        print_json({"tables": [_table_as_json(name, each) for name, each in found]})
    else:
        _print(found)
    if failed:
        raise failed


def _print(found: Sequence[tuple[str, DescribedTable]]) -> None:
    several = len({name for name, _ in found}) > 1
    rows = [
        (
            *([name] if several else []),
            each.name,
            each.rows,
            each.captured,
            each.events,
            each.why,
            each.model,
            each.hidden,
        )
        for name, each in found
    ]
    titles = ("table", "rows", "captured", "events", "why", "model", "hidden")
    print_table((*(["source"] if several else []), *titles), rows, "No table matches.")
    missing = {each.fix for _, each in found if each.fix}
    for command in sorted(missing):
        names = ", ".join(each.name for _, each in found if each.fix == command)
        say(f"Not captured yet: {names}.  Run: {command}")


def _table_as_json(source: str, table: DescribedTable) -> dict[str, object]:
    fields = table._asdict()
    # "mend": programs read it by the name that released versions gave it
    return {"source": source, "mend": fields.pop("fix"), **fields}


def source_adoption(name: str, tables: Sequence[str]) -> str:
    return question(
        f"Source {name}:",
        "The journal no longer has the changes that another outbox has read.",
        f"{counted(len(tables), 'table')} will be read again; deleted records are not reported.",
        "Adopt it?",
    )
