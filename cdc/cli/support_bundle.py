"""``support-bundle``: a file for support."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.doctor import checks_of
from cdc.cli.output import json_option, print_json, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.clock import SystemClock
from cdc.model.errors import CdcError, UsageError
from cdc.runtime import support

_README = """Contents of this file:

about.json          versions of the program, Python, the system and the packages
configuration.json  options that hold no secret and no address; of others only that they are given
doctor.json         what `cdc doctor` found; names of hosts, accounts, databases and files are replaced
outbox.json         endpoints without URL, counts of deliveries, lags, positions of sources, the tables of the outbox
log.jsonl           the last lines of the log, of each the fields that hold numbers, ids and names of ours (with --log)

Not in it: events and their data, URLs, secrets, headers, what endpoints answered, names of people, the texts of errors.
It is not encrypted: look into it before you send it.
"""


@click.command("support-bundle")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), default="cdc-support.zip")
@click.option(
    "--log", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Add the end of this log, in JSON."
)
@click.option(
    "--lines", type=click.IntRange(1, 100_000), default=5000, show_default=True, help="Lines of the log at most."
)
@json_option
@pass_session
def support_bundle(session: CommandSession, target: Path, log: Path | None, lines: int, as_json: bool) -> None:
    """Write a ZIP file for support, without personal data.

    It holds versions, configuration, the results of cdc doctor, counts and lags; no secrets.  A log for --log, under
    systemd: journalctl -u facturascripts-cdc -o cat > log.jsonl
    """
    parts = _parts(session)
    if log is not None:
        parts["log.jsonl"] = support.open_log(log, lines)
    _write(target, parts)
    if as_json:
        print_json({"file": str(target), "parts": {name: len(content) for name, content in parts.items()}})
    say(f"{target}: {', '.join(parts)}. Look into it before you send it.")


def _parts(session: CommandSession) -> dict[str, bytes]:
    """Name → content.  What cannot be had is said in its place: this is for when something is wrong."""
    parts = {"README.txt": _README.encode(), "about.json": support.packed(support.about())}
    try:
        config = quiet_configuration(session)
    except CdcError as error:
        parts["configuration.json"] = support.packed({"error": type(error).__name__})
        return parts
    parts["configuration.json"] = support.packed(support.configuration(config))
    checks = [(check.about, check.finding) for check in checks_of(session, ())]
    parts["doctor.json"] = support.packed(support.open_findings(config, checks))
    parts["outbox.json"] = support.packed(run_async(_outbox(config)))
    return parts


async def _outbox(config: Config) -> dict[str, Any]:
    try:
        async with opened_outbox(config) as store:
            return await support.outbox_facts(config, store, SystemClock().now())
    except CdcError as error:
        return {"error": type(error).__name__}


def _write(target: Path, parts: dict[str, bytes]) -> None:
    try:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}.", "Name a file that is not there: cdc support-bundle FILE"
        ) from error
