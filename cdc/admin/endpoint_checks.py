"""Validates endpoints against the configuration, and shows the effect of their settings before events come.

That is a test delivery, of an example of an event or a greeting, and previews of stored events.
"""

from __future__ import annotations

import os
import secrets
import socket
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache, partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from cdc.config import Config
from cdc.config.rules import catalogues, event_types, label
from cdc.config.sending import reach, sending
from cdc.dispatch.address import EgressPolicy, check_spelling, check_url
from cdc.dispatch.authentication import check_authentication, check_header_names, check_headers
from cdc.dispatch.broker.base import credentials
from cdc.dispatch.message import LANGUAGES
from cdc.dispatch.request import build_request, narrowed
from cdc.dispatch.transform import Body, Shape, TransformFailed, check_transform, shaped
from cdc.extras import check_client
from cdc.model.audit import Note
from cdc.model.broker import SCHEMES, broker_of, scheme_of
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt, LeasedDelivery
from cdc.model.endpoint import NEVER_SENT, Endpoint, Header, check, check_rate, is_mail, is_pull, shown_url
from cdc.model.errors import UsageError, about
from cdc.model.event import TESTS, Event, Labels, event_payload, matches
from cdc.model.filter.values import FilterLimit
from cdc.model.operation import OPERATION_TYPES
from cdc.model.selection import Condition, ConditionTest, Judgement
from cdc.outbox.base import DispatchStore, StoredEvent
from cdc.outbox.shared import Subscriber, no_endpoint, restored

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


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
    from cdc.mapping.catalogue import RETIRED

    known = catalogues(config)
    names = list(dict.fromkeys(name for rules in known for name in rules.event_names()))
    names += [kind.name for kind in OPERATION_TYPES]
    for pattern in patterns:
        possible = any(rules.patterns.may_name(pattern) for rules in known)
        if not possible and not matches_any(pattern, names):
            if pattern in RETIRED:
                raise UsageError(f"There is no event {pattern} any more.", RETIRED[pattern])
            near = near_events(pattern, names, {each.table: each.name for rules in known for each in rules.entities})
            hint = f"Did you mean {', '.join(near)}?" if near else "cdc event kinds shows all."
            raise UsageError(f"No event is called {pattern}.", hint)
    return patterns


def check_fields(config: Config, endpoint: Endpoint, new: Collection[str]) -> None:
    """Raise `UsageError` for one of these fields, the new ones, that does not hold by itself.  Others are let be: where
    the configuration has changed since, what is wrong must be repairable one by one."""
    if "url" in new:
        with about("url"):
            check_url(endpoint.url, reach(config))
            check_spelling(endpoint.url)
            _check_client(endpoint)
    if "condition" in new and endpoint.condition:
        with about("condition"):
            Condition(endpoint.condition)
    if "transform" in new and endpoint.transform:
        with about("transform"):
            check_transform(endpoint.transform)
    if "language" in new and endpoint.language not in LANGUAGES:
        message = f"There are no messages in the language {endpoint.language!r}."
        raise UsageError(message, f"{' or '.join(LANGUAGES)}", field="language")
    columns = endpoint.fields if "fields" in new else ()
    if len(columns) > MOST_FIELDS or not all(each.strip() and each.isprintable() for each in columns):
        hint = f"Write up to {MOST_FIELDS} of them: --fields total,codcliente"
        raise UsageError("The columns to send are not column names.", hint, field="fields")
    if "headers" in new:
        with about("headers"):
            check_headers(endpoint.headers)
            check_header_names(endpoint)
            if broker_of(endpoint.url) is not None:
                credentials(next((value for name, value in endpoint.headers if name.lower() == "authorization"), ""))
    if "authentication" in new or "credential" in new:
        with about("authentication"):
            check_authentication(endpoint, reach(config))
    if "rate" in new:
        with about("rate"):
            check_rate(endpoint.rate)
    if "disable_after" in new and not (isfinite(endpoint.disable_after) and endpoint.disable_after >= 0):
        message = f"{endpoint.disable_after:g} s is not a valid time to disable an endpoint after."
        raise UsageError(message, "0 means never.", field="disable_after")
    _check_configured(config, endpoint, new)


def check_together(endpoint: Endpoint) -> None:
    """Raise `UsageError` for fields that do not go together."""
    scheme = scheme_of(endpoint.url)
    if endpoint.client_certificate and not (scheme == "https" or (scheme in SCHEMES and SCHEMES[scheme].tls)):
        hint = "Give the endpoint an https URL, or no certificate."
        raise UsageError("A client certificate needs https.", hint, field="client_certificate")
    if endpoint.proxy and scheme in SCHEMES:
        raise UsageError("A proxy carries https only.", "Give the endpoint an https URL, or no proxy.", field="proxy")
    if endpoint.authentication and scheme not in ("http", "https", "pull"):
        raise UsageError(
            "OAuth2 and JWT are for endpoints of https.", "Leave the authentication out.", field="authentication"
        )
    check(endpoint)


