"""``service …``: running under systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from cdc.cli.output import print_script, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration, select_sources
from cdc.runtime.unit import RELOADS_SINCE, UnitSettings, homes_of, unit_text


@click.group()
def service() -> None:
    """Print a systemd unit, to run cdc as a service."""


@service.command()
@click.option("--user", default="facturascripts-cdc", show_default=True, help="Account of the service.")
@click.option(
    "--systemd", type=click.IntRange(240), metavar="VERSION", help="Version of systemd to write for [this machine's]."
)
@pass_session
def unit(session: CommandSession, user: str, systemd: int | None) -> None:
    """Print a systemd unit that runs this configuration.

    Save it as /etc/systemd/system/facturascripts-cdc.service.  The unit is hardened; systemd reads the files with
    secrets and passes them to the service only.
    """
    config = quiet_configuration(session)
    select_sources(config, ())
    settings = UnitSettings(program_words(), user, systemd or systemd_here())
    print_script(unit_text(config, settings))
    for path in homes_of(config, settings):
        say(f"{path} is in a home folder: the account {user} must be able to read it there, or move it elsewhere.")


def program_words() -> tuple[str, ...]:
    """The command that runs this very installation."""
    beside = Path(sys.executable).with_name("cdc")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "cdc")


def systemd_here() -> int:
    """The version of systemd on this machine, or the first that reloads by itself where there is none."""
    program = shutil.which("systemctl")
    if program is None:
        return RELOADS_SINCE
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - found on PATH, with a fixed argument
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else RELOADS_SINCE
