"""``token …``: what programs show to the HTTP API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from cdc.access.model import TOKEN_LIFETIME, Allowance, ApiToken, Scope
from cdc.admin.accounts import Accounts
from cdc.cli.admin import actor, with_accounts
from cdc.cli.loss import token_removal
from cdc.cli.output import (
    confirm_loss,
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
    time_as_json,
    yes_option,
)
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration

network_option = click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NETWORK",
    help="Only from this address or network (203.0.113.0/24, 2001:db8::/48; repeatable) [anywhere].",
)


@click.group()
def token() -> None:
    """Manage the tokens for programs that call the API."""


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([each.value for each in Scope]),
    required=True,
    help="read, manage (read and change), or consume (only fetch and acknowledge events of consumers).",
)
@click.option(
    "--expires",
    type=click.IntRange(1, 3650),
    default=TOKEN_LIFETIME.days,
    show_default=True,
    metavar="DAYS",
    help="Days until it expires.",
)
@click.option("--no-expiry", is_flag=True, help="It never expires.")
@network_option
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    help="Limit it to this source (repeatable) [all sources].",
)
@click.option(
    "--allow",
    "allowed",
    type=click.Choice([each.value for each in Allowance]),
    multiple=True,
    help="With --source, allow more (repeatable).  mail: endpoints by mail.  credentials: proxies and certificates of "
    "the configuration, and endpoints whose headers, proxy or certificate the operator set.",
)
@json_option
@pass_session
def add(
    session: CommandSession,
    *,
    name: str,
    scope: str,
    expires: int,
    no_expiry: bool,
    networks: tuple[str, ...],
    sources: tuple[str, ...],
    allowed: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a token for a program, and print it.

    The token is shown only once.  Give each program its own: you can remove it alone, and the audit log shows its NAME.
    """
    lifetime = None if no_expiry else timedelta(days=expires)
    config = quiet_configuration(session)
    only = config.known_sources(sources)
    beyond = tuple(dict.fromkeys(map(Allowance, allowed)))
    made, text = with_accounts(
        config,
        lambda accounts: accounts.add_token(
            actor(), name, Scope(scope), lifetime, only, allowed=beyond, networks=networks
        ),
    )
    if as_json:
        print_json(_as_json(made) | {"token": text})
        return
    print_fields([("id", made.id), ("token", text), ("expires", made.expires_at or "never")])
    say("Keep the token: it is not shown again.  Programs send it in a header:\nAuthorization: Bearer cdct_…")


@token.command("list")
@json_option
@pass_session
def list_(session: CommandSession, as_json: bool) -> None:
    """List all tokens with their last use."""
    tokens = with_accounts(quiet_configuration(session), Accounts.tokens)
    if as_json:
        print_json({"tokens": [_as_json(each) for each in tokens]})
        return
    rows = [
        (
            *(t.id, t.name, t.scope, t.sources or "all", t.allowed, t.networks or "any", t.created_at),
            *(t.expires_at or "never", t.last_used_at, t.last_used_from),
        )
        for t in tokens
    ]
    titles = ("id", "name", "scope", "sources", "allowed", "networks", "created", "expires", "last used", "from")
    print_table(titles, rows, "There is no token yet: cdc token add NAME --scope read")


@token.command()
@click.argument("named", metavar="ID|NAME")
@yes_option
@pass_session
def remove(session: CommandSession, named: str, yes: bool) -> None:
    """Remove a token, which stops working at once."""
    config = quiet_configuration(session)
    confirm_loss(lambda: token_removal(with_accounts(config, lambda accounts: accounts.token(named))), yes=yes)
    removed = with_accounts(config, lambda accounts: accounts.remove_token(actor(), named))
    say(f"{removed.id} ({removed.name}): Removed.")


def _as_json(each: ApiToken) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "scope": each.scope,
        "sources": list(each.sources),
        "allowed": list(each.allowed),
        "created_at": time_as_json(each.created_at),
        "expires_at": time_as_json(each.expires_at),
        "last_used_at": time_as_json(each.last_used_at),
        "networks": list(each.networks),
        "last_used_from": each.last_used_from or None,
    }
