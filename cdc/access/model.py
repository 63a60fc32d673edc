"""Users, tokens, sessions and entries of the audit log, and the rules that their stores share: when a session has
ended, what a claim is.  Times are aware UTC datetimes, always passed in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cdc.model.errors import NotFound, UsageError

#: Characters of a user's or token's name.
LONGEST_NAME: Final = 64
#: For how long the audit log is stored, unless the configuration says otherwise.
AUDIT_KEPT: Final = timedelta(days=365)
#: For how long a token works, unless its maker says otherwise, and from when before its end on the doctor warns.
TOKEN_LIFETIME: Final = timedelta(days=365)
EXPIRY_WARNING: Final = timedelta(days=14)
#: For how long a request with an idempotency key has its answer.
IDEMPOTENCY_KEPT: Final = timedelta(hours=24)
#: The most such requests of one actor at a time, and the most characters of their answers as they are stored.
MOST_REQUESTS: Final = 2_000
MOST_ANSWERED: Final = 4_000_000
#: A request that has no answer after this long may be made again: who made it died.
REQUEST_LEASE: Final = timedelta(seconds=60)
#: Uses of tokens and sessions are written at most this often.
USE_NOTED: Final = timedelta(minutes=1)
#: What every token begins with.
CDCT: Final = "cdct_"
_NO_CHARACTER: Final = "\ufffd"
_NAME: Final = re.compile(r"[^\W_][\w.@+-]*")
#: What ids and secrets of ours begin with; a name that does is a mistake, and perhaps a secret.
_OURS: Final = ("tok_", CDCT, "whsec_", "whsk_")


class Scope(StrEnum):
    """The rights of a caller: ``READ`` looks, ``MANAGE`` changes (and looks), ``CONSUME`` fetches the events of
    consumers and acknowledges them, and nothing else."""

    READ = "read"
    MANAGE = "manage"
    CONSUME = "consume"

    def allows(self, needed: Scope) -> bool:
        return self is Scope.MANAGE or self is needed


class Allowance(StrEnum):
    """A right of a token of some sources beyond them.  ``MAIL``: have events sent by mail, under the operator's
    address.  ``CREDENTIALS``: change endpoints with headers, a proxy or a client certificate that the operator set, and
    use the proxies and certificates of the configuration."""

    MAIL = "mail"
    CREDENTIALS = "credentials"


class Role(StrEnum):
    """The rights of a user."""

    VIEWER = "viewer"
    MANAGER = "manager"

    @property
    def scope(self) -> Scope:
        return Scope.MANAGE if self is Role.MANAGER else Scope.READ


class Origin(StrEnum):
    """The authority that vouches for the user of a session.  ``PASSWORD``: we do.  ``HEADER``: a proxy, for a user of
    ours.  ``FACTURASCRIPTS``: its table of users, for one of its administrators.  ``OIDC``: an OpenID Connect
    provider.  ``PORTAL``: the host's program, by a link; ``PORTAL_LINK`` is such a link that nobody has opened, and no
    session yet."""

    PASSWORD = "password"  # noqa: S105 - the name of a way to sign in, not a password
    HEADER = "header"
    FACTURASCRIPTS = "facturascripts"
    OIDC = "oidc"
    PORTAL = "portal"
    PORTAL_LINK = "portal-link"


@dataclass(frozen=True, slots=True)
class User:
    """``key``: `user_key` of the name, by which users are distinguished.  ``password_hash``: empty, nobody signs in
    with a password.  ``totp_secret``: base32; empty, no code is asked for.  ``stamp``: random, new with each change of
    password or TOTP; a session with another one has ended.  ``sources``: those that the user sees and manages; empty:
    all, with users, tokens and the audit log."""

    name: str
    role: Role
    created_at: datetime
    stamp: str
    password_hash: str = field(default="", repr=False)
    totp_secret: str = field(default="", repr=False)
    sources: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return user_key(self.name)


@dataclass(frozen=True, slots=True)
class UserChange:
    """New values of some fields of a user; None leaves a field as it is.  A new password or TOTP secret needs a new
    stamp."""

    role: Role | None = None
    password_hash: str | None = field(default=None, repr=False)
    totp_secret: str | None = field(default=None, repr=False)
    stamp: str | None = None
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assert (self.stamp is not None) == (self.password_hash is not None or self.totp_secret is not None)

    def applied_to(self, user: User) -> User:
        return replace(
            user,
            role=user.role if self.role is None else self.role,
            password_hash=user.password_hash if self.password_hash is None else self.password_hash,
            totp_secret=user.totp_secret if self.totp_secret is None else self.totp_secret,
            stamp=user.stamp if self.stamp is None else self.stamp,
            sources=user.sources if self.sources is None else self.sources,
        )


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A stored token, without its secret.  ``last_used_at`` is right to the minute.  ``sources``: those of which it
    sees and manages what there is; empty: of all.  ``allowed``: what it may do beyond them.  ``networks``: from which
    it may be used; empty: from anywhere.  ``last_used_from``: the address of the last noted use."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    sources: tuple[str, ...] = ()
    allowed: tuple[Allowance, ...] = ()
    networks: tuple[str, ...] = ()
    last_used_from: str = ""

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Portal:
    """The rights of a session without a user, of one tenant.  ``sources``: never empty.  ``lifetime``: of the session
    once its link is opened.  ``return_url``: the host's own page, to go back to; empty: none.  ``networks``: from which
    link and session work; empty: from anywhere.  ``made_by``: the principal that made the link, as in the audit log;
    empty: a former version did."""

    sources: tuple[str, ...]
    lifetime: timedelta
    language: str = ""
    return_url: str = field(default="", repr=False)
    allowed: tuple[Allowance, ...] = ()
    networks: tuple[str, ...] = ()
    made_by: str = ""

    def __post_init__(self) -> None:
        assert self.sources, "no sources would be all sources"


#: Before a tenant's name in that of its sessions; no user has such a name.
PORTAL_NAME: Final = "portal:"
#: Before the name of a person for whom an OpenID Connect provider vouches; no user of ours has such a name.
OIDC_NAME: Final = "oidc:"


def actor_of(origin: Origin, name: str) -> str:
    """Return the actor of a session, for the audit log."""
    return name if origin in (Origin.PORTAL, Origin.OIDC) else f"user:{name}"


@dataclass(frozen=True, slots=True)
class PageSession:
    """A session on the pages, until ``expires_at``.  ``digest``: of the cookie's value, or of the end of a portal's
    link.  ``stamp``: the user's at the sign-in; empty for users of FacturaScripts; of OpenID Connect, the groups
    (`oidc.OpenIdConnect.grant`); of a portal, the id of the token that made the link.  ``last_used_at`` is right to the
    minute.  ``sources``: the user's at present, which are not stored with the session, or the portal's.
    ``second_factor``: the user has one of ours at present; not stored."""

    digest: str = field(repr=False)
    user: str
    role: Role
    origin: Origin
    stamp: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    sources: tuple[str, ...] = ()
    portal: Portal | None = None
    second_factor: bool = False

    @property
    def key(self) -> str:
        return user_key(self.user)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of entries; empty fields do not narrow.  ``since``: made then or later; ``until``: before then."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class IdempotentResponse:
    """The response to a request with an idempotency key; the body may hold a secret, and is sealed as one."""

    status: int
    content_type: str
    body: str = field(repr=False)
    location: str | None = None


class ClaimState(StrEnum):
    """``NEW``: make the request, and give its answer.  ``RUNNING``: it is being made.  ``ANSWERED``: it was.
    ``OTHER``: another request was made with this key.  ``FULL``: its actor has made too many with other keys."""

    NEW = "new"
    RUNNING = "running"
    ANSWERED = "answered"
    OTHER = "other"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Claim:
    """``started_at``: of the request that is being made; names it when it is answered.  Of ``FULL``, of the actor's
    first request."""

    state: ClaimState
    started_at: datetime
    answer: IdempotentResponse | None = None


def user_key(name: str) -> str:
    """Return the key by which two names are the same: case, white space around, and the ways to write a character do
    not count."""
    return unicodedata.normalize("NFKC", clean_name(name).casefold())


def clean_name(name: str) -> str:
    """Return a name as it may be stored.  What no store can hold (NUL, halves of characters) is replaced."""
    text = name.replace("\0", _NO_CHARACTER).encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFKC", text).strip()


def check_name(name: str) -> str:
    """Return the name as it is stored.  Raises `UsageError`, which does not repeat the name: it may
    be a secret in the wrong place."""
    cleaned = clean_name(name)
    if len(cleaned) > LONGEST_NAME or not _NAME.fullmatch(cleaned) or cleaned.casefold().startswith(_OURS):
        raise UsageError(
            "This name cannot be used.",
            f"Take up to {LONGEST_NAME} letters, digits and . _ @ + -, a letter or digit first, such as ann or shop-1.",
        )
    return cleaned


def alive(session: PageSession, user: User | None, now: datetime, idle: timedelta) -> PageSession | None:
    """Return the session with its user's present role and sources, unless it has ended.  ``user``: ours of that name,
    if any."""
    if session.expires_at <= now or session.last_used_at + idle <= now:
        return None
    if session.portal is not None:
        return replace(session, sources=session.portal.sources) if session.origin is Origin.PORTAL else None
    if session.origin is Origin.OIDC:
        return session
    if session.origin is Origin.FACTURASCRIPTS:
        return session if user is None else None
    if user is None or user.stamp != session.stamp:
        return None
    return replace(session, role=user.role, sources=user.sources, second_factor=bool(user.totp_secret))


def within(session: PageSession, token: ApiToken | None) -> PageSession:
    """Return a portal's link or session so that it ends with the token that made it, if any."""
    until = None if token is None else token.expires_at
    return session if until is None else replace(session, expires_at=min(session.expires_at, until))


