"""Endpoints: URLs or e-mail addresses (``mailto:ops@example.com,other@example.com``) that receive events, or consumers
(``pull:NAME``) that fetch them; limits of their rates; and the authentication of requests at a gateway: an access
token of OAuth2, or a JWT that is signed here.

The settings of an authentication are stored as JSON text, without the secret of it (`Endpoint.credential`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from yarl import URL

from cdc.model.broker import SCHEMES, broker_of, scheme_of, server_urls
from cdc.model.errors import CredentialsNotGiven, UsageError

OAUTH2: Final = "oauth2"
JWT: Final = "jwt"
#: Removes what there is.
NONE: Final = "none"
#: Settings by type, and those that must be there.
SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    OAUTH2: frozenset({"token_url", "client_id", "scope", "audience", "parameters", "client_authentication"}),
    JWT: frozenset({"issuer", "audience", "key_id", "lifetime", "header"}),
}
#: The name of the secret that goes with each.
SECRET_NAMES: Final[Mapping[str, str]] = {OAUTH2: "client_secret", JWT: "private_key"}


@dataclass(frozen=True, slots=True)
class Authentication:
    """``type``: ``oauth2`` or ``jwt``.

    OAuth2 (client credentials, RFC 6749): ``client_authentication``, ``basic`` or ``body``; ``parameters`` are sent
    with the request for a token.  JWT: ``lifetime``, seconds; ``header``, that carries it.
    """

    type: str
    token_url: str = ""
    client_id: str = ""
    scope: str = ""
    audience: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    client_authentication: str = "basic"
    issuer: str = ""
    key_id: str = ""
    lifetime: int = 60
    header: str = "Authorization"

    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, with the type."""
        plain = asdict(Authentication(self.type))
        return {"type": self.type} | {name: value for name, value in asdict(self).items() if value != plain[name]}

    @property
    def text(self) -> str:
        """Return the settings as they are stored."""
        return json.dumps(self.settings(), sort_keys=True)

    @property
    def audience_origin(self) -> tuple[str, str]:
        """Return the type of the secret and the origin that gets it; for a JWT no other one than the endpoint's."""
        try:
            return self.type, str(URL(self.token_url).origin()) if self.token_url else ""
        except ValueError:
            return self.type, self.token_url


class TokenGrant(NamedTuple):
    """The means of getting an access token for an endpoint.  ``settings``: as they are stored."""

    endpoint_id: str
    settings: str
    secret: str


@lru_cache(maxsize=1024)
def authentication_of(text: str) -> Authentication | None:
    """Return the settings of a stored text; None for an empty one."""
    if not text:
        return None
    known = {each.name for each in fields(Authentication)}
    return Authentication(**{name: value for name, value in json.loads(text).items() if name in known})


def settings_text(given: Mapping[str, Any]) -> str:
    """Return the text of these settings, empty for the type ``none``.  Raises `UsageError`."""
    kind = given.get("type", "")
    if kind == NONE and len(given) == 1:
        return ""
    if kind not in SETTINGS:
        raise UsageError("Settings of authentication need a type.", "Choose oauth2, jwt or, alone, none.")
    if others := sorted(given.keys() - SETTINGS[kind] - {"type"}):
        raise UsageError(
            f"Authentication of the type {kind} has no {others[0]}.",
            f"It has {SECRET_NAMES[kind]}, {', '.join(sorted(SETTINGS[kind]))}.",
        )
    return Authentication(**given).text


#: Once in about 17 minutes.  Lower rates are mistakes, and their pauses overflow.
SLOWEST_RATE: Final = 0.001
FASTEST_RATE: Final = 100_000.0


def check_rate(rate: float) -> None:
    """Raise `UsageError` unless the rate is 0 or between the slowest and the fastest."""
    if rate != 0 and not SLOWEST_RATE <= rate <= FASTEST_RATE:  # nan compares with nothing
        raise UsageError(
            f"A rate of {rate:g} a second is not possible.",
            f"Between {SLOWEST_RATE:g} and {FASTEST_RATE:g}; 0 means unlimited.",
        )


