"""The HTTP server of `cdc run`: health and metrics, the API, the page."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from cdc.access.base import AccessStore, keep_tidy, warn_of_expiry
from cdc.access.proxy import client_address, is_local, network_of, trusts
from cdc.access.sign_in import SignIn
from cdc.admin.accounts import Accounts
from cdc.admin.process import RunningProcess
from cdc.config import Config
from cdc.dispatch.replay import Replaying
from cdc.model.clock import Clock
from cdc.outbox.store import OutboxStore
from cdc.runtime.access import open_access, sign_in
from cdc.runtime.service import service_of
from cdc.web.health import HealthLimits
from cdc.web.monitor import Monitor

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web import Request

    from cdc.admin.base import Service
    from cdc.config.model import WebConfig
    from cdc.web.server import Connections, Listener


log = structlog.get_logger()


async def serve_web(
    config: Config,
    store: OutboxStore,
    monitor: Monitor,
    bounds: HealthLimits,
    *,
    clock: Clock,
    stop: asyncio.Event,
    say: Callable[[str], None],
    due: Callable[[], None],
    pages: bool,
    listener: Listener,
) -> None:
    """Serve the pages and the API until ``stop``.  ``say``: gets the set-up link, while nobody can sign in.  ``due``:
    called when a replay made something due.  Without ``pages`` only health and metrics."""
    from cdc.pages.application import application
    from cdc.web.server import add_health, serve

    app = application(config.web.hosts)
    connections = limited(app, config.web)
    token = config.web.metrics_token()
    add_health(app, monitor, bounds, clock, outbox=config.outbox.fingerprint(), metrics_token=token)
    if not pages:
        log.info("no page is served", reason="the account of the outbox may not manage it")
        await serve(app, config.web.listen, connections, stop, listener=listener)
        return
    access = open_access(config)
    await access.open()
    try:
        async with sign_in(config, access, clock) as ways_in:
            replaying = Replaying(store, clock, f"{socket.gethostname()}-{os.getpid()}", due)
            process = RunningProcess(config, monitor, bounds, clock)
            service = service_of(config, store, clock, process, replaying.asked)
            add_management(app, service, process, access, ways_in)
            others = config.web.trusted_header or config.web.facturascripts_login or config.oidc.issuer
            link = None if others else await Accounts(access, clock).offer_setup()

            def listening() -> None:
                if link is not None:
                    say(f"Nobody can sign in yet. Open once, on this machine: http://{config.web.listen}/set-up/{link}")

            serving = serve(app, config.web.listen, connections, stop, listening, listener=listener)
            tidying = keep_tidy(access, clock, stop), ways_in.failures.run(stop), warn_of_expiry(access, clock, stop)
            await asyncio.gather(serving, *tidying, replaying.run(stop))
    finally:
        await access.close()


def limited(app: web.Application, web: WebConfig) -> Connections:
    """Bound the connections and requests of this application; return the connections for its server."""
    from cdc.api.application import REQUEST_SECONDS
    from cdc.web.server import Connections, Limits, counting

    def group(address: str) -> str:
        """Return the network that is counted together; empty for proxies, and for this machine, where one may run."""
        many = trusts(web.trusted_proxies, address) or is_local(address, forwarded=False)
        return "" if many else network_of(address)

    def client(request: Request) -> str:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(web.trusted_proxies, request.remote or "", forwarded)

    connections = Connections(Limits(web.connections, web.connections_per_address, web.request_seconds, group))
    app.middlewares.insert(0, counting(connections, client))
    app[REQUEST_SECONDS] = web.request_seconds
    return connections


def add_management(
    app: web.Application, service: Service, process: RunningProcess, access: AccessStore, ways_in: SignIn
) -> None:
    """The API and the page, after what else there is: what is none of them is a page, or nothing."""
    from cdc.api.application import PREFIX, api_application
    from cdc.api.token_auth import TokenAuth
    from cdc.pages.application import SECTIONS, add_site
    from cdc.pages.page import Brand, Site
    from cdc.pages.session_auth import Proxies, SessionAuth

    web = service.config.web
    proxies = Proxies(web.trusted_proxies, web.trusted_header)
    session_auth = SessionAuth(
        access,
        Accounts(access, service.clock, limits=service.config.limits),
        ways_in,
        proxies,
        theirs=bool(web.facturascripts_login),
        sources=service.config.source,
        frame_ancestors=web.frame_ancestors,
    )
    brand = Brand(web.brand_name or Brand().name, web.brand_accent, web.logo())
    token_auth = TokenAuth(access, ways_in, service.clock, session_auth.address, service.in_use)
    app.add_subapp(PREFIX, api_application(service, token_auth))
    known = {web.timezone} if web.timezone else {each.timezone() for each in service.config.source.values()} - {""}
    zone = ZoneInfo(known.pop()) if len(known) == 1 else None  # else the page shows times in the browser's
    add_site(app, Site(service, process, session_auth, zone, SECTIONS, token_auth.addresses, brand))
