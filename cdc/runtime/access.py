"""The store of users, tokens and the audit log, and the other ways to sign in, by the configuration.

FacturaScripts' table of users is asked over a connection of its own with the account of a source.  Passwords' hashes
and secrets of second factors pass through here; nothing of them is logged, stored, or part of an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from cdc.access.base import AccessStore
from cdc.access.model import Role
from cdc.config import Config, SourceConfig
from cdc.database.sqlfile import load
from cdc.model.clock import Clock
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import ProviderError, SourceError, SourceUnavailable

if TYPE_CHECKING:
    from cdc.access.oidc import OpenIdConnect
    from cdc.access.password import FacturaScriptsUser, Passwords
    from cdc.access.sign_in import SignIn
    from cdc.capture.postgres_lookup import PostgresLookup


def open_access(config: Config) -> AccessStore:
    """Return the access store in the configured outbox's database, not opened yet."""
    from cdc.outbox.secret_box import SecretBox

    keys = config.outbox.secret_keys()
    box = SecretBox(keys.keys, keys.where, seal_payloads=keys.seal_payloads)
    if config.outbox.path is None:
        from cdc.access.postgres import PostgresAccess

        return PostgresAccess(config.outbox.connection(), box=box)
    from cdc.access.sqlite import SqliteAccess

    return SqliteAccess(config.outbox.path, box=box)


@asynccontextmanager
async def sign_in(
    config: Config, store: AccessStore, clock: Clock, passwords: Passwords | None = None
) -> AsyncIterator[SignIn]:
    """The ways in that are configured, on an open store.  Raises `ConfigError` when the source of
    ``facturascripts_login`` cannot be read from the configuration."""
    from cdc.access.sign_in import SignIn

    login = config.web.facturascripts_login
    theirs = SourceUsers(config.select_source(login)) if login else None
    async with AsyncExitStack() as closing:
        if theirs is not None:
            closing.push_async_callback(theirs.close)
        yield SignIn(
            store,
            clock,
            lifetime=timedelta(hours=config.web.session_hours),
            theirs=theirs,
            second_factor_for=_SECOND_FACTOR_FOR[config.web.require_2fa],
            oidc=await closing.enter_async_context(identity_provider(config, clock)) if config.oidc.issuer else None,
            oidc_lifetime=timedelta(minutes=config.oidc.session_minutes),
            passwords=passwords,
        )


@asynccontextmanager
async def identity_provider(config: Config, clock: Clock) -> AsyncIterator[OpenIdConnect]:
    """The OpenID Connect provider, asked by the client of deliveries: its guard of addresses, no redirects, no cookies;
    answers are bounded in time and size.  Raises `ConfigError`."""
    from cdc.access.oidc import Grant, OidcSettings, OpenIdConnect
    from cdc.config.sending import authorities
    from cdc.dispatch.request import USER_AGENT, WebhookRequest
    from cdc.dispatch.sender import HttpSender

    oidc = config.oidc
    settings = OidcSettings(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=oidc.client_secret(),
        redirect_uri=f"{config.web.address}/sign-in/oidc/callback",
        groups={name: Grant(Role(each.role), each.sources) for name, each in oidc.groups.items()},
        scopes=oidc.scopes,
        name_claim=oidc.name_claim,
        groups_claim=oidc.groups_claim,
        second_factor=oidc.second_factor,
        second_factor_for=frozenset(_SECOND_FACTOR_FOR[config.web.require_2fa]),
    )
    plain = oidc.issuer.startswith("http://")
    tls = authorities(oidc.ca_file, "oidc")
    async with HttpSender(tls=tls, allow_networks=oidc.allow_networks, allow_http=plain) as sender:

        async def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
            all_headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
            request = WebhookRequest(url, all_headers, body, _PROVIDER_SECONDS)
            answer = await sender.send(request, _PROVIDER_BYTES, _PROVIDER_SECONDS, method=method)
            if answer.status is None:
                raise ProviderError(
                    f"The identity provider does not answer: {answer.error}", "Other ways to sign in still work."
                )
            return answer.status, answer.body

        yield OpenIdConnect(settings, fetch, clock)