def usable_rate(rate: float) -> float:
    """Return a stored rate within the limits: older versions accepted any."""
    return min(max(rate, SLOWEST_RATE), FASTEST_RATE) if rate else 0.0


def host_of(url: str) -> str:
    """Return the canonical host, as the HTTP library resolves it; empty if the URL has none.
    Raises `ValueError`."""
    return URL(url).raw_host or ""


def origin_of(url: str) -> str:
    """Return the origin as text, empty for a URL that cannot be read.  All mail has one: the mail server.  Of several
    servers it is the first one's."""
    if is_mail(url):
        return "mailto:"
    try:
        parsed = URL(server_urls(url)[0])
        port = parsed.port or (SCHEMES[parsed.scheme].port if parsed.scheme in SCHEMES else None)
    except ValueError:
        return ""
    host = parsed.raw_host or ""
    return f"{parsed.scheme}://[{host}]:{port}" if ":" in host else f"{parsed.scheme}://{host}:{port}"


#: Stands for the part of a URL that is a secret at many receivers: path and query.
HIDDEN: Final = "…"
#: A shorter segment or value of a URL is a common word rather than a secret.
_SHORTEST_SECRET: Final = 8


@lru_cache(maxsize=4096)
def public_url(url: str) -> str:
    """Return what everybody may see of a URL: scheme, host and port.  A broker's topic, a mail's addresses and a
    consumer's name are no secrets; a URL that is hidden already stays as it is."""
    if is_mail(url) or is_pull(url):
        return url
    try:
        each = [urlsplit(server) for server in server_urls(url)]
    except ValueError:
        return HIDDEN
    parts = each[0]
    place = f"{parts.scheme}://{','.join(one.netloc.rpartition('@')[2] for one in each)}"
    if not parts.netloc:
        return HIDDEN
    empty = not (parts.path.strip("/") or parts.query or parts.fragment)
    open_path = empty or parts.scheme in SCHEMES or parts.path.startswith(f"/{HIDDEN}")
    return f"{place}{parts.path}" if open_path else f"{place}/{HIDDEN}"


def shown_url(endpoint: Endpoint) -> str:
    """Return the `public_url` of an endpoint, with the end of its id in place of a path: it tells endpoints of one host
    apart, and nothing of their paths."""
    shown = public_url(endpoint.url)
    return f"{shown}{endpoint.id[-4:]}" if shown.endswith(HIDDEN) else shown


def redacted(text: str, url: str) -> str:
    """Return a text that came from the server of a URL without the URL's path, query and their longer parts, which
    servers repeat in their answers ("Cannot POST /…")."""
    for part in _hidden_parts(url) if text else ():
        if part in text:
            text = text.replace(part, HIDDEN)
    return text


@lru_cache(maxsize=4096)
def _hidden_parts(url: str) -> tuple[str, ...]:
    """Return what `public_url` hides, the longest first."""
    if not public_url(url).endswith(HIDDEN):
        return ()
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    small = [parts.query, *re.split("[/&=]", f"{path}&{parts.query}")]
    found = {path, *(each for each in small if len(each) >= _SHORTEST_SECRET)}
    return tuple(sorted((found | {unquote(each) for each in found}) - {""}, key=len, reverse=True))


class PayloadFormat(StrEnum):
    FACTURASCRIPTS = "facturascripts"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


class Order(StrEnum):
    """The order of an endpoint's deliveries.  ``RECORD``: an event for the earlier ones of its record.  ``ENDPOINT``:
    each event for all earlier ones.  ``NONE``: nothing for anything."""

    RECORD = "record"
    ENDPOINT = "endpoint"
    NONE = "none"


#: Name and value of an HTTP header.
Header = tuple[str, str]
#: After so many seconds without one success an endpoint is disabled, unless it says otherwise: five days.
DISABLE_AFTER = 432_000.0
#: The most events in one request.
LARGEST_BATCH = 1000
#: No batch waits longer than this (seconds): its events are leased until then.
LONGEST_BATCH_WAIT = 60.0


