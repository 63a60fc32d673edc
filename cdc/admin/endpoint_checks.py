"""Validate endpoints against the configuration."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from cdc.config import Config
from cdc.config.rules import catalogues
from cdc.config.sending import reach
from cdc.dispatch.address import check_spelling, check_url
from cdc.dispatch.authentication import check_authentication, check_header_names, check_headers
from cdc.dispatch.broker.base import credentials
from cdc.dispatch.message import LANGUAGES
from cdc.dispatch.transform import check_transform
from cdc.extras import check_client
from cdc.mapping.catalogue import RETIRED
from cdc.model.broker import SCHEMES, broker_of, scheme_of
from cdc.model.endpoint import NEVER_SENT, Endpoint, Header, check, check_rate, is_mail, is_pull, shown_url
from cdc.model.errors import UsageError
from cdc.model.event import matches
from cdc.model.operation import OPERATION_TYPES
from cdc.model.selection import Condition


def bearer(token: str) -> Header:
    return "Authorization", f"Bearer {token}"


def basic(account: str) -> Header:
    """``account``: ``user:password``.  Raises `UsageError`, which does not repeat it."""
    if ":" not in account:
        raise UsageError("There is no colon between user and password.", "Basic authentication needs user:password.")
    return "Authorization", f"Basic {b64encode(account.encode()).decode()}"


def moved_credentials(fields: Mapping[str, Any], present: Sequence[Header] = ()) -> dict[str, Any]:
    """Return the fields with user and password in the URL of a broker moved into the header ``Authorization``, whose
    value is stored sealed and never shown; without a colon, they are a token.  ``present``: headers that remain where
    the fields give none."""
    url = str(fields.get("url") or "")
    if scheme_of(url) not in SCHEMES or "@" not in url:
        return dict(fields)
    try:
        parts = urlsplit(url)
    except ValueError:
        return dict(fields)  # refused with the other checks of the URL
    account, found, host = parts.netloc.rpartition("@")
    if not found:
        return dict(fields)
    entered = basic(unquote(account)) if ":" in account else bearer(unquote(account))
    given = fields.get("headers")
    others = [each for each in (present if given is None else given) if each[0].lower() != "authorization"]
    moved = {"url": urlunsplit(parts._replace(netloc=host)), "headers": (*others, entered)}
    return {**fields, **moved} | ({"kept_headers": [name for name, _ in others]} if given is None and others else {})


#: The most requests a second, and the most fields of an endpoint.
MOST_FIELDS = 500
#: Unless a ``mailto:`` endpoint says otherwise.
MAILS_AT_ONCE = 2


def new_endpoint(fields: Mapping[str, Any], secret: str, now: datetime) -> Endpoint:
    """Return an endpoint with an id of its own.  One by mail gets little at once: each mail has a connection of its
    own; a consumer gets nothing sent."""
    chosen = {"concurrency": MAILS_AT_ONCE} | dict(fields) if is_mail(fields["url"]) else dict(fields)
    if is_pull(fields["url"]):
        chosen["concurrency"] = NEVER_SENT
    return Endpoint(id=f"ep_{secrets.token_hex(8)}", secret=secret, created_at=now, **chosen)


def check_patterns(config: Config, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns themselves, or `UsageError` for one that no event of any source, and no operational one, fits."""
    known = catalogues(config)
    names = list(dict.fromkeys(name for rules in known for name in rules.event_names()))
    names += [kind.name for kind in OPERATION_TYPES]
    for pattern in patterns:
        possible = any(rules.patterns.may_name(pattern) for rules in known)
        if not possible and not matches_any(pattern, names):
            if pattern in RETIRED:
                raise UsageError(f"There is no event {pattern} any more.", RETIRED[pattern])
            near = near_events(pattern, names, {each.table: each.name for rules in known for each in rules.entities})
            hint = f"Did you mean {', '.join(near)}?" if near else "cdc event list shows all."
            raise UsageError(f"No event is called {pattern}.", hint)
    return patterns


def check_endpoint(config: Config, endpoint: Endpoint, given: Collection[str] | None = None) -> None:
    """Raises `UsageError` for what does not hold or does not go together.

    ``given``: the fields that are new, None for all.  Others are let be: where the configuration has changed since,
    what is wrong must be mendable one by one.
    """
    for name, check_field in _CHECKS.items():
        if given is None or name in given:
            check_field(config, endpoint)
    scheme = scheme_of(endpoint.url)
    if endpoint.client_certificate and not (scheme == "https" or (scheme in SCHEMES and SCHEMES[scheme].tls)):
        raise UsageError("A client certificate needs https.", "Give the endpoint an https URL, or no certificate.")
    if endpoint.proxy and scheme in SCHEMES:
        raise UsageError("A proxy carries https only.", "Give the endpoint an https URL, or no proxy.")
    if endpoint.authentication and scheme not in ("http", "https", "pull"):
        raise UsageError("OAuth2 and JWT are for endpoints of https.", "Leave the authentication out.")
    check(endpoint)


