"""``install-triggers``, ``install-slot``, their removal, and ``grants``: the commands of a DBA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from cdc.capture.triggers.base import AnyInstaller, Plan
from cdc.cli.app import CommandSession, pass_session, translate
from cdc.cli.config import CAPTURES, database_options
from cdc.cli.environment import of_each, quiet_configuration, select_sources, sources_option
from cdc.cli.guide import SetupAnswers
from cdc.cli.output import (
    confirm_loss,
    counted,
    fitting,
    json_option,
    print_json,
    print_script,
    question,
    say,
    with_comments,
    yes_option,
)
from cdc.cli.setup import of_place
from cdc.config import DEFAULT_FILE, SourceConfig
from cdc.config.write import Choices, check_choices, find_facturascripts
from cdc.model.errors import UsageError
from cdc.runtime import capture as capturing

Before = Callable[[SourceConfig, Plan], None]
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the SQL script and change nothing.")


@click.command("install-triggers")
@sources_option
@click.option(
    "--cascades-only",
    is_flag=True,
    help='Install only the triggers for foreign key cascades, for capture = "binlog".',
)
@click.option(
    "--row-tokens/--transaction-tokens",
    default=None,
    help="MySQL: treat each row as a transaction of its own, where the account may not read the performance schema "
    "[as installed; at first --transaction-tokens].",
)
@dry_run_option
@json_option
@pass_session
def install_triggers(
    session: CommandSession,
    sources: tuple[str, ...],
    *,
    cascades_only: bool,
    row_tokens: bool | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install or update the journal and the triggers.

    A second run changes nothing.  Uses the account of `admin_url`, if it is set.
    """

    def plan(source: SourceConfig, installer: AnyInstaller) -> Plan:
        if cascades_only or row_tokens is not None:
            return capturing.plan_special(source, cascades_only=cascades_only, row_tokens=row_tokens)
        return capturing.plan_install(source, installer.plan_install)

    carry_out(
        session, capturing.installer, sources, plan, dry_run=dry_run, as_json=as_json, done="Triggers are installed."
    )


