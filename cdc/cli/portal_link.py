"""``portal-link …``: links that open the page for one tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from cdc.access.model import Allowance, Role
from cdc.admin.portal_links import LINK_MINUTES, SESSION_MINUTES, PortalLinks, PortalWanted
from cdc.admin.principal import Principal
from cdc.cli.admin import actor, opened_access
from cdc.cli.asynchronous import run_async
from cdc.cli.output import echo, json_option, print_json, say, time_as_json
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.cli.token import network_option
from cdc.config import Config
from cdc.dispatch.message import LANGUAGES
from cdc.model.clock import SystemClock

T = TypeVar("T")


@click.group("portal-link")
def portal_link() -> None:
    """Manage links that open the page for one tenant."""


@portal_link.command()
@click.argument("tenant")
@click.option("--source", "sources", multiple=True, required=True, metavar="NAME", help="A source of the tenant.")
@click.option(
    "--minutes",
    type=click.IntRange(1, LINK_MINUTES),
    default=10,
    show_default=True,
    help="The link must be opened within this time.",
)
@click.option(
    "--session-minutes",
    type=click.IntRange(1, SESSION_MINUTES),
    default=60,
    show_default=True,
    help="How long the session lasts that the link opens.",
)
@click.option("--language", type=click.Choice(LANGUAGES), help="Language of the page [the browser's].")
@click.option("--return-url", default="", metavar="URL", help="The host's page that the portal links back to.")
@click.option("--read-only", is_flag=True, help="The tenant changes nothing, and sees no payloads.")
@network_option
@click.option("--allow-mail", is_flag=True, help="The tenant may add mailto: endpoints, for events and alerts.")
@json_option
@pass_session
def add(
    session: CommandSession,
    *,
    tenant: str,
    sources: tuple[str, ...],
    minutes: int,
    session_minutes: int,
    language: str | None,
    return_url: str,
    read_only: bool,
    networks: tuple[str, ...],
    allow_mail: bool,
    as_json: bool,
) -> None:
    """Create a link for TENANT, and print it.

    The link works once.  It opens endpoints, deliveries and events of the sources, and nothing else.
    """
    allowed = (Allowance.MAIL,) if allow_mail else ()
    wanted = PortalWanted(
        tenant,
        sources,
        minutes,
        session_minutes,
        language or "",
        return_url,
        read_only=read_only,
        allowed=allowed,
        networks=networks,
    )
    config = quiet_configuration(session)
    link, url = _with_links(config, lambda links: links.create(_operator(), wanted))
    if as_json:
        print_json(
            {
                "url": url,
                "tenant": tenant,
                "sources": list(link.sources),
                "read_only": link.role is Role.VIEWER,
                "expires_at": time_as_json(link.expires_at),
            }
        )
        return
    echo(url)


@portal_link.command()
@click.argument("tenant")
@pass_session
def revoke(session: CommandSession, tenant: str) -> None:
    """End all links and sessions of TENANT."""
    ended = _with_links(quiet_configuration(session), lambda links: links.revoke(_operator(), tenant))
    say(f"Links and sessions ended: {ended}.")


def _operator() -> Principal:
    return Principal(actor(), operator=True)


def _with_links(config: Config, work: Callable[[PortalLinks], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened_access(config) as store:
            return await work(PortalLinks(store, SystemClock(), config))

    return run_async(run())