def _check_client(endpoint: Endpoint) -> None:
    """Raise `UsageError` where the client of the endpoint's broker is not installed."""
    broker = broker_of(endpoint.url)
    if broker is not None:
        check_client(broker)


def _check_configured(config: Config, endpoint: Endpoint, names: Collection[str]) -> None:
    """Raise `UsageError` for a proxy or client certificate, of these fields, that the configuration does not have."""
    dispatch = config.dispatch
    if "proxy" in names:
        _check_named("proxy", endpoint.proxy, "proxies", dispatch.proxies)
    if "client_certificate" in names:
        certificate = endpoint.client_certificate
        _check_named("client certificate", certificate, "client_certificates", dispatch.client_certificates)


def _check_named(kind: str, name: str, option: str, known: Mapping[str, object]) -> None:
    if name and name not in known:
        there_are = f"There are: {', '.join(known)}." if known else f"Write it into {option} under [dispatch]."
        raise UsageError(f"The configuration has no {kind} {name!r}.", there_are, field=kind.replace(" ", "_"))


@lru_cache(maxsize=4096)  # each overview checks hundreds again; an error is not remembered
def _check_stored_url(url: str, policy: EgressPolicy) -> None:
    check_url(url, policy)


def sending_problem(config: Config, endpoint: Endpoint) -> UsageError | None:
    """Return the reason why no delivery to a stored endpoint can be sent in this configuration."""
    policy = reach(config)
    try:
        _check_stored_url(endpoint.url, policy)
        _check_client(endpoint)
        _check_configured(config, endpoint, ("proxy", "client_certificate"))
        check_authentication(endpoint, policy)
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


#: The event that is sent when no other is chosen: no record's.
GREETING: Final = "endpoint.test"


async def send_test(
    config: Config,
    store: DispatchStore,
    endpoint_id: str,
    event_name: str,
    note: Note = (),
    *,
    example: Mapping[str, Any] | None = None,
) -> Attempt:
    """Send one event to this endpoint now, also one that its patterns leave out, and return the attempt.

    ``example``: a payload of this event; None for the greeting.  A test that fails is cancelled.  Of one that is
    interrupted the lease expires: `cdc run` sends it then.  Raises `UsageError` when there is no such endpoint, or it
    is disabled: nothing is sent to it then.  For a consumer it waits, as other events do, until it is fetched.
    """
    from cdc.dispatch.dispatcher import LEASE_MARGIN
    from cdc.dispatch.outcome_writer import Finished, disablings
    from cdc.dispatch.sender import attempt_once, waiting

    clock = SystemClock()
    worker = f"{socket.gethostname()}-test-{os.getpid()}"
    endpoint = await store.endpoint(endpoint_id)
    if endpoint is None:
        raise no_endpoint(endpoint_id)
    now = clock.now()
    until = now + timedelta(seconds=endpoint.timeout + LEASE_MARGIN)
    delivery = await store.send_test(
        endpoint_id, _test_event(event_name, now, example or {}), worker, now, until, note=note
    )
    if is_pull(endpoint.url):
        await store.give_back(worker, [delivery], now)
        return waiting(delivery, endpoint, now).attempt
    async with sending(config) as sender:
        outcome = await attempt_once(sender, delivery, endpoint, clock, partial(label, config))
    ended = clock.now()
    announcements = await disablings(store, [Finished(outcome, endpoint_id)], ended)
    await store.finish(worker, [outcome], ended, announcements)
    return outcome.attempt


async def try_out(config: Config, endpoint: Endpoint, event_name: str, example: Mapping[str, Any] | None) -> Attempt:
    """Send one test event to an endpoint that is not stored, or not as it is here, and return the attempt, of which
    nothing is stored."""
    from cdc.dispatch.sender import attempt_once

    clock = SystemClock()
    delivery = _leased(endpoint, _test_event(event_name, clock.now(), example or {}), clock.now())
    async with sending(config) as sender:
        return (await attempt_once(sender, delivery, endpoint, clock, partial(label, config))).attempt


def _leased(endpoint: Endpoint, event: Event, now: datetime) -> LeasedDelivery:
    parts = event.id, event.name, event.record, 1, now, event_payload(event), event.source
    return LeasedDelivery(f"dlv_{secrets.token_hex(8)}", endpoint.id, *parts)


class Sample(NamedTuple):
    """The message that an endpoint would get of an event, a stored one or an ``example``.  ``body``: None where its
    transform makes nothing of it, for the reason ``failure``."""

    event: StoredEvent
    example: bool
    body: bytes | None = None
    failure: str = ""


