"""The management page and the HTTP API over an outbox, with a clock that the test moves and tokens of each scope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from cdc.access.base import AccessStore
from cdc.access.model import Role, Scope
from cdc.access.password import Passwords
from cdc.admin.accounts import Accounts
from cdc.admin.base import Service
from cdc.admin.process import RunningProcess
from cdc.config import Config
from cdc.dispatch.replay import Replaying
from cdc.outbox.store import OutboxStore
from cdc.pages.application import application
from cdc.runtime.access import sign_in
from cdc.runtime.service import service_of
from cdc.runtime.web import add_management
from cdc.web.server import add_health
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryAccess, MemoryOutbox
from support.watching import BOUNDS, Watch

CONFIGURATION: Mapping[str, Any] = {
    "source": {"main": {"url": "postgresql://cdc@db.example.com/erp"}},
    "dispatch": {"allow_http": True, "allow_private": True},
}
PASSWORD = "correct horse battery"
#: Where the API is.
API = "/api/v1"


class Managed:
    """``tokens``: by scope.  ``replaying``: does not run unless the test has it run."""

    def __init__(
        self,
        *,
        client: TestClient[Any, Any],
        service: Service,
        watch: Watch,
        access: AccessStore,
        accounts: Accounts,
        replaying: Replaying,
    ) -> None:
        self.client = client
        self.service = service
        self.watch = watch
        self.access = access
        self.accounts = accounts
        self.replaying = replaying
        self.tokens: dict[Scope, str] = {}

    @property
    def store(self) -> OutboxStore:
        return self.service.store

    @property
    def clock(self) -> ManualClock:
        return self.watch.clock

    async def token(self, name: str, scope: Scope) -> str:
        return (await self.accounts.add_token("cli:root", name, scope, None))[1]

    async def ask(self, method: str, path: str, scope: Scope | None = Scope.MANAGE, **more: Any) -> Answered:
        """One request to the API.  ``scope``: of the token that goes with it; None: none does."""
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        headers |= more.pop("headers", {})
        async with self.client.request(method, f"{API}{path}", headers=headers, **more) as answer:
            return await Answered.of(answer)


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    json: Any
    text: str

    @staticmethod
    async def of(answer: ClientResponse) -> Answered:
        kind = answer.content_type
        body = await answer.json(content_type=kind) if kind.endswith("json") and answer.method != "HEAD" else None
        return Answered(answer.status, answer.headers, body, await answer.text())


@asynccontextmanager
async def managing(
    store: OutboxStore, *, access: AccessStore | None = None, port: int = 0, **config: Any
) -> AsyncIterator[Managed]:
    """Served on loopback, with a manager ``ann``, a viewer ``bob`` and a token of each scope.  ``config``: sections."""
    watch = Watch()
    watch.reading()
    access = access or MemoryAccess(store if isinstance(store, MemoryOutbox) else None)
    chosen = Config.model_validate({**CONFIGURATION, **config})
    passwords = Passwords(passes=1, kibibytes=64)
    accounts = Accounts(access, watch.clock, limits=chosen.limits, passwords=passwords)
    replaying = Replaying(store, watch.clock, "test", lambda: None)
    process = RunningProcess(chosen, watch.monitor, BOUNDS, watch.clock)
    service = service_of(chosen, store, watch.clock, process, replaying.asked)
    app = application(chosen.web.hosts)
    add_health(app, watch.monitor, BOUNDS, watch.clock, outbox="f00d")
    async with sign_in(chosen, access, watch.clock, passwords) as ways_in:
        add_management(app, service, process, access, ways_in)
        async with TestClient(TestServer(app, port=port)) as client:
            managed = Managed(
                client=client, service=service, watch=watch, access=access, accounts=accounts, replaying=replaying
            )
            await accounts.add_user("cli:root", "ann", Role.MANAGER, PASSWORD)
            await accounts.add_user("cli:root", "bob", Role.VIEWER, PASSWORD)
            for scope in Scope:
                managed.tokens[scope] = await managed.token(scope.value, scope)
            yield managed
