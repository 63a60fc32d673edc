"""The store of users, tokens and the audit log, and the other ways to sign in, by the configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from cdc.access.base import AccessStore
from cdc.config import Config
from cdc.model.clock import Clock

if TYPE_CHECKING:
    from cdc.access.sign_in import SignIn


def open_access(config: Config) -> AccessStore:
    """Return the access store in the configured outbox's database, not opened yet."""
    from cdc.outbox.secret_box import SecretBox

    box = SecretBox(*config.outbox.secret_keys())
    if config.outbox.path is None:
        from cdc.access.postgres import PostgresAccess

        return PostgresAccess(config.outbox.connection(), box=box)
    from cdc.access.sqlite import SqliteAccess

    return SqliteAccess(config.outbox.path, box=box)


@asynccontextmanager
async def sign_in(config: Config, store: AccessStore, clock: Clock) -> AsyncIterator[SignIn]:
    """The ways in that are configured, on an open store.  Raises `ConfigError` when the source of
    ``facturascripts_login`` cannot be read from the configuration."""
    from cdc.access.sign_in import SignIn

    lifetime = timedelta(hours=config.web.session_hours)
    if not config.web.facturascripts_login:
        yield SignIn(store, clock, lifetime=lifetime)
        return
    from cdc.runtime.facturascripts_users import SourceUsers

    theirs = SourceUsers(config.select_source(config.web.facturascripts_login))
    try:
        yield SignIn(store, clock, lifetime=lifetime, theirs=theirs)
    finally:
        await theirs.close()
