"""An endpoint as ``endpoint`` commands show it: of its secrets only that they are there, a new one once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cdc.access.model import Scope
from cdc.api.endpoint_resource import EndpointResource
from cdc.cli.endpoint_input import retries_text
from cdc.cli.output import say
from cdc.config import Config, sending
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.signing import Signature, public_key, signature_of
from cdc.model.broker import scheme_of
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, authentication_of, is_pull
from cdc.model.errors import UsageError

if TYPE_CHECKING:
    from cdc.dispatch.handshake import Agreement


Counts = dict[DeliveryState, int]


def endpoint_fields(found: Endpoint, counts: Counts) -> list[tuple[str, object]]:
    """Return the fields as shown to people."""
    return [
        ("id", found.id),
        ("url", found.url),
        ("events", found.events),
        ("sources", found.sources or "all"),
        ("filter", found.condition or "none"),
        *([("filter failed", found.filter_problem)] if found.filter_problem else []),
        ("fields", found.fields or "all"),
        *([("transform", found.transform), ("language", found.language)] if found.transform else []),
        ("enabled", found.enabled),
        *([("disabled because", found.disabled_reason)] if not found.enabled else []),
        *([("failing since", found.failing_since)] if found.failing_since else []),
        ("description", found.description),
        ("format", found.format),
        ("order", found.order),
        ("timeout", f"{found.timeout:g} s"),
        ("retries", retries_text(found.retry_schedule)),
        ("concurrency", found.concurrency),
        ("rate", f"{found.rate:g} a second" if found.rate else "any"),
        ("batches", f"up to {found.batch_size} within {found.batch_wait:g} s" if found.batched else "none"),
        ("headers", [name for name, _ in found.headers] or "none"),
        *authentication_fields(found),
        ("proxy", found.proxy or "none"),
        ("client certificate", found.client_certificate or "none"),
        ("disabled after", f"{found.disable_after / 3600:g} h without success" if found.disable_after else "never"),
        *([("managed by", found.managed_by)] if found.managed else []),
        ("created", found.created_at),
        *signature_fields(found),
        ("deliveries", [f"{number} {state}" for state, number in counts.items() if number] or "none"),
    ]


def authentication_fields(found: Endpoint) -> list[tuple[str, object]]:
    """Return the settings as shown to people, and the public key of a JWT; nothing secret."""
    settings = authentication_of(found.authentication)
    if settings is None:
        return []
    given = {name: value for name, value in settings.given().items() if name != "type"}
    texts = [f"{name} {json.dumps(value) if isinstance(value, dict) else value}" for name, value in given.items()]
    public = public_jwk(found)
    return [
        ("authentication", [settings.type, *texts]),
        *([("public JWK", json.dumps(public))] if public else []),
    ]


def endpoint_json(found: Endpoint, counts: Counts | None = None) -> dict[str, Any]:
    """Return the endpoint as the HTTP API shows it, for programs."""
    left_out = {"deliveries"} if counts is None else None
    return EndpointResource.of(found, counts or {}, Scope.MANAGE).model_dump(mode="json", exclude=left_out)


_STANDARD_INPUT = "-"

secret_option = click.option(
    "--secret",
    metavar="whsec_…|whsk_…",
    help="Secret or private key to use instead of a new one; - reads standard input.",
)
validate_option = click.option(
    "--validate/--no-validate",
    default=None,
    help="Ask the endpoint for its consent first (CloudEvents webhook validation).",
)


def signature_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``default``: for the help; None is what the command gets when nothing is said."""
    return click.option(
        "--signature",
        type=click.Choice([each.value for each in Signature]),
        help=f"v1: HMAC with a secret; v1a: ed25519 with a key pair [{default}].",
    )


def read_secret(secret: str | None) -> str | None:
    """``-`` reads it from standard input (arguments are seen by other users); None has one made."""
    return sys.stdin.readline().strip() if secret == _STANDARD_INPUT else secret


def revealed(endpoint: Endpoint) -> tuple[str, str]:
    """Return the receiver's key, shown once if it is secret: a name and the text.  A private key is never shown."""
    public = public_key(endpoint.secret)
    return ("secret", endpoint.secret) if public is None else ("public key", public)


def say_revealed(endpoint: Endpoint) -> None:
    if signature_of(endpoint.secret) is Signature.V1:
        say("Keep the secret: it is not shown again.")
    else:
        say("The receiver verifies with the public key; cdc endpoint show prints it at any time.")


def signature_fields(endpoint: Endpoint) -> list[tuple[str, object]]:
    """Return the fields as shown to people: nothing secret."""
    if is_pull(endpoint.url):
        return []
    public = public_key(endpoint.secret)
    former = None if endpoint.former_secret is None else public_key(endpoint.former_secret)
    return [
        ("signature", signature_of(endpoint.secret)),
        *([("public key", public)] if public else []),
        *([("former secret until", endpoint.former_secret_until)] if endpoint.former_secret_until else []),
        *([("former public key", former)] if former else []),
        *([("agreed to events from", endpoint.origin)] if endpoint.origin else []),
    ]


def secret_json(endpoint: Endpoint) -> dict[str, str]:
    """Return the JSON that is printed once, when the secret is created."""
    return {"secret": endpoint.secret} if signature_of(endpoint.secret) is Signature.V1 else {}


async def agreement(config: Config, endpoint: Endpoint) -> Agreement:
    """Ask the endpoint.  Raises `EndpointRefused`."""
    if scheme_of(endpoint.url) not in ("http", "https"):
        raise UsageError("Only an endpoint of https can be asked for its consent.", "Leave --validate out.")
    agreed = await sending.agreement(config, endpoint)
    rate = "any rate" if agreed.rate is None else f"up to {agreed.rate} requests a minute"
    say(f"The endpoint agrees to get events from {agreed.origin}, at {rate}.")
    return agreed