#: Kinds of endpoints, by which options concern them: a program that receives webhooks, a chat (its transform writes
#: a message for people), mail, a message broker, a consumer that fetches.
Destination = Literal["program", "chat", "mail", "broker", "fetch"]
_BODIES: Final = ("program", "broker", "fetch")
_SENT: Final = ("program", "chat", "mail", "broker")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndpointOption:
    """A field of an endpoint that people set: how API, files, command line and page name, limit and show it.

    ``name``: in the API and in files; ``former``: its name in released versions, which they take and show too.
    ``limits``: of a number, or of each number of a list, by pydantic's names;
    ``longest``: characters of a text, items of a list.  ``note``: says it in the API.  ``flag``, ``metavar``, ``help``:
    of the command line.  ``repeatable``: the flag takes one value and may be repeated; other lists have commas.
    ``hours``: people write hours.  ``label``, ``hint``: of the form, in English; without a label the form has a place
    of its own for it.  ``choices``: labels of values.  ``only``: the kinds of endpoints that it concerns; empty: all.
    ``group``: the heading in the form that it is under.  ``credential``: entered for the origin of the URL, and sent to
    no other one; it is not compared with a file that does not name it where ``unnamed_stays``.
    """

    name: str = ""
    former: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    longest: int | None = None
    note: str | None = None
    flag: str = ""
    metavar: str | None = None
    help: str = ""
    repeatable: bool = False
    hours: bool = False
    label: str = ""
    hint: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    only: tuple[Destination, ...] = ()
    group: str = ""
    credential: bool = False
    unnamed_stays: bool = False
    type: Any = None
    default: Any = None

    def concerns(self, destination: Destination) -> bool:
        return not self.only or destination in self.only


