"""``user …``: who may use the management page."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import click

from cdc.access import totp as codes
from cdc.access.model import Role, User
from cdc.admin.accounts import Accounts
from cdc.cli.admin import actor, with_accounts
from cdc.cli.loss import totp_removal, user_removal
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
from cdc.config.section import read_password as read_password_file
from cdc.model.errors import UsageError

_STANDARD_INPUT = "-"

password_option = click.option(
    "--password-file",
    metavar="FILE",
    help="File with the password, or - for standard input [asked for].",
)
name_argument = click.argument("name")
source_option = click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    help="The user sees and manages only this source (repeatable), not users, tokens and the audit log.",
)
role_option = click.option(
    "--role",
    type=click.Choice([each.value for each in Role]),
    required=True,
    help="viewer reads; manager also changes.",
)


@click.group()
def user() -> None:
    """Manage the users of the web page."""


@user.command()
@name_argument
@role_option
@source_option
@password_option
@click.option("--no-password", is_flag=True, help="The user signs in only by a proxy ([web] trusted_header).")
@json_option
@pass_session
def add(
    session: CommandSession,
    *,
    name: str,
    role: str,
    sources: tuple[str, ...],
    password_file: str | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Add a user, and ask for the password."""
    if no_password and password_file is not None:
        raise UsageError("--no-password and --password-file exclude each other.", "Give one of them.")
    config = quiet_configuration(session)
    only = config.known_sources(sources)
    password = None if no_password else read_password(password_file)
    made = with_accounts(config, lambda accounts: accounts.add_user(actor(), name, Role(role), password, only))
    if as_json:
        print_json(_as_json(made))
    say(f"{made.name}: Added as {made.role}.")


@user.command("list")
@json_option
@pass_session
def list_(session: CommandSession, as_json: bool) -> None:
    """List all users."""
    users = with_accounts(quiet_configuration(session), Accounts.users)
    if as_json:
        print_json({"users": [_as_json(each) for each in users]})
        return
    rows = [
        (each.name, each.role, each.sources or "all", bool(each.password_hash), bool(each.totp_secret), each.created_at)
        for each in users
    ]
    titles = ("name", "role", "sources", "password", "second factor", "created")
    print_table(titles, rows, "There is no user yet: cdc user add NAME --role manager")


@user.command()
@name_argument
@password_option
@pass_session
def password(session: CommandSession, name: str, password_file: str | None) -> None:
    """Change a user's password, and end all sessions."""
    config = quiet_configuration(session)
    new = read_password(password_file)
    with_accounts(config, lambda accounts: accounts.change_password(actor(), name, new))
    say(f"{name}: The password is changed, and all sessions have ended.")


@user.command("role")
@name_argument
@role_option
@source_option
@click.option("--all-sources", is_flag=True, help="The user sees and manages all sources.")
@pass_session
def change_role(session: CommandSession, *, name: str, role: str, sources: tuple[str, ...], all_sources: bool) -> None:
    """Change the role of a user, also in open sessions."""
    if sources and all_sources:
        raise UsageError("--source and --all-sources exclude each other.", "Give one of them.")
    config = quiet_configuration(session)
    only = config.known_sources(sources) if sources or all_sources else None
    with_accounts(config, lambda accounts: accounts.change_role(actor(), name, Role(role), only))
    say(f"{name}: Now {role}.")


@user.command()
@name_argument
@yes_option
@pass_session
def remove(session: CommandSession, name: str, yes: bool) -> None:
    """Remove a user and end all sessions of the user."""
    config = quiet_configuration(session)

    async def found(accounts: Accounts) -> tuple[User, list[User], int]:
        return await accounts.user(name), await accounts.users(), await accounts.open_sessions(name)

    confirm_loss(lambda: user_removal(*with_accounts(config, found)), yes=yes)
    with_accounts(config, lambda accounts: accounts.remove_user(actor(), name))
    say(f"{name}: Removed.")


@user.command()
@name_argument
@click.option("--off", is_flag=True, help="Turn two-factor sign-in off.")
@yes_option
@json_option
@pass_session
def totp(session: CommandSession, *, name: str, off: bool, yes: bool, as_json: bool) -> None:
    """Turn two-factor sign-in on, and print the app's key.

    The key is shown only once.  All sessions of the user end.
    """
    config = quiet_configuration(session)
    present = with_accounts(config, lambda accounts: accounts.user(name))
    if present.totp_secret:
        confirm_loss(lambda: totp_removal(present), yes=yes)
    if off:
        with_accounts(config, lambda accounts: accounts.switch_totp_off(actor(), name))
        say(f"{name}: Two-factor sign-in is off.")
        return
    secret = codes.new_secret(secrets.token_bytes)
    with_accounts(config, lambda accounts: accounts.switch_totp_on(actor(), name, secret))
    shown = {"secret": secret, "uri": codes.uri(secret, name)}
    if as_json:
        print_json(shown)
        return
    print_fields(shown.items())
    if sys.stdout.isatty():
        codes.qr_code(secret, name).terminal(compact=True)
    say("Scan the code with the app, or type the secret into it; neither is shown again.")


def read_password(file: str | None) -> str:
    """Read a password from a file or standard input (its first line), else ask for it twice; never an argument, which
    other users see.  Raises `UsageError`."""
    if file is None:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if file == _STANDARD_INPUT:
        return sys.stdin.readline().rstrip("\r\n")
    return read_password_file(Path(file))


def _as_json(each: User) -> dict[str, Any]:
    return {
        "name": each.name,
        "role": each.role,
        "sources": list(each.sources),
        "password": bool(each.password_hash),
        "totp": bool(each.totp_secret),
        "created_at": time_as_json(each.created_at),
    }