def sample(config: Config, endpoint: Endpoint, stored: StoredEvent | None, now: datetime) -> Sample | None:
    """Return what the endpoint would get of this event; None: of an example of the first event that it names.  None
    where it names no event that has an example.  Raises `UsageError` for a transform that is none, or exceeds a
    limit."""
    with about("transform"):
        check_transform(endpoint.transform or "0")
        names = Subscriber(0, endpoint.events).names
        kinds = (_stored(kind) for kind in event_types(config) if names(kind.name, kind.example["source"]))
        event = stored or next(kinds, None)
        if event is None:
            return None
        try:
            request = build_request(_leased(endpoint, restored(event), now), endpoint, now, partial(label, config))
        except TransformFailed as failed:
            if failed.exceeded:
                raise FilterLimit(failed.reason, _MAKE_LESS) from None
            return Sample(event, stored is None, failure=failed.reason)
    return Sample(event, stored is None, request.body)


def _test_event(name: str, now: datetime, example: Mapping[str, Any]) -> Event:
    token = secrets.token_hex(16)
    greeting = {"test": token, "message": "A test of this endpoint: no record was changed."}
    return Event(
        id=f"evt_{token}",
        name=name,
        source=TESTS,
        table=TESTS,
        record=f"{TESTS}:{token}",
        key=example.get("key", {"test": token}),
        data=example.get("data", greeting),
        previous=example.get("previous"),
        time=now,
        transaction=token,
        inferred=example.get("inferred", False),
        related=example.get("related"),
    )


_MAKE_LESS: Final = "Make less of each event: docs/delivery.md, Limits of filters."


class PreviewShape(NamedTuple):
    """The options of an endpoint that shape its payload, as in `cdc.model.endpoint.Endpoint`."""

    transform: str
    language: str = LANGUAGES[0]
    fields: tuple[str, ...] = ()


class Previewed(NamedTuple):
    """``named``: the event is one of those that the endpoint names; then ``judgement`` is that of its condition.
    ``body``: what its transform makes of one that is delivered; ``failure``: why it makes nothing."""

    event: StoredEvent
    named: bool
    judgement: Judgement = Judgement(holds=False)
    body: Body | None = None
    failure: str = ""

    @property
    def delivered(self) -> bool:
        return self.named and self.judgement.holds


def preview(subscriber: Subscriber, events: Iterable[StoredEvent]) -> list[Previewed]:
    """Return which stored events would be delivered; expunged ones cannot be judged and are left out.

    Raises `UsageError` for an invalid condition, or one that exceeds a limit with one of the events."""
    condition = ConditionTest(subscriber.condition) if subscriber.condition else None
    return [_previewed(subscriber, condition, stored) for stored in events if not stored.expunged]


def with_bodies(previewed: Iterable[Previewed], wanted: PreviewShape, labels: Labels) -> list[Previewed]:
    """Add the bodies of those that would be delivered.  Raises `UsageError` for a transform that is none, or exceeds a
    limit."""
    check_transform(wanted.transform)
    return [_with_body(each, wanted, labels) if each.delivered else each for each in previewed]


def _with_body(each: Previewed, wanted: PreviewShape, labels: Labels) -> Previewed:
    event, shape = narrowed(dict(each.event.payload), wanted.fields), Shape(wanted.transform, wanted.language)
    try:
        return each._replace(body=shaped(event, each.event.record, shape, labels))
    except TransformFailed as failed:
        if failed.exceeded:
            raise FilterLimit(failed.reason, _MAKE_LESS) from None
        return each._replace(failure=failed.reason)


def tried(config: Config, endpoint: Endpoint) -> list[Judgement]:
    """Evaluate the endpoint's condition on the example of each event that it names."""
    if not endpoint.condition:
        return []
    condition, names = ConditionTest(endpoint.condition), Subscriber(0, endpoint.events).names
    kinds = [kind for kind in event_types(config) if names(kind.name, kind.example["source"])]
    return [condition.judge(restored(_stored(kind))) for kind in kinds]


def tried_bodies(config: Config, endpoint: Endpoint) -> list[Previewed]:
    """Apply the endpoint's transform to the example of each event that it names.  Raises `UsageError`."""
    names = Subscriber(0, endpoint.events).names
    kinds = [kind for kind in event_types(config) if names(kind.name, kind.example["source"])]
    examples = [Previewed(_stored(kind), True, Judgement(holds=True)) for kind in kinds]
    wanted = PreviewShape(endpoint.transform, endpoint.language, endpoint.fields)
    return with_bodies(examples, wanted, partial(label, config))


def _stored(kind: EventType) -> StoredEvent:
    example = kind.example
    record = ":".join([kind.table, *map(str, example["key"].values())])
    time = datetime.fromisoformat(example["timestamp"])
    return StoredEvent(0, example["id"], kind.name, example["source"], record, time, example)


def _previewed(subscriber: Subscriber, condition: ConditionTest | None, stored: StoredEvent) -> Previewed:
    if not subscriber.names(stored.name, stored.source):
        return Previewed(stored, named=False)
    return Previewed(stored, True, condition.judge(restored(stored)) if condition else Judgement(holds=True))
