"""What `cdc run` serves over HTTP: health and metrics, the API, the page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from cdc.access.accounts import Accounts
from cdc.access.base import AccessStore
from cdc.access.sign_in import SignIn
from cdc.clock import Clock
from cdc.config import Config
from cdc.outbox.base import OutboxStore
from cdc.service.desk import ServiceDesk
from cdc.service.outboxes import open_access
from cdc.web.health import Bounds
from cdc.web.monitor import Monitor

if TYPE_CHECKING:
    from aiohttp import web


async def serve_web(
    config: Config,
    store: OutboxStore,
    monitor: Monitor,
    bounds: Bounds,
    *,
    clock: Clock,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> None:
    """Until ``stop``.  ``say``: who is told of the set-up link, while nobody can sign in."""
    from cdc.web.server import serve

    access = open_access(config)
    await access.open()
    try:
        app = web_application(config, store, access, monitor, bounds, clock=clock)
        link = None if _opened_otherwise(config) else await Accounts(access, clock).offer_setup()

        def listening() -> None:
            if link is not None:
                say(f"Nobody can sign in yet. Open once, on this machine: http://{config.web.listen}/set-up/{link}")

        await serve(app, config.web.listen, stop, listening)
    finally:
        await access.close()


def _opened_otherwise(config: Config) -> bool:
    return bool(config.web.trusted_header or config.web.facturascripts_login)


def web_application(
    config: Config, store: OutboxStore, access: AccessStore, monitor: Monitor, bounds: Bounds, *, clock: Clock
) -> web.Application:
    from babel.dates import LOCALTZ, get_timezone

    from cdc.api.application import PREFIX, api_application
    from cdc.api.gate import Gate
    from cdc.api.operations import OPERATIONS
    from cdc.pages.door import Door, Proxies
    from cdc.pages.routes import SECTIONS, routes
    from cdc.pages.site import Site, add_site, application
    from cdc.web.server import add_health

    web = config.web
    sign_in = SignIn(access, clock, lifetime=timedelta(hours=web.session_hours))
    proxies = Proxies(web.trusted_proxies, web.trusted_header)
    door = Door(access, Accounts(access, clock), sign_in, proxies, theirs=bool(web.facturascripts_login))
    desk = ServiceDesk(config=config, store=store, access=access, monitor=monitor, bounds=bounds, clock=clock)
    zone = get_timezone(web.timezone) if web.timezone else LOCALTZ
    app = application()
    add_health(app, monitor, bounds, clock)
    app.add_subapp(PREFIX, api_application(desk, Gate(access, sign_in, clock, door.address), OPERATIONS))
    add_site(app, Site(desk, door, zone, SECTIONS), routes())
    return app
