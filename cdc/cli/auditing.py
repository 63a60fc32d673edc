"""The audit log as commands that change something use it: its store, what was done, and who is at the keyboard."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cdc.access.base import AccessStore
from cdc.audit import AuditEntry, Note
from cdc.cli.asynchronous import opened
from cdc.config import Config
from cdc.model.clock import SystemClock
from cdc.runtime import access, outboxes


@asynccontextmanager
async def opened_access(config: Config) -> AsyncIterator[AccessStore]:
    """In the outbox.  Raises `OutboxMissing`."""
    await outboxes.require(config, outboxes.open_outbox(config))
    async with opened(access.open_access(config)) as store:
        yield store


def note(action: str, *subjects: str) -> Note:
    """Return the audit log's entries of what is done here to each of these, to be stored with the change."""
    now = SystemClock().now()
    return [AuditEntry(now, actor(), action, subject) for subject in subjects]


def actor() -> str:
    """Who is at the keyboard, for the audit log: ``cli:`` and the system's name of this account."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's account need not have a name
        name = f"uid-{os.getuid()}"
    return "cli:" + "".join(character if character.isprintable() else "?" for character in name)[:100]
