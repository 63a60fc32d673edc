"""The use cases as commands call them: on the configured outbox, for the account at the keyboard."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from cdc.admin.admin import Admin
from cdc.admin.principal import Principal
from cdc.cli.environment import opened, opened_outbox, run_async
from cdc.config import Config
from cdc.model.clock import SystemClock
from cdc.outbox.store import OutboxStore
from cdc.runtime import outboxes
from cdc.runtime.service import service_of

if TYPE_CHECKING:
    from cdc.access.base import AccessStore
    from cdc.admin.accounts import Accounts

T = TypeVar("T")


def with_admin(config: Config, work: Callable[[Admin], Awaitable[T]]) -> T:
    """Run ``work`` on the open outbox.  Raises `OutboxMissing`."""

    async def run() -> T:
        async with opened_outbox(config) as store:
            return await work(admin_of(config, store))

    return run_async(run())


def admin_of(config: Config, store: OutboxStore) -> Admin:
    return Admin(service_of(config, store, SystemClock()), Principal(actor(), operator=True))


def with_accounts(config: Config, work: Callable[[Accounts], Awaitable[T]]) -> T:
    """Run ``work`` on users and tokens.  Raises `OutboxMissing`."""
    from cdc.admin.accounts import Accounts  # noqa: PLC0415 - passwords and QR codes, which few commands need

    async def run() -> T:
        async with opened_access(config) as store:
            return await work(Accounts(store, SystemClock(), limits=config.limits))

    return run_async(run())


@asynccontextmanager
async def opened_access(config: Config) -> AsyncIterator[AccessStore]:
    """Users, tokens and the audit log, in the outbox.  Raises `OutboxMissing`."""
    from cdc.runtime import access  # noqa: PLC0415 - likewise

    await outboxes.require(config, outboxes.open_outbox(config))
    async with opened(access.open_access(config)) as store:
        yield store


def actor() -> str:
    """Return the actor for the audit log: ``cli:`` and the system's name of this account."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's account need not have a name, nor one of a service
        name = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return "cli:" + "".join(character if character.isprintable() else "?" for character in name)[:100]
