"""Options before the command: ``--config``, ``--verbose``, ``--log-format``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click


@dataclass
class CommandSession:
    """One run of the command line.  Reading the configuration is up to the commands that need it (`cdc.cli.settings`):
    ``cdc --help`` starts fast and works without one."""

    config_path: Path | None = None
    verbose: bool = False
    log_format: str | None = None
    as_json: bool = False


pass_session = click.make_pass_decorator(CommandSession)
