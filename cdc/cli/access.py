"""``user``, ``token``, ``portal-link`` and ``audit``: access to the page and the API, and who changed what."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from cdc.access import credential
from cdc.access.model import TOKEN_LIFETIME, Allowance, ApiToken, AuditFilter, Role, Scope, User
from cdc.admin.accounts import LINK_MINUTES, SESSION_MINUTES, Accounts, NewPortal, PortalLinks
from cdc.admin.audit_log import FORMATS, FileCheck, entry_as_json, exported, verify, verify_export
from cdc.admin.principal import Principal
from cdc.cli.admin import actor, opened_access, with_accounts
from cdc.cli.app import CommandGroup, CommandSession, pass_session, translate
from cdc.cli.delivery import moment
from cdc.cli.environment import quiet_configuration, run_async
from cdc.cli.output import (
    confirm_loss,
    counted,
    echo,
    hidden_answer,
    json_option,
    minute,
    print_fields,
    print_json,
    print_script,
    print_table,
    question,
    say,
    time_as_json,
    yes_option,
)
from cdc.config import Config
from cdc.config.section import read_password as read_password_file
from cdc.dispatch.message import LANGUAGES
from cdc.model.audit import ChainCheck, RecordedEntry
from cdc.model.clock import SystemClock
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


T = TypeVar("T")


@click.group(cls=CommandGroup)
def user() -> None:
    """Manage the users of the web page."""


@user.command("add")
@name_argument
@role_option
@source_option
@password_option
@click.option("--no-password", is_flag=True, help="The user signs in only by a proxy ([web] trusted_header).")
@json_option
@pass_session
def add_user(
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
        print_json(_user_as_json(made))
    say(f"{made.name}: Added as {made.role}.")


@user.command("list")
@json_option
@pass_session
def list_users(session: CommandSession, as_json: bool) -> None:
    """List all users."""
    users = with_accounts(quiet_configuration(session), Accounts.users)
    if as_json:
        print_json({"users": [_user_as_json(each) for each in users]})
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


@user.command("remove")
@name_argument
@yes_option
@pass_session
def remove_user(session: CommandSession, name: str, yes: bool) -> None:
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
    secret = credential.new_totp_secret(secrets.token_bytes)
    with_accounts(config, lambda accounts: accounts.switch_totp_on(actor(), name, secret))
    shown = {"secret": secret, "uri": credential.totp_uri(secret, name)}
    if as_json:
        print_json(shown)
        return
    print_fields([("secret", shown["secret"]), ("uri", shown["uri"])])
    if sys.stdout.isatty():
        credential.qr_code(secret, name).terminal(compact=True)
    say("Scan the code with the app, or type the secret into it; neither is shown again.")


def read_password(file: str | None) -> str:
    """Read a password from a file or standard input (its first line), else ask for it twice; never an argument, which
    other users see.  Raises `UsageError`."""
    if file is None:
        while (password := hidden_answer("Password")) != hidden_answer("Repeat the password"):
            say("The two passwords differ.")
        return password
    if file == _STANDARD_INPUT:
        return sys.stdin.readline().rstrip("\r\n")
    return read_password_file(Path(file))


def _user_as_json(each: User) -> dict[str, Any]:
    return {
        "name": each.name,
        "role": each.role,
        "sources": list(each.sources),
        "password": bool(each.password_hash),
        "totp": bool(each.totp_secret),
        "created_at": time_as_json(each.created_at),
    }


network_option = click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NETWORK",
    help="Only from this address or network (203.0.113.0/24, 2001:db8::/48; repeatable) [anywhere].",
)


@click.group(cls=CommandGroup)
def token() -> None:
    """Manage the tokens for programs that call the API."""


@token.command("add")
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
def add_token(
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
        print_json(_token_as_json(made) | {"token": text})
        return
    print_fields([("id", made.id), ("token", text), ("expires", made.expires_at or "never")])
    say("Keep the token: it is not shown again.  Programs send it in a header:\nAuthorization: Bearer cdct_…")


@token.command("list")
@json_option
@pass_session
def list_tokens(session: CommandSession, as_json: bool) -> None:
    """List all tokens with their last use."""
    tokens = with_accounts(quiet_configuration(session), Accounts.tokens)
    if as_json:
        print_json({"tokens": [_token_as_json(each) for each in tokens]})
        return
    rows = [
        (
            *(t.id, t.name, t.scope.value, t.sources or "all", t.allowed, t.networks or "any address", t.created_at),
            *(t.expires_at or "never", t.last_used_at, t.last_used_from),
        )
        for t in tokens
    ]
    titles = ("id", "name", "scope", "sources", "allowed", "networks", "created", "expires", "last used", "from")
    print_table(titles, rows, "There is no token yet: cdc token add NAME --scope read")


@token.command("remove")
@click.argument("named", metavar="ID|NAME")
@yes_option
@pass_session
def remove_token(session: CommandSession, named: str, yes: bool) -> None:
    """Remove a token, which stops working at once."""
    config = quiet_configuration(session)
    confirm_loss(lambda: token_removal(with_accounts(config, lambda accounts: accounts.token(named))), yes=yes)
    removed = with_accounts(config, lambda accounts: accounts.remove_token(actor(), named))
    say(f"{removed.id} ({removed.name}): Removed.")


def _token_as_json(each: ApiToken) -> dict[str, Any]:
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


@click.group("portal-link", cls=CommandGroup)
def portal_link() -> None:
    """Manage links that open the page for one tenant."""


@portal_link.command("add")
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
def add_link(
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
    wanted = NewPortal(
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


@click.group(cls=CommandGroup)
def audit() -> None:
    """Show, export and check the audit log.

    It holds all changes by people and programs, and all sign-ins.
    """


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", metavar="TIME", help="Only entries before then."),
        click.option("--since", metavar="2h|3d|2026-11-24T21:48Z", help="Only entries since then: a time or an age."),
        click.option("--subject", metavar="SUBJECT", help="Only on this subject (user:ann, token:shop)."),
        click.option("--action", metavar="ACTION", help="Only this action (user.add, endpoint.update)."),
        click.option("--actor", metavar="ACTOR", help="Only by this actor (user:ann, token:shop, cli:root)."),
    ):
        command = option(command)
    return command


def _filter(*, since: str | None, until: str | None, **which: str | None) -> AuditFilter:
    now = SystemClock().now()
    times = {name: moment(text, now) for name, text in (("since", since), ("until", until)) if text is not None}
    return AuditFilter(**which, **times)  # type: ignore[arg-type]  # texts by name, then times by name


@audit.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Next page: only entries older than this one.")
@json_option
@pass_session
def list_(session: CommandSession, /, *, limit: int, before: int | None, as_json: bool, **which: str | None) -> None:
    """List changes and sign-ins, newest first."""
    entries = run_async(_list(quiet_configuration(session), _filter(**which), limit, before))
    if as_json:
        print_json({"entries": [entry_as_json(each) for each in entries]})
        return
    rows = [
        (each.number, each.entry.at, each.entry.actor, each.entry.action, each.entry.subject, each.entry.detail_json())
        for each in entries
    ]
    print_table(("number", "at", "actor", "action", "subject", "detail"), rows, "No entry fits.")


async def _list(config: Config, which: AuditFilter, limit: int, before: int | None) -> list[RecordedEntry]:
    async with opened_access(config) as store:
        return await store.audit(which, limit, before)


@audit.command()
@filter_options
@click.option("--format", "kind", type=click.Choice(list(FORMATS)), default="jsonl", show_default=True)
@pass_session
def export(session: CommandSession, /, *, kind: str, **which: str | None) -> None:
    """Print the audit log, oldest entry first.

    cdc audit verify checks JSON lines; CSV is for a spreadsheet.
    """
    run_async(_export(quiet_configuration(session), _filter(**which), kind))


async def _export(config: Config, which: AuditFilter, kind: str) -> None:
    async with opened_access(config) as store:
        async for text in exported(store, which, kind):
            print_script(text)


@audit.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@pass_session
def verify_(session: CommandSession, file: Path | None) -> int:
    """Check that the audit log is complete and unchanged.

    With FILE, check an export in JSON lines, and that the log still has its last entry.  Exit code 1: the first broken
    entry is named.
    """
    config = quiet_configuration(session)
    if file is not None:
        found = run_async(_verify_file(config, file))
        if not found.broken:
            gaps = "" if found.whole else ", with others left out (a filter)"
            bare = f" {found.without_hash} have no hash." if found.without_hash else ""
            echo(f"{found.entries} entries, {found.first} to {found.last}{gaps}: none was changed.{bare}")
        echo(*[found.broken] * bool(found.broken))
        return 1 if found.broken else 0
    check = run_async(_verify(config))
    if check.broken:
        echo(check.broken)
        return 1
    head = check.chain.head
    echo(f"{translate(described(check))}.{f' The last one is {head.number}, {head.hash}.' if head is not None else ''}")
    if check.without_hash:
        say(without_hash(check))
    return 0


async def _verify(config: Config) -> ChainCheck:
    async with opened_access(config) as store:
        return await verify(store)


async def _verify_file(config: Config, file: Path) -> FileCheck:
    async with opened_access(config) as store:
        try:
            with file.open(encoding="utf-8") as lines:
                return await verify_export(store, lines)
        except UnicodeDecodeError:
            raise UsageError(f"{file} is no export of the audit log.", "It is not UTF-8 text.") from None


def described(check: ChainCheck) -> str:
    """Return a sentence about a log that is whole."""
    key = check.chain.key
    since = "without a key, so that who writes to the outbox can compute new hashes"
    if key is not None:
        since = "with a key" if key.since <= check.first else f"with a key since entry {key.since}"
    return f"{check.entries} entries are chained, {since}"


def without_hash(check: ChainCheck) -> str:
    numbers = check.without_hash
    named = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > len(numbers[:10]) else "")
    return f"No hash: entries {named}. A process of an earlier release wrote them, or somebody else did."


def token_removal(token: ApiToken) -> str:
    used = f"last used {minute(token.last_used_at)}" if token.last_used_at else "never used"
    return question(
        f"Token {token.name} ({token.id}, scope {token.scope}):",
        f"{used[:1].upper()}{used[1:]}.  Programs that use it will be refused at once.",
        "Remove it?",
    )


def user_removal(user: User, users: Sequence[User], sessions: int) -> str:
    managers = sum(each.role is Role.MANAGER for each in users if each.key != user.key)
    secrets = (("password", user.password_hash), ("key of the authenticator app", user.totp_secret))
    lost = [name for name, stored in secrets if stored]
    return question(
        f"User {user.name} ({user.role}):",
        f"{counted(sessions, 'open session')} will end.",
        *([f"The {' and the '.join(lost)} will be deleted."] if lost else []),
        f"{counted(managers, 'manager')} will remain; the audit log keeps what the user did.",
        "Remove the user?",
    )


def totp_removal(user: User) -> str:
    return question(
        f"User {user.name}:", "The authenticator app in use stops working, and all sessions end.", "Continue?"
    )
