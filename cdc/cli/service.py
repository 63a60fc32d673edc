"""``service``: the program as a service of systemd: install, upgrade, look after and remove it; or print its unit."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cdc.admin.endpoints import unfinished
from cdc.cli.admin import with_accounts
from cdc.cli.app import CommandGroup, CommandSession, pass_session, translate
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, select_sources
from cdc.cli.output import confirm, echo, fitting, json_option, print_fields, print_json, print_script, say, yes_option
from cdc.cli.run import program_words, systemd_here
from cdc.config import Config, load_config
from cdc.files import is_root
from cdc.logs import readable_line
from cdc.model.errors import CdcError, UsageError
from cdc.model.finding import Severity
from cdc.model.worker import ProcessRole
from cdc.runtime.doctor import consumer_findings
from cdc.runtime.installation import InstallStep, ServicePlaces, answer, installation, removal, unit_status
from cdc.runtime.process import ACCOUNT, UnitSettings, homes_of, unit_text

#: How often, and after how many seconds each time, the health of a service is read that was just started.
_READINGS: Final = 20
_AGAIN_SECONDS: Final = 0.5
#: Where services are on this machine.
PLACES: Final = ServicePlaces()
_role_option = click.option(
    "--role",
    type=click.Choice(list(ProcessRole), case_sensitive=False),
    default=ProcessRole.ALL,
    show_default=False,
    help="What the service does: a unit of its own for each role, or all [all].",
)
_user_option = click.option("--user", default=ACCOUNT, show_default=True, help="Account of the service.")
_dry_run_option = click.option("--dry-run", is_flag=True, help="List the steps and change nothing.")


@click.group(cls=CommandGroup)
def service() -> None:
    """Install cdc as a service of systemd, watch and remove it."""


@service.command()
@_role_option
@_user_option
@_dry_run_option
@yes_option
@pass_session
def install(session: CommandSession, role: ProcessRole, user: str, dry_run: bool, yes: bool) -> None:
    """Install or upgrade the service, and start it.

    Creates the account of the service, moves the configuration to /etc/facturascripts-cdc and the outbox to
    /var/lib/facturascripts-cdc, writes a hardened unit, and waits until the service is ready.  Lists all that, and
    asks, before it changes anything.  Run it again after an upgrade or a change of the configuration: it does what
    differs, and restarts the service.
    """
    config = quiet_configuration(session)
    select_sources(config, ())
    settings = UnitSettings(program_words(), user, systemd_here(), role)
    try:
        steps = installation(config, settings, PLACES, os.environ)
    except PermissionError as error:
        raise _for_root(session, "install", f"{error.filename} is closed to this account.") from error
    active = answer("systemctl", "is-active", settings.unit) == "active"
    if not active and any(each.check == "ready" for each in run_async(consumer_findings(config))):
        raise UsageError(
            f"A cdc run of this configuration answers on {config.web.listen}.",
            "Stop it (Ctrl-C), then install the service again.",
        )
    _do(session, "install", f"To install {settings.unit}:", steps, dry_run=dry_run, yes=yes)
    if dry_run:
        return
    file = PLACES.configuration / config.file.name if config.file is not None else None
    placed = load_config(file if file is not None and file.is_file() else PLACES.configuration / "cdc.toml", {})
    problems = run_async(_until_ready(placed))
    say(f"\n{settings.unit} runs, and starts with the machine.")
    for each in problems:
        say(fitting(translate(each), "  ", err=True))
    if placed.web.listen:
        page = f"http://{placed.web.listen}/"
        link = None if _others_sign_in(placed) else with_accounts(placed, lambda accounts: accounts.offer_setup())
        say(f"The page: {page}{f'set-up/{link}' if link else ''}")
        if link:
            say("  Nobody can sign in yet: open this link once, on this machine.")
        if placed.web.listen.startswith(("127.", "localhost", "[::1]")):
            port = placed.web.listen.rpartition(":")[2]
            say(f"  From another machine: ssh -L {port}:{placed.web.listen} THIS-MACHINE, then open it there.")
    say("How it is: cdc service status.  Its log: cdc service logs -f")


async def _until_ready(config: Config) -> list[str]:
    """Return why the consumer that was just started is not ready, once it is, or has had some seconds."""
    for _ in range(_READINGS):
        problems = [each.detail for each in await consumer_findings(config) if each.severity is not Severity.OK]
        if not problems:
            break
        await asyncio.sleep(_AGAIN_SECONDS)  # another process: health is only answered
    return problems


def _others_sign_in(config: Config) -> bool:
    """Return whether people sign in by something else than users of ours, so that no first user is made."""
    return bool(config.web.trusted_header or config.web.facturascripts_login or config.oidc.issuer)


@service.command()
@_role_option
@json_option
@pass_session
def status(session: CommandSession, role: ProcessRole, as_json: bool) -> int:
    """Show state, health and page of the service.

    Exit codes: 0 it runs and is ready, 1 it is not, 2 it is not installed.
    """
    settings = UnitSettings(program_words(), role=role)
    shown = unit_status(settings, PLACES)
    page = file = outbox = None
    try:
        config = quiet_configuration(session)
        findings = run_async(consumer_findings(config)) if shown.active else []
        problems = [each.detail for each in findings if each.severity is not Severity.OK]
        works = not findings or all(each.check == "ready" and each.severity is not Severity.WRONG for each in findings)
        page = f"http://{config.web.listen}/" if config.web.listen else None
        file, outbox = str(config.file), config.outbox.describe()
    except CdcError as error:  # for root and the service alone
        problems, works = [error.message], True
    ready = shown.active and works
    if as_json:
        about = {"service": settings.unit, **shown._asdict(), "ready": ready, "problems": problems}
        print_json({**about, "page": page, "configuration": file, "outbox": outbox})
        return 0 if ready else 1
    print_fields(
        [
            ("service", settings.unit),
            ("state", shown.state),
            ("since", shown.since),
            ("is ready", ready),
            ("page", page),
            ("configuration", file),
            ("outbox", outbox),
            ("restarts", f"{shown.restarts} after failures"),
            ("memory", shown.memory),
            ("starts with the machine", shown.starts_by_itself),
        ]
    )
    for each in problems:
        echo("\n", fitting(translate(each), "  "))
    if not shown.active:
        say(f"\nWhy: cdc service logs.  Start it: systemctl start {settings.unit}")
    return 0 if ready else 1


@service.command()
@_role_option
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(1), default=50, show_default=True, help="Last lines to show.")
@click.option("--since", metavar="TIME", help='Only since then, as journalctl takes it: "1 hour ago", "10:30".')
def logs(role: ProcessRole, follow: bool, lines: int, since: str | None) -> None:
    """Show the service's log, as people read it."""
    program = shutil.which("journalctl")
    if program is None:
        raise UsageError("There is no journalctl on this machine.", "The log is where its supervisor writes it.")
    unit = UnitSettings(program_words(), role=role).unit
    words = [program, "--unit", unit, "--output", "cat", "--lines", str(lines), *(["--follow"] if follow else [])]
    words += [] if since is None else ["--since", since]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace") as journal:  # noqa: S603 - found on PATH; options are passed as words
        assert journal.stdout is not None
        for line in journal.stdout:
            echo(readable_line(line.rstrip("\n")))