def worth_noting(last_used_at: datetime | None, now: datetime) -> bool:
    """Return whether a use is to be written."""
    return last_used_at is None or last_used_at + USE_NOTED <= now


def has_room(requests: int, answered: int, most: int | None = None) -> bool:
    """Return whether an actor with so many requests, and characters of their answers, may make another one.  ``most``:
    requests; None: `MOST_REQUESTS`."""
    return requests < (MOST_REQUESTS if most is None else most) and answered < MOST_ANSWERED


def claim_of(found: tuple[str, datetime, IdempotentResponse | None] | None, fingerprint: str, now: datetime) -> Claim:
    """``found``: fingerprint, start and answer of the request that was made with the key, if any.  A claim that is
    `ClaimState.NEW` begins now, and takes its place."""
    if found is None or found[1] + IDEMPOTENCY_KEPT <= now:
        return Claim(ClaimState.NEW, now)
    former, started_at, answer = found
    if answer is None and started_at + REQUEST_LEASE <= now:
        return Claim(ClaimState.NEW, now)
    if former != fingerprint:
        return Claim(ClaimState.OTHER, started_at)
    return Claim(ClaimState.RUNNING if answer is None else ClaimState.ANSWERED, started_at, answer)


def user_exists(name: str) -> UsageError:
    return UsageError(f"There is a user {name} already.", "Case does not count; `cdc user list` shows all.")


def token_exists(name: str) -> UsageError:
    return UsageError(f"There is a token {name} already.", "Case does not count; `cdc token list` shows all.")


def no_user(name: str) -> NotFound:
    return NotFound(f"There is no user {_shown(name)}.", "`cdc user list` shows the users.")


def no_token(token: str) -> NotFound:
    return NotFound(f"There is no token {_shown(token)}.", "`cdc token list` shows ids and names of all.")


def _shown(text: str) -> str:
    """Return a name for a message, unless it is a secret in the wrong place or too long to be a name."""
    most = 64
    return "of that name" if text.startswith(CDCT) or len(text) > most else repr(text)
