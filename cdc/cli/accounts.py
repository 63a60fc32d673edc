"""What ``user``, ``token`` and ``audit`` share: the open store, who is at the keyboard, passwords that are typed."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import click

from cdc import service
from cdc.access.accounts import Accounts
from cdc.access.base import AccessStore
from cdc.access.nouns import AuditEntry
from cdc.cli.asynchronous import opened
from cdc.clock import SystemClock
from cdc.config import Config
from cdc.config.section import read_password as read_password_file

_STANDARD_INPUT = "-"

password_option = click.option(
    "--password-file",
    metavar="FILE",
    help="Read the password from this file, or - for standard input, instead of asking.",
)


def opened_access(config: Config) -> AbstractAsyncContextManager[AccessStore]:
    return opened(service.open_access(config))


@asynccontextmanager
async def opened_accounts(config: Config) -> AsyncIterator[Accounts]:
    async with opened_access(config) as store:
        yield Accounts(store, SystemClock())


async def note(config: Config, action: str, *subjects: str) -> None:
    """Enter into the audit log what was just done here to each of these."""
    if not subjects:
        return
    async with opened_access(config) as store:
        for subject in subjects:
            await store.append(AuditEntry(SystemClock().now(), actor(), action, subject))


def actor() -> str:
    """Who is at the keyboard, for the audit log: ``cli:`` and the system's name of this account."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's account need not have a name
        name = f"uid-{os.getuid()}"
    return "cli:" + "".join(character if character.isprintable() else "?" for character in name)[:100]


def read_password(file: str | None) -> str:
    """From a file or standard input (its first line), else asked for twice; never an argument, which other users see.
    Raises `UsageError`."""
    if file is None:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if file == _STANDARD_INPUT:
        return sys.stdin.readline().rstrip("\r\n")
    return read_password_file(Path(file))
