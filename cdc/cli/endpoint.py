"""``endpoint …``: the URLs that receive events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from cdc.admin.admin import Admin
from cdc.cli.admin import admin_of, with_admin
from cdc.cli.app import CommandGroup, CommandSession, pass_session, translate
from cdc.cli.endpoint_fields import (
    Counts,
    agreement,
    changed_headers,
    endpoint_fields,
    endpoint_json,
    endpoint_options,
    parse_authentication,
    parse_fields,
    parse_headers,
    read_secret,
    revealed,
    say_revealed,
    secret_json,
    secret_option,
    signature_option,
    unchanged_headers,
    validate_option,
)
from cdc.cli.endpoint_preview import LAST, TRIED, check_expressions, preview
from cdc.cli.environment import opened, opened_outbox, quiet_configuration, run_async
from cdc.cli.output import (
    Styled,
    coloured,
    confirm_loss,
    counted,
    echo,
    fitting,
    json_option,
    minute,
    print_fields,
    print_json,
    print_table,
    question,
    say,
    yes_option,
)
from cdc.config import Config
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, EndpointFilter, EndpointState, Header, is_mail, is_pull, shown_url
from cdc.model.errors import UsageError
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.runtime import outboxes

id_argument = click.argument("endpoint_id", metavar="ID")

#: Endpoints that are read at once.
_TOGETHER = 1000


@click.group(cls=CommandGroup)
def endpoint() -> None:
    """Add, change and test the URLs that receive events."""


endpoint.add_command(preview)


@endpoint.command()
@click.argument("url")
@click.option(
    "--events", required=True, metavar="PATTERN,…", help="Events to send: invoice.paid,receipt.*, or '*' for all."
)
@signature_option("v1")
@secret_option
@validate_option
@endpoint_options
@json_option
@pass_session
def add(
    session: CommandSession,
    /,
    *,
    signature: str | None,
    secret: str | None,
    validate: bool | None,
    header_texts: Sequence[str],
    bearer: str | None,
    basic: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Add an endpoint, and print its id and signing secret.

    The secret is shown only once; with --signature v1a it is a public key.  New events that match are sent there from
    now on.  URL is https://…, mailto:ADDRESS,… with a mail server under [mail], pull:NAME for a program that fetches
    its events (cdc consume NAME, or the API), or a place in a message broker: redis://HOST/DATABASE/STREAM (rediss://
    with TLS), nats://HOST/SUBJECT (tls://), amqp://HOST/VHOST/EXCHANGE/KEY (amqps://; the vhost / is %2F),
    kafka://HOST/TOPIC (kafkas://).  In STREAM, SUBJECT, EXCHANGE, KEY and TOPIC, {source}, {event} and {entity}
    (invoice) are replaced by those of each event.

    Secrets for the receiver come from @FILE, env:NAME (an environment variable) or - (standard input; a prompt on a
    terminal).
    """
    config = quiet_configuration(session)
    authentication = parse_authentication(given)
    fields = parse_fields(**given) | (authentication("") if authentication else {})
    if headers := parse_headers(header_texts, bearer, basic):
        fields["headers"] = headers
    made = run_async(_add(config, fields, read_secret(secret), signature, validate=bool(validate)))
    if as_json:
        print_json(endpoint_json(made) | secret_json(made))
        return
    signed = not is_mail(made.url) and not is_pull(made.url)
    print_fields([("id", made.id), *([revealed(made)] if signed else [])])
    say(fitting(f"Added: {', '.join(made.events)} to {shown_url(made)}.", "  ", err=True))
    if signed:
        say_revealed(made)


async def _add(
    config: Config, fields: dict[str, Any], secret: str | None, signature: str | None, *, validate: bool
) -> Endpoint:
    made = admin_of(config, outboxes.open_outbox(config)).endpoints.new(fields, secret, signature)
    if made.condition or made.transform:
        check_expressions(config, made, await _last_events(config))
    if validate:
        made = replace(made, **await _agreed(config, made, fields))
    async with opened_outbox(config, create=True) as store:
        return await admin_of(config, store).endpoints.add(made)