@click.command("uninstall-triggers")
@sources_option
@dry_run_option
@yes_option
@json_option
@pass_session
def uninstall_triggers(
    session: CommandSession, *, sources: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove all triggers and the journal.

    The schema is then as it was before the installation.  Changes that `cdc run` has not read are lost: their number is
    printed, and on a terminal you are asked.
    """

    def plan(_source: SourceConfig, installer: AnyInstaller) -> Plan:
        return installer.plan_uninstall()

    carry_out(
        session,
        capturing.installer,
        sources,
        plan,
        dry_run=dry_run,
        as_json=as_json,
        done="Triggers and journal are removed.",
        before=lambda source, found: confirm_loss(lambda: trigger_removal(source.name, found), yes=yes),
    )


@click.command()
@sources_option
@database_options
@click.option("--capture", "mode", type=click.Choice(CAPTURES[:-1]), help="Without a configuration [triggers].")
@click.option(
    "--shared",
    is_flag=True,
    help="The same two accounts for all sources, cdc_installer and cdc_consumer: one stolen account reads all tenants.",
)
@pass_session
def grants(
    session: CommandSession,
    *,
    sources: tuple[str, ...],
    facturascripts: Path | None,
    url: str | None,
    password_file: Path | None,
    mode: str | None,
    shared: bool,
) -> None:
    """Print the database accounts that each source needs.

    The least privileges, as SQL for two accounts of each source: one that installs, and one for `cdc run`.  Their names
    are those that the configuration has (user, admin_user; also of url and admin_url, unless that one administers the
    server), else the source's.  An account that does not exist gets the configured password, else a new one, which is
    not shown again.  Run the SQL by hand.  Connects with the account of `admin_url`, if it is set, else of `url` or
    config.php.  Before there is a configuration, name the database by an option, or run this where FacturaScripts is
    found, or after cdc setup.
    """
    printed: set[tuple[object, str]] = set()

    def show(source: SourceConfig) -> None:
        print_script(with_comments(capturing.grants(source, printed, shared=shared)))

    config = quiet_configuration(session, required=False)
    choices = Choices(facturascripts, url, password_file, mode)
    if choices == Choices() and (config.file is not None or config.source):
        chosen = select_sources(config, sources)
    else:
        chosen = [_unconfigured(choices)]
    _, failed = of_each(chosen, show)
    if failed:
        raise failed


def _translated(plan: Plan) -> Plan:
    """Return the plan with its comments in the language of the command.  Those within statements stay as they are: the
    server stores them, and an installed function is compared with them."""
    steps = tuple(replace(step, title=translate(step.title)) for step in plan.steps)
    return replace(plan, steps=steps, notes=tuple(map(translate, plan.notes)))


def _unconfigured(choices: Choices) -> SourceConfig:
    """Return the source that these choices make: else the one of a setup that was interrupted, or the only
    FacturaScripts that is found.  Raises `UsageError`."""
    if choices.facturascripts is None and choices.url is None:
        answers = SetupAnswers.beside(Path(DEFAULT_FILE), asking=True).given
        place, *others = [answers["place"]] if "place" in answers else [*map(str, find_facturascripts(Path.cwd())), ""]
        if not place or any(others):
            raise UsageError(
                "There is no configuration yet, and which FacturaScripts is meant is not known.",
                "Name it: cdc grants --facturascripts PATH (its config.php), or --url URL of its database.",
            )
        say(f"There is no configuration yet. FacturaScripts: {place}")
        choices = of_place(choices, place, answers)
    check_choices(choices)
    places = {"facturascripts": choices.facturascripts, "url": choices.url, "password_file": choices.password_file}
    source = SourceConfig.model_validate({**places, "capture": choices.capture or "triggers"})
    source.call("main")
    return source


def carry_out(
    session: CommandSession,
    installer_of: Callable[[SourceConfig], AnyInstaller],
    names: Sequence[str],
    plan_of: Callable[[SourceConfig, AnyInstaller], Plan],
    *,
    dry_run: bool,
    as_json: bool,
    done: str,
    before: Before = lambda _source, _plan: None,
) -> None:
    """Source after source, also after one that fails.  ``before``: asks whether to apply the plan."""

    def work(source: SourceConfig) -> dict[str, Any]:
        installer = installer_of(source)
        plan = plan_of(source, installer)
        ask = partial(before, source, plan)
        return _carry_out_one(source, installer, plan, ask, dry_run=dry_run, as_json=as_json, done=done)

    reports, failed = of_each(select_sources(quiet_configuration(session), names), work)
    if as_json:
        print_json({"sources": reports})
    if failed:
        raise failed


def _carry_out_one(
    source: SourceConfig,
    installer: AnyInstaller,
    plan: Plan,
    ask: Callable[[], None],
    *,
    dry_run: bool,
    as_json: bool,
    done: str,
) -> dict[str, Any]:
    """Apply or print the plan of one source, telling a person how it goes; what --json says of it."""
    if plan.obstacle and not dry_run:
        raise plan.obstacle
    if plan.obstacle:
        plan = replace(plan, notes=(*plan.notes, f"This account may not run the script. {plan.obstacle}"))
    for note in plan.notes:
        say(fitting(f"{source.name}: {translate(note)}", "  ", err=True))
    report: dict[str, Any] = {
        "source": source.name,
        "steps": [{"title": step.title, "table": step.table or None} for step in plan.steps],
        "notes": list(plan.notes),
        "applied": bool(plan.steps) and not dry_run,
    }
    if not plan.steps:
        say(f"{source.name}: Nothing to do.")
    elif not dry_run:
        ask()
        several, said = _alike(plan), set[str]()
        session = click.get_current_context().find_object(CommandSession) or CommandSession()  # not in other threads

        def progress(line: str) -> None:
            """Report the same work on several tables once, when it begins."""
            text = several.get(line, line)
            if text == line or text not in said:
                said.add(text)
                say(fitting(f"{source.name}: {session.messages.lines(text)}", "  ", err=True))

        installer.apply(plan, progress)
        say(f"{source.name}: {translate(done)}")
    elif as_json:
        report["script"] = installer.script(plan)
    else:
        print_script(installer.script(_translated(plan)).rstrip() + "\n")
    return report


def _alike(plan: Plan) -> dict[str, str]:
    """Return the title of each step that does to a table what others do to theirs → one title for all of them."""
    kinds = {step.title: step.title.removesuffix(f" {step.table}") for step in plan.steps if step.table}
    counts = Counter(kind for title, kind in kinds.items() if kind != title)
    return {title: f"{kind} {counts[kind]} tables" for title, kind in kinds.items() if counts[kind] > 1}


@click.command("install-slot")
@sources_option
@dry_run_option
@json_option
@pass_session
def install_slot(session: CommandSession, sources: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Install or update publication and replication slot.

    For `capture = "logical"` on PostgreSQL.  The captured tables get REPLICA IDENTITY FULL: updates and deletes then
    write whole rows to the server's log, which grows.  The server keeps its log until `cdc run` has read it.  A second
    run changes nothing.  Uses the account of `admin_url`, if it is set; it must own the tables."""

    def plan(source: SourceConfig, installer: AnyInstaller) -> Plan:
        return capturing.plan_install(source, installer.plan_install)

    done = "Publication and slot are installed."
    carry_out(session, capturing.slot_installer, sources, plan, dry_run=dry_run, as_json=as_json, done=done)


@click.command("uninstall-slot")
@sources_option
@dry_run_option
@yes_option
@json_option
@pass_session
def uninstall_slot(
    session: CommandSession, *, sources: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove the replication slot and the publication.

    Each table gets its former replica identity back.  Changes that `cdc run` has not read are lost: their size is
    printed, and on a terminal you are asked.
    """

    def plan(_source: SourceConfig, installer: AnyInstaller) -> Plan:
        return installer.plan_uninstall()

    def before(source: SourceConfig, found: Plan) -> None:
        confirm_loss(lambda: slot_removal(source.name, found), yes=yes)

    done = "Slot and publication are removed."
    installer_of = capturing.slot_installer
    carry_out(session, installer_of, sources, plan, dry_run=dry_run, as_json=as_json, done=done, before=before)


def trigger_removal(source: str, plan: Plan) -> str:
    return question(
        f"Source {source}:",
        f"The triggers of {_tables(plan)} and the journal will be removed.",
        "Changes will no longer be captured.",
        "Remove them?",
    )


def slot_removal(source: str, plan: Plan) -> str:
    return question(
        f"Source {source}:",
        f"The replication slot and the publication of {_tables(plan)} will be removed.",
        "Changes will no longer be captured.",
        "Remove them?",
    )


def _tables(plan: Plan) -> str:
    return counted(len({step.table for step in plan.steps if step.table}), "table")