def option(default: T, name: str = "", *, secret: bool = False, **about: Any) -> T:
    """Return a field with this default.  ``secret``: never in a repr.  ``about``: of `EndpointOption`."""
    about |= {"default": default} | ({"name": name} if name else {})
    return field(default=default, repr=not secret, metadata={"option": about})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that gets events.  An `option` is declared here, once: storage, `EndpointChange`, API, files of
    ``cdc apply``, command line and page follow.

    Which: ``events``, patterns such as ``invoice.*``; ``sources``, names, empty for all; ``condition``, an expression
    on the event (`cdc.model.selection`), empty for none.

    What of them: ``format``, or ``transform``, an expression that makes the body (`cdc.dispatch.transform`), with
    messages in ``language``; ``fields``, columns of ``data`` and ``previous``, empty for all; up to ``batch_size`` in
    one request, for which the first waits at most ``batch_wait`` seconds.

    How: ``secret``: ``whsec_…``, which signs ``v1``, or ``whsk_…``, which signs ``v1a``; never shown after creation.
    ``former_secret`` still signs until ``former_secret_until``.  ``headers`` go with each request, their values are
    secret.  ``origin``: the name that the endpoint agreed to get events from, and that each request carries; empty: it
    was not asked.  ``proxy`` and ``client_certificate``: names in the configuration, empty for none.
    ``authentication``: settings of OAuth2 or of a JWT (`cdc.model.endpoint`), empty for none; ``credential``: the
    client secret or private key that goes with them.  ``credentials_of``: the sources of the token that set headers,
    proxy, certificate or authentication; empty: the operator did.

    When: ``order``; ``concurrency``, requests at once; ``rate``, requests a second, 0 for any; ``timeout``, seconds;
    ``retry_schedule``, seconds to wait before each retry; ``disable_after``, seconds without one success after which
    it is disabled, 0 for never.  ``failing_since``: when the first attempt began that failed with no success since; the
    outbox keeps it.

    ``filter_problem``: why its condition could not be evaluated for an event, which was delivered then; empty: it
    could, since it was last changed.

    ``managed``: ``FILE:NAME`` of the file that describes it (`cdc apply`), and its name there; empty: none does.
    ``added_by``: the principal, as in the audit log; empty: a former version added it.
    """

    id: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: datetime
    enabled: bool = True
    # fmt: off
    sources: tuple[str, ...] = option(
        (), longest=100, note="Empty: all.", flag="source", repeatable=True, metavar="NAME",
        help="Only events of this source (repeatable) [all].",
    )
    description: str = option(
        "", "name", former="description", longest=1000, note="For people; not sent.",
        help="A name you will recognise; not sent.",
    )
    format: PayloadFormat = option(  # noqa: RUF009 - a field
        PayloadFormat.FACTURASCRIPTS, help="Payload format [facturascripts].", label="Format", only=_BODIES,
        group="Content",
    )
    timeout: float = option(
        10.0, limits={"gt": 0, "le": 3600}, note="Seconds.", metavar="SECONDS",
        help="Longest time of one attempt [10].", label="Timeout", hint="Seconds.",
        only=_SENT, group="Retries and failures",
    )
    retry_schedule: tuple[float, ...] = option(
        (5, 25, 125, 625, 3125), "retries", limits={"ge": 0, "le": 2_592_000}, longest=50,
        note="Seconds to wait before each retry; empty: none.",
        help="Waits before each retry [facturascripts: 5,25,125,…].", label="Retries",
        hint="Seconds to wait before each.",
        group="Retries and failures",
    )
    concurrency: int = option(
        16, limits={"ge": 1, "le": 1000}, note="Requests on their way at once.",
        help="Simultaneous requests at most [16].", label="Concurrent requests",
        only=_SENT, group="Order and speed",
    )
    order: Order = option(  # noqa: RUF009 - a field
        Order.RECORD, help="Keep the order of events per record, per endpoint, or not at all [record].",
        label="Order", choices={"record": "by record", "endpoint": "strict", "none": "none"}, group="Order and speed",
    )
    rate: float = option(
        0.0, limits={"ge": 0, "le": 100_000}, note="Requests a second; 0: any.", metavar="PER_SECOND",
        help="Requests per second at most; 0: no limit [0].", label="Requests a second", hint="0: unlimited.",
        only=_SENT, group="Order and speed",
    )
    batch_size: int = option(
        1, "batch", limits={"ge": 1, "le": 1000}, note="Events in one request.", metavar="EVENTS",
        help="Events in one request at most [1].", label="Events in one request", hint="1: no batches.",
        only=("program", "mail"), group="Order and speed",
    )
    batch_wait: float = option(
        1.0, limits={"ge": 0, "le": 60}, note="Seconds.", metavar="SECONDS", help="Longest wait for a full batch [1].",
        label="Longest wait for a batch", hint="Seconds.",
        only=("program", "mail"), group="Order and speed",
    )
    condition: str = option(
        "", "filter", note="A condition in CEL; empty: none.", metavar="EXPRESSION",
        help="Only events that match this CEL expression: data.total > 100.0"
    )
    transform: str = option(
        "", note="A CEL expression that makes the body; empty: none.", only=("program", "chat", "broker")
    )
    language: str = option("en", note="Language of a transform's `message`.", only=("program", "chat", "broker"))
    fields: tuple[str, ...] = option(
        (), longest=500, note="Columns; empty: all.", metavar="COLUMN,…",
        help="Only these columns in data and previous [all].", label="Columns",
        hint="Only these, separated by commas. Empty: all.",
        only=(*_BODIES, "mail"), group="Content",
    )
    headers: tuple[Header, ...] = option(
        (), secret=True, note="Names only.", credential=True, unnamed_stays=True,
        only=("program", "chat", "broker"),
    )
    authentication: str = option("", secret=True, credential=True, only=("program",))
    proxy: str = option(
        "", secret=True, longest=200, note="A name in the configuration.", metavar="NAME",
        help="Send through this proxy of the configuration.", credential=True,
        only=("program", "chat"),
    )
    client_certificate: str = option(
        "", longest=200, note="A name in the configuration.", metavar="NAME",
        help="Use this client certificate of the configuration.", credential=True,
        only=("program", "broker"),
    )
    disable_after: float = option(
        DISABLE_AFTER, limits={"ge": 0, "le": 31_536_000}, note="Seconds without one success; 0: never.", hours=True,
        metavar="HOURS", help="Disable after this time without success; 0: never [120].", label="Disable after",
        hint="Hours without a successful delivery; 0: never.",
        group="Retries and failures",
    )
    # fmt: on
    credential: str = field(default="", repr=False)
    disabled_reason: str = ""
    former_secret: str | None = field(default=None, repr=False)
    former_secret_until: datetime | None = None
    origin: str = ""
    failing_since: datetime | None = None
    credentials_of: tuple[str, ...] = ()
    managed: str = ""
    filter_problem: str = ""
    added_by: str = ""

    @property
    def managed_by(self) -> str:
        """Return the name of the file that describes it; empty: none does."""
        return self.managed.rpartition(":")[0]

    @property
    def batched(self) -> bool:
        """Return whether requests carry arrays of events, of one event too."""
        return self.batch_size > 1

    @property
    def has_credentials(self) -> bool:
        """Return whether requests carry something that only a receiver at this origin may see or use."""
        return any(getattr(self, name) for name in CREDENTIALS)


_TYPES: Final = get_type_hints(Endpoint)
#: The options by the names of their fields, in the order in which they are shown.
OPTIONS: Final[Mapping[str, EndpointOption]] = {
    each.name: EndpointOption(**{"name": each.name, "type": _TYPES[each.name], **each.metadata["option"]})
    for each in fields(Endpoint)
    if "option" in each.metadata
}
#: Fields that are entered for the origin of the URL, and go to no other one.
CREDENTIALS: Final = (*(name for name, each in OPTIONS.items() if each.credential), "credential")
#: Fields that the program alone sets.
_ITS_OWN: Final = frozenset({"id", "created_at", "former_secret", "failing_since", "filter_problem", "added_by"})
#: Fields that an `EndpointChange` may have.
CHANGEABLE: Final = tuple(each.name for each in fields(Endpoint) if each.name not in _ITS_OWN)


class EndpointState(StrEnum):
    """The state of an endpoint in lists.  ``FAILING``: it is enabled, and has accepted nothing since some time.
    ``DEAD``: it has dead letters; the others may hold too."""

    ENABLED = "enabled"
    FAILING = "failing"
    DISABLED = "disabled"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """A filter of endpoints; empty fields do not narrow.  ``text``: part of the id, the name or the URL, in any
    case.  ``source``: it gets events of this one.  ``sources``: it names sources, all of them among these."""

    text: str = ""
    state: EndpointState | None = None
    source: str = ""
    sources: tuple[str, ...] = ()


#: A method of Telegram's Bot API that sends something, at api.telegram.org or a server of one's own.
_BOT: Final = re.compile(r"/bot\d+:[^/]+/send", re.IGNORECASE)
_CHAT_KEY: Final = re.compile(r"[\"']chat_id[\"']")


def check(endpoint: Endpoint) -> None:
    """Raises `UsageError` for fields that do not go together, or are out of bounds."""
    if not 1 <= endpoint.batch_size <= LARGEST_BATCH:
        raise UsageError(
            f"A batch of {endpoint.batch_size} events is not possible.",
            f"It holds 2 to {LARGEST_BATCH}; 1 sends each event by itself.",
            field="batch_size",
        )
    if not 0 <= endpoint.batch_wait <= LONGEST_BATCH_WAIT:
        limits = f"Its first event waits for 0 to {LONGEST_BATCH_WAIT:g} s."
        raise UsageError(f"A batch cannot wait for {endpoint.batch_wait:g} s.", limits, field="batch_wait")
    if endpoint.batched and broker_of(endpoint.url):
        raise UsageError(
            "A message broker gets each event by itself, so there are no batches.",
            "Leave the batch at 1.",
            field="batch_size",
        )
    if endpoint.batched and endpoint.order is Order.ENDPOINT:
        raise UsageError(
            "An endpoint with strict order gets one event at a time, so it cannot get batches.",
            "Choose the order record or none, or a batch of 1.",
            field="batch_size",
        )
    if is_pull(endpoint.url) and (endpoint.batched or endpoint.rate or endpoint.transform or endpoint.has_credentials):
        raise UsageError(
            "A consumer fetches its events: it has no batches, rate, transform, headers, authentication, proxy or "
            "client certificate.",
            "Leave these out.",
        )
    parts = urlsplit(endpoint.url)
    if (
        _BOT.match(parts.path)
        and not _CHAT_KEY.search(endpoint.transform)
        and not dict(parse_qsl(parts.query)).get("chat_id", "").strip()
    ):
        raise UsageError(
            "The URL names no chat of Telegram, so its bot would not know where to write.",
            "Add ?chat_id= with the number of the chat, or with @ and the name of a public channel, to the URL.",
            field="url",
        )
    if endpoint.transform and is_mail(endpoint.url):
        raise UsageError(
            "Mail has its own form, so a transform does not go with it.", "Leave the transform out.", field="transform"
        )
    if endpoint.transform and endpoint.batched:
        raise UsageError(
            "A transform makes the body of one event, so it does not go with batches.",
            "Choose a batch of 1.",
            field="batch_size",
        )
    if endpoint.transform and endpoint.format is not PayloadFormat.FACTURASCRIPTS:
        raise UsageError(
            f"A transform makes the whole body, so it does not go with the format {endpoint.format}.",
            "Choose the format facturascripts.",
            field="format",
        )


class EndpointChange:
    """New values of some fields (`CHANGEABLE`) of an endpoint; None, or no value, leaves a field as it is.

    ``secret``: the present one becomes the former one, until ``former_secret_until``, which goes with it.
    ``enabled``: an endpoint that is enabled counts as failing no longer.
    ``credentials_of``: goes with headers, proxy, certificate and authentication; without: the operator sets them.
    ``authentication``: the credential remains where none is given, unless another origin would get it.

    ``kept_headers``: names of those of the ``headers`` that were not entered now, but taken over from the endpoint.
    ``guard``: raises where the endpoint, as it is when the change is stored, may not be changed.
    """

    __slots__ = ("guard", "kept_headers", "values")

    def __init__(
        self, *, kept_headers: Collection[str] = (), guard: Callable[[Endpoint], None] | None = None, **values: Any
    ) -> None:
        if unknown := values.keys() - set(CHANGEABLE):
            raise TypeError(f"an endpoint's {min(unknown)} is not changed")
        self.values: Mapping[str, Any] = {name: value for name, value in values.items() if value is not None}
        self.kept_headers, self.guard = kept_headers, guard

    def __repr__(self) -> str:
        """Name the fields; values may be secret."""
        return f"EndpointChange({', '.join(self.values)})"

    def applied_to(self, endpoint: Endpoint) -> Endpoint:
        """Return the changed endpoint.  Raises `CredentialsNotGiven`, and what ``guard`` raises."""
        if self.guard is not None:
            self.guard(endpoint)
        self._check_credentials(endpoint)
        new = dict(self.values)
        if "secret" in new:
            new["former_secret"] = endpoint.secret
        if new.get("authentication") == "":
            new["credential"] = ""
        if new.get("enabled"):
            new["failing_since"] = None
        if new.get("condition", endpoint.condition) != endpoint.condition:
            new["filter_problem"] = ""
        if "credentials_of" not in new and not new.keys().isdisjoint(CREDENTIALS):
            new["credentials_of"] = ()
        if is_pull(endpoint.url) is not is_pull(new.get("url", endpoint.url)):
            raise UsageError(
                "A consumer that fetches its events cannot become an endpoint that gets them sent, nor the reverse.",
                "Add another endpoint, and remove this one.",
            )
        if is_pull(endpoint.url):
            new["concurrency"] = NEVER_SENT
        return replace(endpoint, **new)

    def _check_credentials(self, endpoint: Endpoint) -> None:
        """Raise `CredentialsNotGiven` where the change would send what was entered for one receiver to another one:
        who may change the URL may not know or use it."""
        new = self.values
        if new.get("authentication") and "credential" not in new and endpoint.credential:
            present, changed = authentication_of(endpoint.authentication), authentication_of(new["authentication"])
            assert changed is not None, "not empty"
            if present is None or present.audience_origin != changed.audience_origin:
                raise CredentialsNotGiven(
                    "The secret of the endpoint's authentication was entered for another type or token URL.",
                    f"Enter it again: {SECRET_NAMES[changed.type]}.",
                )
        origin = origin_of(new.get("url", endpoint.url))
        if not origin or origin == origin_of(endpoint.url):
            return

        retained = self.kept_headers if "headers" in new else [name for name, _ in endpoint.headers]
        missing = [f"the header {name}" for name in retained]
        if endpoint.proxy and "proxy" not in new:
            missing.append(f"the proxy {endpoint.proxy}")
        if endpoint.client_certificate and "client_certificate" not in new:
            missing.append(f"the client certificate {endpoint.client_certificate}")
        settings = authentication_of(endpoint.authentication)
        if settings is not None and "credential" not in new and new.get("authentication") != "":
            missing.append(f"the {SECRET_NAMES[settings.type]} of {settings.type}")
        if missing:
            raise CredentialsNotGiven(
                f"The new URL has another origin ({origin}): enter again, or remove, {', '.join(missing)}.",
                f"They were entered for {origin_of(endpoint.url) or 'the present URL'}, and are sent nowhere else.",
            )


_MAIL_SCHEME: Final = "mailto:"
PULL_SCHEME: Final = "pull:"
#: The concurrency of a consumer: dispatch, also that of an older version beside this one, leases nothing for it.
NEVER_SENT: Final = 0
_CONSUMER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MOST_RECIPIENTS: Final = 20
_LONGEST_ADDRESS = 254  # characters, as of SMTP
# Neither what a header gives a meaning to (comma, angle brackets, quotes, spaces, line breaks) nor what a URL does.
_MAIL_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$&'*+=^_`{|}~-]+(\.[A-Za-z0-9!#$&'*+=^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_HINT: Final = "Write mailto:ops@example.com or mailto:ops@example.com,other@example.com."


def is_mail(url: str) -> bool:
    return scheme_of(url) == "mailto"


def is_pull(url: str) -> bool:
    """Return whether it is a consumer, which fetches its events."""
    return url.startswith(PULL_SCHEME)


def check_consumer(url: str) -> str:
    """Return the URL of a consumer.  Raises `UsageError` for a name that it cannot have."""
    if not _CONSUMER_NAME.fullmatch(url.removeprefix(PULL_SCHEME)):
        raise UsageError(
            "A consumer cannot have this name.",
            "Write pull:NAME; a name has up to 63 lower-case letters, digits and . _ -, a letter or digit first.",
        )
    return url


def is_address(text: str) -> bool:
    return len(text) <= _LONGEST_ADDRESS and _MAIL_ADDRESS.fullmatch(text) is not None


def recipients(url: str) -> tuple[str, ...]:
    """The addresses of a ``mailto:`` URL.  Raises `UsageError`."""
    addresses = tuple(url[len(_MAIL_SCHEME) :].split(","))
    for address in addresses:
        if not is_address(address):
            raise UsageError(f"{address!r} is not an e-mail address to send to.", _HINT)
    if len(addresses) > MOST_RECIPIENTS:
        raise UsageError(
            f"{len(addresses)} addresses are too many for one endpoint.", f"It has up to {MOST_RECIPIENTS} of them."
        )
    return addresses