async def _last_events(config: Config) -> list[StoredEvent]:
    """Return the last events; empty before the first endpoint, whose addition creates the outbox."""
    store = outboxes.open_outbox(config)
    if not await store.exists():
        return []
    async with opened(store):
        return await store.events(LAST)


@endpoint.command("list")
@click.option("--search", "text", default="", metavar="TEXT", help="Only with this text in id, name or URL.")
@click.option(
    "--state",
    type=click.Choice([each.value for each in EndpointState]),
    help="Only in this state; dead: those with dead letters.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), help="At most so many [all].")
@click.option(
    "--after",
    type=click.IntRange(0, 2**62),
    default=0,
    metavar="PLACE",
    help="Next page: the place that the former one names.",
)
@json_option
@pass_session
def list_(
    session: CommandSession, text: str, state: str | None, limit: int | None, after: int, *, as_json: bool
) -> None:
    """List endpoints, oldest first, and count their deliveries."""
    which = EndpointFilter(text, EndpointState(state) if state else None)
    page, counts = with_admin(quiet_configuration(session), lambda admin: _page(admin, which, limit, after))
    endpoints = page.found
    if as_json:
        found = [endpoint_json(each, counts.get(each.id, {})) for each in endpoints]
        print_json({"endpoints": found, "next": page.further})
        return
    columns: dict[str, list[object]] = {
        "id": [each.id for each in endpoints],
        "url": [shown_url(each).removeprefix("https://") for each in endpoints],
        "events": [each.events for each in endpoints],
        "sources": [each.sources for each in endpoints],
        "state": [_state(each) for each in endpoints],
        "waiting": [waiting_and_logged(counts.get(each.id, {}))[0] for each in endpoints],
        "dead": [counts.get(each.id, {}).get(DeliveryState.DEAD, 0) for each in endpoints],
        "name": [each.description for each in endpoints],
    }
    shown = {title: cells for title, cells in columns.items() if title not in ("sources", "name") or any(cells)}
    nothing = "There is no endpoint yet: cdc endpoint add URL --events invoice.paid"
    nothing = "No endpoint fits." if text or state or after else nothing
    cut = [title for title in ("url", "events", "sources", "state", "name") if title in shown]
    print_table(list(shown), zip(*shown.values(), strict=True), nothing, cut=cut)
    if page.further is not None:
        say(f"There are more: --after {page.further} shows them.")


async def _page(
    admin: Admin, which: EndpointFilter, limit: int | None, after: int
) -> tuple[SearchPage[Endpoint], dict[str, Counts]]:
    """Search until the page is full; ``limit``: None for all endpoints."""
    page, found = await admin.endpoints.search(which, limit or _TOGETHER, after), []
    while True:
        found += page.found
        left = _TOGETHER if limit is None else limit - len(found)
        if page.further is None or not left:
            break
        page = await admin.endpoints.search(which, left, int(page.further))
    ids = [each.id for each in found]
    return SearchPage(found, page.further), await admin.endpoints.counts(endpoint_ids=ids)


@endpoint.command()
@id_argument
@json_option
@pass_session
def show(session: CommandSession, endpoint_id: str, as_json: bool) -> None:
    """Show one endpoint and all its settings."""
    found, counts = _one(quiet_configuration(session), endpoint_id)
    if as_json:
        print_json(endpoint_json(found, counts))
        return
    print_fields(endpoint_fields(found, counts))


def _one(config: Config, endpoint_id: str) -> tuple[Endpoint, Counts]:
    async def one(admin: Admin) -> tuple[Endpoint, Counts]:
        found = await admin.endpoints.get(endpoint_id)
        return found, (await admin.endpoints.counts(endpoint_ids=[endpoint_id])).get(endpoint_id, {})

    return with_admin(config, one)


@endpoint.command()
@id_argument
@click.option("--url", help="New URL, also for waiting deliveries.")
@click.option("--events", metavar="PATTERN,…", help="New events, in place of the present ones.")
@click.option("--all-sources", is_flag=True, help="Send events of all sources.")
@click.option(
    "--remove-header", "removed", multiple=True, metavar="NAME", help="Stop sending this header (repeatable)."
)
@click.option("--no-headers", is_flag=True, help="Remove all headers except those given now.")
@click.option("--no-transform", is_flag=True, help="Send the event itself again.")
@click.option(
    "--no-authentication", is_flag=True, help="Send neither an access token nor a JWT, and forget the secret."
)
@validate_option
@endpoint_options
@yes_option
@json_option
@pass_session
def update(
    session: CommandSession,
    /,
    *,
    endpoint_id: str,
    all_sources: bool,
    validate: bool | None,
    header_texts: Sequence[str],
    bearer: str | None,
    basic: str | None,
    removed: Sequence[str],
    no_headers: bool,
    no_transform: bool,
    no_authentication: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Change the given settings of an endpoint.

    An empty text removes a filter, fields, a proxy or a certificate.  A validated endpoint is asked again when its URL
    changes, unless --no-validate is given.  When scheme, host or port of the URL change, give headers, client secret
    or key of the JWT, proxy and certificate again, or remove them; those of the token URL: the client secret.  On a
    terminal you are asked before headers are deleted.
    """
    config = quiet_configuration(session)
    authentication = parse_authentication(given, none=no_authentication)
    fields = parse_fields(**given)
    fields |= _removed(fields, all_sources=all_sources, no_transform=no_transform)
    headers = parse_headers(header_texts, bearer, basic)
    about_headers = bool(headers or removed or no_headers)
    if not fields and not about_headers and not authentication and validate is None:
        raise UsageError("There is nothing to change.", "See: cdc endpoint update --help")

    lost = {"none": no_headers, "authentication": no_authentication}
    confirm_loss(lambda: _lost_headers(config, endpoint_id, headers, removed, **lost), yes=yes)

    async def change(admin: Admin) -> Endpoint:
        found = await admin.endpoints.get(endpoint_id)
        if authentication:
            fields.update(authentication(found.authentication))
        if about_headers:
            fields["headers"] = changed_headers(found.headers, headers, removed, none=no_headers)
            fields["kept_headers"] = unchanged_headers(fields["headers"], headers)
        wanted = admin.endpoints.changed(found, fields)
        if not fields.keys().isdisjoint(TRIED):
            check_expressions(config, wanted, await admin.events.last(LAST))
        agreed: Mapping[str, Any] = {"origin": ""} if validate is False else {}
        if validate or (validate is None and found.origin and "url" in fields):
            agreed = await _agreed(config, wanted, fields)
        return await admin.endpoints.change(found, fields, agreed)

    _print_changed(with_admin(config, change), as_json, "Changed.")


def _removed(fields: Mapping[str, Any], *, all_sources: bool, no_transform: bool) -> dict[str, Any]:
    """Return the fields of the options that remove something.  Raises `UsageError`."""
    if all_sources and "sources" in fields:
        raise UsageError("--all-sources and --source exclude each other.", "Give one of them.")
    if no_transform and "transform" in fields:
        raise UsageError("--no-transform excludes --transform and --preset.", "Give one of them.")
    return ({"sources": ()} if all_sources else {}) | ({"transform": ""} if no_transform else {})


def _lost_headers(
    config: Config,
    endpoint_id: str,
    given: Sequence[Header],
    removed: Sequence[str],
    *,
    none: bool,
    authentication: bool,
) -> str:
    """The question about headers, and the secret of authentication, of an endpoint that nothing given replaces."""
    found, counts = _one(config, endpoint_id)
    stay = {name.lower() for name, _ in changed_headers(found.headers, given, removed, none=none)}
    names = [name for name, _ in found.headers if name.lower() not in stay]
    return header_removal(found, counts, names, authentication=authentication)


async def _agreed(config: Config, wanted: Endpoint, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that change as the endpoint agrees to get events.  Its rate becomes what it allows, unless one is
    given or it is lower already."""
    agreed = await agreement(config, wanted)
    if agreed.rate is None or "rate" in fields or 0 < wanted.rate <= agreed.rate / 60:
        return {"origin": agreed.origin}
    return {"origin": agreed.origin, "rate": agreed.rate / 60}


@endpoint.command()
@id_argument
@json_option
@pass_session
def enable(session: CommandSession, endpoint_id: str, as_json: bool) -> None:
    """Enable an endpoint, and send its waiting events."""
    enabled = with_admin(quiet_configuration(session), lambda admin: admin.endpoints.enable(endpoint_id))
    _print_changed(enabled, as_json, "Enabled.")


@endpoint.command()
@id_argument
@click.option("--reason", default="Disabled by hand.", show_default=True, help="Reason, shown with the endpoint.")
@json_option
@pass_session
def disable(session: CommandSession, endpoint_id: str, reason: str, as_json: bool) -> None:
    """Disable an endpoint: its events wait for enable."""
    disabled = with_admin(quiet_configuration(session), lambda admin: admin.endpoints.disable(endpoint_id, reason))
    _print_changed(disabled, as_json, "Disabled: its events wait.")


@endpoint.command()
@id_argument
@json_option
@pass_session
def retry(session: CommandSession, endpoint_id: str, as_json: bool) -> None:
    """Send deliveries that wait for their next attempt now.

    For an endpoint that is repaired.  Their attempts still count.  Finished ones: cdc replay --endpoint ID.
    """
    number = with_admin(quiet_configuration(session), lambda admin: admin.deliveries.hurry(endpoint_id))
    if as_json:
        print_json({"deliveries": number})
    say(f"{endpoint_id}: {counted(number, 'delivery', 'deliveries')} queued; `cdc run` sends them.")


@endpoint.command()
@id_argument
@yes_option
@pass_session
def remove(session: CommandSession, endpoint_id: str, yes: bool) -> None:
    """Remove an endpoint and cancel its waiting deliveries.

    On a terminal you are asked, with the number of deliveries.  The delivery log stays.
    """
    config = quiet_configuration(session)
    confirm_loss(lambda: endpoint_removal(*_one(config, endpoint_id)), yes=yes)
    with_admin(config, lambda admin: admin.endpoints.remove(endpoint_id))
    say(f"{endpoint_id}: Removed.")


@endpoint.command("rotate-secret")
@id_argument
@signature_option("as now")
@secret_option
@click.option(
    "--overlap", type=click.FloatRange(0, 24 * 365), default=24.0, metavar="HOURS", show_default=True,
    help="How long the former secret also signs.",
)  # fmt: skip
@yes_option
@json_option
@pass_session
def rotate_secret(
    session: CommandSession,
    *,
    endpoint_id: str,
    signature: str | None,
    secret: str | None,
    overlap: float,
    yes: bool,
    as_json: bool,
) -> None:
    """Replace an endpoint's secret, and print the new one.

    Requests carry the signatures of both secrets until the overlap ends: change the receiver within that time.  With
    --signature v1a, or for an endpoint that has it, it makes a key pair and prints the public key.
    """
    config, chosen, both = quiet_configuration(session), read_secret(secret), timedelta(hours=overlap)
    confirm_loss(lambda: secret_rotation(*_one(config, endpoint_id), both), yes=yes)
    rotated = with_admin(config, lambda admin: admin.endpoints.rotate_secret(endpoint_id, chosen, signature, both))
    if as_json:
        print_json(endpoint_json(rotated) | secret_json(rotated))
        return
    print_fields([("id", rotated.id), revealed(rotated), ("former until", rotated.former_secret_until)])
    say_revealed(rotated)


@endpoint.command()
@id_argument
@click.option(
    "--event",
    "name",
    default="endpoint.test",
    metavar="NAME",
    show_default=True,
    help="Send an example of this event; endpoint.test is a greeting.",
)
@json_option
@pass_session
def test(session: CommandSession, endpoint_id: str, name: str, as_json: bool) -> int:
    """Send one test event now, and report the answer.

    The event is marked as a test: header X-Webhook-Test, "test": true in the body. Ends with 1 when it was not
    accepted; the delivery log keeps it as cancelled, and nothing is tried again.
    """
    attempt = with_admin(quiet_configuration(session), lambda admin: admin.endpoints.send_test(endpoint_id, name))
    if as_json:
        from cdc.api.resource import AttemptResource  # noqa: PLC0415 - of JSON alone

        print_json(AttemptResource.from_attempt(attempt).model_dump(mode="json"))
    else:
        result = f"answered {attempt.status}" if attempt.status is not None else "did not answer"
        echo(f"{attempt.url} {result} after {attempt.duration * 1000:.0f} ms.")
        if attempt.error:
            say(attempt.error)
    return 1 if attempt.error else 0


def _print_changed(changed: Endpoint, as_json: bool, done: str) -> None:
    if as_json:
        print_json(endpoint_json(changed))
    say(f"{changed.id}: {done}")
    if changed.managed:
        say(f"The file {changed.managed_by} describes it: cdc apply makes it equal to that file again.")


def _state(each: Endpoint) -> Styled:
    if not each.enabled:
        return coloured("disabled", f": {translate(each.disabled_reason)}" if each.disabled_reason else None)
    return coloured("failing" if each.failing_since else "enabled")


def endpoint_removal(endpoint: Endpoint, counts: dict[DeliveryState, int]) -> str:
    waiting, logged = waiting_and_logged(counts)
    return question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}:",
        f"{_waiting(waiting)} will be cancelled; {logged:,} finished stay in the log.",
        f"Its {'secret and headers' if endpoint.headers else 'secret'} will be deleted.",
        "Remove it?",
    )