def _check_url(config: Config, endpoint: Endpoint) -> None:
    check_url(endpoint.url, reach(config))
    check_spelling(endpoint.url)
    _check_client(endpoint)


def _check_client(endpoint: Endpoint) -> None:
    """Raise `UsageError` where the client of the endpoint's broker is not installed."""
    broker = broker_of(endpoint.url)
    if broker is not None:
        check_client(broker)


def _check_condition(_: Config, endpoint: Endpoint) -> None:
    if endpoint.condition:
        Condition(endpoint.condition)


def _check_transform(_: Config, endpoint: Endpoint) -> None:
    if endpoint.transform:
        check_transform(endpoint.transform)


def _check_language(_: Config, endpoint: Endpoint) -> None:
    if endpoint.language not in LANGUAGES:
        raise UsageError(f"There are no messages in the language {endpoint.language!r}.", f"{' or '.join(LANGUAGES)}")


def _check_fields(_: Config, endpoint: Endpoint) -> None:
    if len(endpoint.fields) > MOST_FIELDS or not all(each.strip() and each.isprintable() for each in endpoint.fields):
        raise UsageError(
            "The columns to send are not column names.", f"Write up to {MOST_FIELDS} of them: --fields total,codcliente"
        )


def _check_headers(_: Config, endpoint: Endpoint) -> None:
    check_headers(endpoint.headers)
    check_header_names(endpoint)
    if broker_of(endpoint.url) is not None:
        credentials(next((value for name, value in endpoint.headers if name.lower() == "authorization"), ""))


def _check_authentication(config: Config, endpoint: Endpoint) -> None:
    check_authentication(endpoint, reach(config))


def _check_rate(_: Config, endpoint: Endpoint) -> None:
    check_rate(endpoint.rate)


def _check_disable_after(_: Config, endpoint: Endpoint) -> None:
    if not (isfinite(endpoint.disable_after) and endpoint.disable_after >= 0):
        raise UsageError(
            f"{endpoint.disable_after:g} s is not a valid time to disable an endpoint after.", "0 means never."
        )


def _check_proxy(config: Config, endpoint: Endpoint) -> None:
    _check_named("proxy", endpoint.proxy, "proxies", config.dispatch.proxies)


def _check_client_certificate(config: Config, endpoint: Endpoint) -> None:
    table = config.dispatch.client_certificates
    _check_named("client certificate", endpoint.client_certificate, "client_certificates", table)


def _check_named(kind: str, name: str, option: str, known: Mapping[str, object]) -> None:
    if name and name not in known:
        there_are = f"There are: {', '.join(known)}." if known else f"Write it into {option} under [dispatch]."
        raise UsageError(f"The configuration has no {kind} {name!r}.", there_are)


_CHECKS: dict[str, Callable[[Config, Endpoint], None]] = {
    "url": _check_url,
    "condition": _check_condition,
    "transform": _check_transform,
    "language": _check_language,
    "fields": _check_fields,
    "headers": _check_headers,
    "authentication": _check_authentication,
    "credential": _check_authentication,
    "rate": _check_rate,
    "disable_after": _check_disable_after,
    "proxy": _check_proxy,
    "client_certificate": _check_client_certificate,
}


def sending_problem(config: Config, endpoint: Endpoint) -> UsageError | None:
    """Return the reason why no delivery to a stored endpoint can be sent in this configuration."""
    try:
        check_url(endpoint.url, reach(config))
        _check_client(endpoint)
        for name in ("proxy", "client_certificate", "authentication"):
            _CHECKS[name](config, endpoint)
    except UsageError as error:
        return UsageError(f"{shown_url(endpoint)} cannot get events: {error.message}", error.hint)
    return None


_MOST: Final = 3


def near_events(wanted: str, names: Sequence[str], tables: Mapping[str, str]) -> list[str]:
    """Return names and patterns like ``wanted``, the nearest first.  ``names``: of all events.  ``tables``: table →
    entity; an entity, or the name of its table, alone means all of its events."""
    wanted = wanted.strip().lower()
    entity, dot, what = wanted.rpartition(".")
    if not dot:
        entity, what = wanted, "*"
    entities = {name.rpartition(".")[0] for name in names}
    known = {**tables, **{each: each for each in entities}}
    near = [known[entity]] if entity in known else [known[each] for each in get_close_matches(entity, known)]
    found = [each for owner in near for each in _of_entity(owner, what, names)]
    return list(dict.fromkeys(found or get_close_matches(wanted, names)))[:_MOST]


def _of_entity(entity: str, what: str, names: Sequence[str]) -> list[str]:
    own = [name for name in names if name.rpartition(".")[0] == entity]
    if "*" in what:
        return [f"{entity}.{what}"] if matches_any(f"{entity}.{what}", own) else [f"{entity}.*"]
    return get_close_matches(f"{entity}.{what}", own) or [f"{entity}.*"]


def matches_any(pattern: str, names: Sequence[str]) -> bool:
    return any(matches(name, (pattern,)) for name in names)
