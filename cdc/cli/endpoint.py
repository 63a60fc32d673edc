"""``endpoint …``: the URLs that receive events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.auditing import note
from cdc.cli.endpoint_headers import changed_headers, given_headers, kept_headers
from cdc.cli.endpoint_input import endpoint_options, given_fields
from cdc.cli.endpoint_preview import check_filter, preview
from cdc.cli.endpoint_secret import (
    agreement,
    chosen_secret,
    revealed,
    say_revealed,
    secret_json,
    secret_option,
    signature_option,
    validate_option,
)
from cdc.cli.endpoint_show import Counts, endpoint_fields, endpoint_json
from cdc.cli.log_json import attempt_as_json
from cdc.cli.output import echo, json_option, print_fields, print_json, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.dispatch.signing import Signature, signature_of
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.errors import UsageError
from cdc.model.mail_address import is_mail
from cdc.outbox.shared import no_endpoint
from cdc.runtime import delivery_test as trial
from cdc.runtime import endpoints as service_endpoints

id_argument = click.argument("endpoint_id", metavar="ID")


@click.group()
def endpoint() -> None:
    """The URLs that receive events."""


endpoint.add_command(preview)


@endpoint.command()
@click.argument("url")
@click.option("--events", required=True, metavar="PATTERN,…", help="invoice.paid,receipt.* or '*' for all.")
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
    """Add a URL, and print its id and signing secret or public key.

    The secret is shown this once.  From now on every event that fits is sent there.  A URL is https://…, or
    mailto:ADDRESS,… where a mail server is configured ([mail]).

    @FILE, env:NAME and - say where a secret is that the receiver wants to see: in a file, in the environment, on
    standard input (a prompt on a terminal).
    """
    config = quiet_configuration(session)
    fields = given_fields(config, **given)
    if headers := given_headers(header_texts, bearer, basic):
        fields["headers"] = headers
    chosen = chosen_secret(secret, Signature(signature) if signature else None)
    made = service_endpoints.new_endpoint(fields, chosen, SystemClock().now())
    service_endpoints.check_endpoint(config, made)
    if made.condition:
        check_filter(config, made)
    if validate:
        made = replace(made, **_agreed(config, made, fields))
    run_async(_add(config, made))
    if as_json:
        print_json(endpoint_json(made) | secret_json(made))
        return
    mail = is_mail(made.url)  # which is not signed
    print_fields([("id", made.id), *([] if mail else [revealed(made)])])
    say(f"Added: {', '.join(made.events)} to {made.url}.")
    if not mail:
        say_revealed(made)


async def _add(config: Config, made: Endpoint) -> None:
    async with opened_outbox(config, create=True) as store:
        await store.add_endpoint(made, note("endpoint.add", made.id))


@endpoint.command("list")
@json_option
@pass_session
def list_(session: CommandSession, as_json: bool) -> None:
    """List all endpoints and how their deliveries stand."""
    endpoints, counts = run_async(_all(quiet_configuration(session)))
    if as_json:
        print_json({"endpoints": [endpoint_json(each, counts.get(each.id, {})) for each in endpoints]})
        return
    rows = [_row(each, counts.get(each.id, {})) for each in endpoints]
    titles = ("id", "url", "events", "enabled", "unfinished", "dead", "description")
    print_table(titles, rows, "There is no endpoint yet: cdc endpoint add URL --events invoice.paid")


async def _all(config: Config) -> tuple[list[Endpoint], dict[str, Counts]]:
    async with opened_outbox(config) as store:
        return await store.endpoints(), await store.counts()


@endpoint.command()
@id_argument
@json_option
@pass_session
def show(session: CommandSession, endpoint_id: str, as_json: bool) -> None:
    """Show one endpoint."""
    found, counts = run_async(_one(quiet_configuration(session), endpoint_id))
    if as_json:
        print_json(endpoint_json(found, counts))
        return
    print_fields(endpoint_fields(found, counts))


async def _one(config: Config, endpoint_id: str) -> tuple[Endpoint, Counts]:
    async with opened_outbox(config) as store:
        found = await store.endpoint(endpoint_id)
        if found is None:
            raise no_endpoint(endpoint_id)
        return found, (await store.counts()).get(endpoint_id, {})


@endpoint.command()
@id_argument
@click.option("--url", help="Send there from now on, deliveries that wait included.")
@click.option("--events", metavar="PATTERN,…", help="Replace the events.")
@click.option("--all-sources", is_flag=True, help="Events of every source.")
@click.option(
    "--remove-header", "removed", multiple=True, metavar="NAME", help="Send this header no more (repeatable)."
)
@click.option("--no-headers", is_flag=True, help="Send none of its headers but those given now.")
@validate_option
@endpoint_options
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
    as_json: bool,
    **given: Any,
) -> None:
    """Change what is given, and leave the rest.

    An empty text takes a filter, fields, a proxy or a certificate away.  An endpoint that was validated is asked again
    when its URL changes, unless --no-validate is given.  Headers, proxy and certificate belong to scheme, host and port
    of the URL: when one of these changes, give them again, or remove them.
    """
    config = quiet_configuration(session)
    fields = given_fields(config, **given)
    if all_sources:
        if "sources" in fields:
            raise UsageError("--all-sources and --source exclude each other.", "Give one of them.")
        fields["sources"] = ()
    headers = given_headers(header_texts, bearer, basic)
    if not fields and not headers and not removed and not no_headers and validate is None:
        raise UsageError("Nothing to change is given.", "See: cdc endpoint update --help")
    found, _ = run_async(_one(config, endpoint_id))
    if headers or removed or no_headers:
        fields["headers"] = changed_headers(found.headers, headers, removed, none=no_headers)
        fields["kept_headers"] = kept_headers(fields["headers"], headers)
    wanted = EndpointChange(**fields).applied_to(found)
    service_endpoints.check_endpoint(config, wanted, fields)
    if fields.get("condition"):
        check_filter(config, wanted)
    if validate is False:
        fields["origin"] = ""
    elif validate or (found.origin and "url" in fields):
        fields |= _agreed(config, wanted, fields)
    _change(config, endpoint_id, EndpointChange(**fields), as_json, "Changed.")


def _agreed(config: Config, wanted: Endpoint, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that change as the endpoint agrees to get events.  Its rate becomes what it allows, unless one is
    given or it is lower already."""
    agreed = agreement(config, wanted)
    if agreed.rate is None or "rate" in fields or 0 < wanted.rate <= agreed.rate / 60:
        return {"origin": agreed.origin}
    return {"origin": agreed.origin, "rate": agreed.rate / 60}


