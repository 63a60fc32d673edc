"""``install-slot`` and ``uninstall-slot``: what a DBA does to have changes read from PostgreSQL's log."""

from __future__ import annotations

import click

from cdc.capture.triggers.base import AnyInstaller, Plan
from cdc.cli.loss import slot_removal
from cdc.cli.output import confirm_loss, json_option, yes_option
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import sources_option
from cdc.cli.trigger import carry_out, dry_run_option
from cdc.config import SourceConfig
from cdc.runtime import capture, installers


@click.command("install-slot")
@sources_option
@dry_run_option
@json_option
@pass_session
def install_slot(session: CommandSession, sources: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Install, or bring up to date, publication and replication slot.

    For `capture = "logical"`, on PostgreSQL.  The captured tables get REPLICA IDENTITY FULL: the server's log then
    holds whole rows before each change, which makes it larger where rows are changed or deleted.  From then on the
    server keeps its log until `cdc run` has read it.  Running it again changes nothing that fits already.  The account
    is that of `admin_url`, if there is one; it must own the tables."""

    def plan(source: SourceConfig, installer: AnyInstaller) -> Plan:
        return capture.plan_install(source, installer.plan_install)

    done = "Publication and slot are installed."
    carry_out(session, installers.slot_installer, sources, plan, dry_run=dry_run, as_json=as_json, done=done)


@click.command("uninstall-slot")
@sources_option
@dry_run_option
@yes_option
@json_option
@pass_session
def uninstall_slot(
    session: CommandSession, *, sources: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove replication slot and publication.

    Each table gets back the replica identity that it had.  Changes that the consumer has not read yet are lost.
    """

    def plan(_source: SourceConfig, installer: AnyInstaller) -> Plan:
        return installer.plan_uninstall()

    def before(source: SourceConfig, found: Plan) -> None:
        confirm_loss(lambda: slot_removal(source.name, found), yes=yes)

    done = "Slot and publication are removed."
    installer_of = installers.slot_installer
    carry_out(session, installer_of, sources, plan, dry_run=dry_run, as_json=as_json, done=done, before=before)
