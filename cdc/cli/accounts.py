"""What ``user`` and ``token`` share: accounts on the open store, passwords that are typed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from cdc.admin.accounts import Accounts
from cdc.cli.admin import opened_access
from cdc.config import Config
from cdc.config.section import read_password as read_password_file
from cdc.model.clock import SystemClock

_STANDARD_INPUT = "-"

password_option = click.option(
    "--password-file",
    metavar="FILE",
    help="Read the password from this file, or - for standard input, instead of asking.",
)


@asynccontextmanager
async def opened_accounts(config: Config) -> AsyncIterator[Accounts]:
    async with opened_access(config) as store:
        yield Accounts(store, SystemClock())


def read_password(file: str | None) -> str:
    """From a file or standard input (its first line), else asked for twice; never an argument, which other users see.
    Raises `UsageError`."""
    if file is None:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if file == _STANDARD_INPUT:
        return sys.stdin.readline().rstrip("\r\n")
    return read_password_file(Path(file))