def secret_rotation(endpoint: Endpoint, counts: dict[DeliveryState, int], overlap: timedelta) -> str:
    waiting, _ = waiting_and_logged(counts)
    until = (
        f"also signs for {overlap.total_seconds() / 3600:g} h, then no longer" if overlap else "stops signing at once"
    )
    former = endpoint.former_secret_until
    return question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}, with {_waiting(waiting)}:",
        f"Its present secret {until}.",
        *([f"The secret before it, valid until {minute(former)}, stops signing at once."] if former else []),
        "Replace it?",
    )


def header_removal(
    endpoint: Endpoint, counts: dict[DeliveryState, int], names: Sequence[str], *, authentication: bool = False
) -> str:
    """``names``: those of the headers whose values nobody can read again.  ``authentication``: its secret goes too.
    Empty where nothing is lost."""
    lost = [f"the {'header' if len(names) == 1 else 'headers'} {', '.join(names)}"] if names else []
    lost += ["the secret of its authentication"] if authentication and endpoint.credential else []
    if not lost:
        return ""
    (waiting, _), text = waiting_and_logged(counts), " and ".join(lost)
    return question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}, with {_waiting(waiting)}:",
        f"{text[:1].upper()}{text[1:]} will be deleted with the stored values.",
        "Continue?",
    )


def waiting_and_logged(counts: dict[DeliveryState, int]) -> tuple[int, int]:
    """Return the deliveries that are not finished, and the finished ones."""
    waiting = sum(number for state, number in counts.items() if not state.final)
    return waiting, sum(counts.values()) - waiting


def _waiting(number: int) -> str:
    return counted(number, "waiting delivery", "waiting deliveries")
