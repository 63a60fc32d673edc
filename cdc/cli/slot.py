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
    """Install or update publication and replication slot.

    For `capture = "logical"` on PostgreSQL.  The captured tables get REPLICA IDENTITY FULL: updates and deletes then
    write whole rows to the server's log, which grows.  The server keeps its log until `cdc run` has read it.  A second
    run changes nothing.  Uses the account of `admin_url`, if it is set; it must own the tables."""

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
    """Remove the replication slot and the publication.

    Each table gets its former replica identity back.  Changes that `cdc run` has not read are lost: their size is
    printed, and on a terminal you are asked.
    """

    def plan(_source: SourceConfig, installer: AnyInstaller) -> Plan:
        return installer.plan_uninstall()

    def before(source: SourceConfig, found: Plan) -> None:
        confirm_loss(lambda: slot_removal(source.name, found), yes=yes)

    done = "Slot and publication are removed."
    installer_of = installers.slot_installer
    carry_out(session, installer_of, sources, plan, dry_run=dry_run, as_json=as_json, done=done, before=before)