@service.command()
@_role_option
@click.option("--purge", is_flag=True, help="Also remove the configuration, the outbox and the account.")
@_dry_run_option
@yes_option
@pass_session
def uninstall(session: CommandSession, role: ProcessRole, purge: bool, dry_run: bool, yes: bool) -> None:
    """Stop and remove the service; configuration and outbox stay.

    The triggers stay, too, and fill their journal: cdc uninstall-triggers removes them.
    """
    settings = UnitSettings(program_words(), role=role)
    steps = removal(settings, PLACES, purge=purge)
    about = f"To remove {settings.unit}:"
    if purge:
        about = f"{_lost(session)}\n{about}"
    if steps:
        _do(session, "uninstall", about, steps, dry_run=dry_run, yes=yes)
    else:
        say(f"{settings.unit} is not installed.")
    if not purge:
        say("Configuration and outbox stay, and FacturaScripts' triggers too: cdc uninstall-triggers removes them.")


def _lost(session: CommandSession) -> str:
    """Return what a purge loses, and what must come before it."""

    async def count(config: Config) -> int:
        async with opened_outbox(config) as store:
            return sum(map(unfinished, (await store.counts()).values()))

    try:
        config = quiet_configuration(session)
        counted = f"{run_async(count(config)):,} unfinished deliveries"
    except CdcError as error:
        counted = f"what is in the outbox ({error.message})"
    return f"This loses {counted}, all endpoints and their secrets.  First: cdc uninstall-triggers."


@service.command()
@_role_option
@_user_option
@click.option(
    "--systemd", type=click.IntRange(240), metavar="VERSION", help="Version of systemd to write for [this machine's]."
)
@pass_session
def unit(session: CommandSession, role: ProcessRole, user: str, systemd: int | None) -> None:
    """Print a systemd unit that runs this configuration.

    To install by hand, where `cdc service install` does not fit: as /etc/systemd/system/facturascripts-cdc.service,
    that of a role as facturascripts-cdc-ROLE.service; each may have a configuration and a database account of its own
    (cdc outbox grants).  The unit is hardened; systemd reads the files with secrets and passes them to the service
    only.
    """
    config = quiet_configuration(session)
    select_sources(config, ())
    settings = UnitSettings(program_words(), user, systemd or systemd_here(), role)
    print_script(unit_text(config, settings))
    for path in homes_of(config, settings):
        say(f"{path} is in a home folder: the account {user} must be able to read it there, or move it elsewhere.")


def _do(
    session: CommandSession, command: str, about: str, steps: Sequence[InstallStep], *, dry_run: bool, yes: bool
) -> None:
    """List the steps, ask, and do them.  Raises `UsageError` for all but root."""
    say(about)
    for number, step in enumerate(steps, start=1):
        say(fitting(f"{number:3}. {step.title}", "     ", err=True))
    if dry_run:
        return
    if not is_root():
        raise _for_root(session, command, "Only root changes services.")
    confirm("Do it?", yes=yes)
    for number, step in enumerate(steps, start=1):
        say(fitting(f"{number}/{len(steps)} {translate(step.title)}", "    ", err=True))
        step.do()


def _for_root(session: CommandSession, command: str, problem: str) -> UsageError:
    file = session.config_path or Path(os.environ.get("CDC_CONFIG") or "cdc.toml")
    named = ["--config", str(file.absolute())] if file.is_file() else []
    return UsageError(problem, f"sudo {shlex.join([*program_words(), *named, 'service', command])}")