@endpoint.command()
@id_argument
@json_option
@pass_session
def enable(session: CommandSession, endpoint_id: str, as_json: bool) -> None:
    """Send again, beginning with what has waited."""
    wanted = EndpointChange(enabled=True, disabled_reason="")
    _change(quiet_configuration(session), endpoint_id, wanted, as_json, "Enabled.")


@endpoint.command()
@id_argument
@click.option("--reason", default="Disabled by hand.", show_default=True, help="For whoever looks later.")
@json_option
@pass_session
def disable(session: CommandSession, endpoint_id: str, reason: str, as_json: bool) -> None:
    """Stop sending; events wait until it is enabled again."""
    wanted = EndpointChange(enabled=False, disabled_reason=reason)
    _change(quiet_configuration(session), endpoint_id, wanted, as_json, "Disabled: its events wait.")


@endpoint.command()
@id_argument
@pass_session
def remove(session: CommandSession, endpoint_id: str) -> None:
    """Remove an endpoint, and cancel what has not been delivered."""
    run_async(_remove(quiet_configuration(session), endpoint_id))
    say(f"{endpoint_id}: Removed.")


async def _remove(config: Config, endpoint_id: str) -> None:
    async with opened_outbox(config) as store:
        await store.remove_endpoint(endpoint_id, SystemClock().now(), note("endpoint.remove", endpoint_id))


@endpoint.command("rotate-secret")
@id_argument
@signature_option("as now")
@secret_option
@click.option(
    "--overlap", type=click.FloatRange(0, 24 * 365), default=24.0, metavar="HOURS", show_default=True,
    help="How long the former secret signs too.",
)  # fmt: skip
@json_option
@pass_session
def rotate_secret(
    session: CommandSession,
    *,
    endpoint_id: str,
    signature: str | None,
    secret: str | None,
    overlap: float,
    as_json: bool,
) -> None:
    """Give an endpoint a new secret or key pair, and print the secret or the public key.

    Requests carry signatures of both until the overlap ends: change the receiver within that time.  Without --secret
    or --signature the kind stays as it is.
    """
    config = quiet_configuration(session)
    present, _ = run_async(_one(config, endpoint_id))
    wanted = Signature(signature) if signature else None
    chosen = chosen_secret(secret, wanted, signature_of(present.secret))
    until = SystemClock().now() + timedelta(hours=overlap)
    rotated = run_async(_changed(config, endpoint_id, EndpointChange(secret=chosen, former_secret_until=until)))
    if as_json:
        print_json(endpoint_json(rotated) | secret_json(rotated))
        return
    print_fields([("id", rotated.id), revealed(rotated), ("former until", rotated.former_secret_until)])
    say_revealed(rotated)


@endpoint.command()
@id_argument
@click.option("--event", "name", default="endpoint.test", metavar="NAME", show_default=True, help="Its event name.")
@json_option
@pass_session
def test(session: CommandSession, endpoint_id: str, name: str, as_json: bool) -> int:
    """Send one test event now, and say what came of it.

    Ends with 1 when it was not accepted; it is not tried again then, but stays in the delivery log as dead.
    """
    config = quiet_configuration(session)
    attempt = run_async(trial.send_test(config, endpoint_id, name, note("endpoint.test", endpoint_id)))
    if as_json:
        print_json(attempt_as_json(attempt))
    else:
        result = f"answered {attempt.status}" if attempt.status is not None else "did not answer"
        echo(f"{attempt.url} {result} after {attempt.duration * 1000:.0f} ms.")
        if attempt.error:
            say(attempt.error)
    return 1 if attempt.error else 0


def _change(config: Config, endpoint_id: str, wanted: EndpointChange, as_json: bool, done: str) -> None:
    changed = run_async(_changed(config, endpoint_id, wanted))
    if as_json:
        print_json(endpoint_json(changed))
    say(f"{endpoint_id}: {done}")


async def _changed(config: Config, endpoint_id: str, wanted: EndpointChange) -> Endpoint:
    async with opened_outbox(config) as store:
        return await store.change_endpoint(endpoint_id, wanted, note(_action(wanted), endpoint_id))


def _action(wanted: EndpointChange) -> str:
    """As the audit log calls it."""
    if wanted.secret is not None:
        return "endpoint.rotate-secret"
    if wanted.enabled is not None:
        return "endpoint.enable" if wanted.enabled else "endpoint.disable"
    return "endpoint.update"


def _row(each: Endpoint, counts: Counts) -> tuple[object, ...]:
    unfinished = sum(number for state, number in counts.items() if not state.final)
    enabled = "yes" if each.enabled else f"no: {each.disabled_reason}"
    dead = counts.get(DeliveryState.DEAD, 0)
    return each.id, each.url, each.events, enabled, unfinished, dead, each.description