#: Roles that need a second factor, by ``require_2fa``.
_SECOND_FACTOR_FOR: Final = {"none": (), "managers": (Role.MANAGER,), "all": tuple(Role)}
#: Bounds of an answer of an OpenID Connect provider; one that is cut off is no JSON.
_PROVIDER_SECONDS: Final = 10.0
_PROVIDER_BYTES: Final = 256 * 1024
_LONGEST_NICK: Final = 50
_USERS: Final = "users"
#: As in ``facturascripts_user.sql``; an older FacturaScripts lacks the last two.
_COLUMNS: Final = ("nick", "admin", "enabled", "password", "two_factor_enabled", "two_factor_secret_key")
#: Seconds that PostgreSQL gets for an answer.
_SECONDS: Final = 5.0
#: Where the second factor is on and its secret cannot be read: no code fits what is not base32.
_NO_SECRET: Final = "-"  # noqa: S105 - no secret: it is not base32, so no code can fit it


class _Database(Protocol):
    async def user(self, nick: str) -> list[Sequence[Any]]:
        """Rows of ``facturascripts_user.sql``, shorter where FacturaScripts has no second factor yet."""
        ...

    async def close(self) -> None: ...


class SourceUsers:
    """`FacturaScriptsUsers` of a source's database; connected when it is first asked."""

    def __init__(self, source: SourceConfig) -> None:
        self._info = source.connection()
        self._database: _Database = (
            _Postgres(self._info) if self._info.engine is Engine.POSTGRESQL else _MySQL(self._info)
        )
        self._free = asyncio.Lock()
        self._connected = False

    async def find(self, nick: str) -> FacturaScriptsUser | None:
        async with self._free:
            try:
                found = await self._user(nick[: _LONGEST_NICK + 1])
            except SourceUnavailable:
                raise
            except SourceError as error:
                raise SourceError(
                    f"FacturaScripts' users in {self._info.describe()} cannot be read.",
                    "Let the source's account SELECT from the table users, or empty [web] facturascripts_login.",
                ) from error
        if not found:
            return None
        from cdc.access.password import FacturaScriptsUser

        name, admin, enabled, password, *second = found[0]
        on, secret = second or (False, None)
        totp_secret = (secret or _NO_SECRET) if on else ""
        return FacturaScriptsUser(name, bool(admin), bool(enabled), password or "", totp_secret)

    async def _user(self, nick: str) -> list[Sequence[Any]]:
        """Read a user; a second time on a new connection, if the former one was lost.  It is idle for days between two
        sign-ins, and servers and firewalls close such connections."""
        try:
            found = await self._database.user(nick)
        except SourceUnavailable:
            if not self._connected:
                raise
            self._connected = False
            found = await self._database.user(nick)
        self._connected = True
        return found

    async def close(self) -> None:
        await self._database.close()


class _Postgres:
    """Closed after any error; opened when it is needed."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._lookup: PostgresLookup | None = None

    async def user(self, nick: str) -> list[Sequence[Any]]:
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._find(nick)
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise SourceUnavailable(f"{self._info.describe()} does not answer.") from error
            raise

    async def _find(self, nick: str) -> list[Sequence[Any]]:
        from cdc.capture.postgres_lookup import PostgresLookup

        if self._lookup is None:
            self._lookup = PostgresLookup(self._info, ())
            await self._lookup.connect()
        found = await self._lookup.link.query(load("postgres/read/find_table.sql"), [_USERS])
        if not found:
            raise SourceError(
                f"There is no table {_USERS} that this account may read.", "cdc grants prints its rights."
            )
        rows = await self._lookup.open_rows(found[0][0], _USERS, _COLUMNS, "nick", nick)
        return [[row[column] for column in _COLUMNS if column in row] for row in rows]

    async def close(self) -> None:
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            await lookup.disconnect()


class _MySQL:
    def __init__(self, info: ConnectionInfo) -> None:
        from cdc.capture.mysql_session import ProbeSession

        self._session = ProbeSession(info)

    async def user(self, nick: str) -> list[Sequence[Any]]:
        from cdc.database.mysql_connection import BAD_COLUMN, code_of

        try:
            return await self._ask("mysql/facturascripts_user.sql", nick)
        except SourceError as error:
            if error.__cause__ is None or code_of(error.__cause__) != BAD_COLUMN:
                raise
        return await self._ask("mysql/facturascripts_user_plain.sql", nick)

    async def _ask(self, name: str, nick: str) -> list[Sequence[Any]]:
        from cdc.database.mysql_connection import rows

        found = await self._session.run(partial(rows, sql=load(name), parameters=(nick,)))
        return list(found)

    async def close(self) -> None:
        await self._session.close()
