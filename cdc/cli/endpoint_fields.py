"""An endpoint's options, read and shown: of its secrets only that they are there, a new one once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_origin

import click

from cdc.admin.endpoint_checks import basic, bearer
from cdc.cli.output import PLACES, is_place, read_text_file, say, secret_from, state_word
from cdc.config import Config, sending
from cdc.dispatch.authentication import LONGEST, SHORTEST, check_headers, public_jwk
from cdc.dispatch.message import LANGUAGES
from cdc.dispatch.retry import SCHEDULES, schedule
from cdc.dispatch.signing import Signature, public_key, signature_of
from cdc.dispatch.transform import PRESETS, preset
from cdc.model.broker import scheme_of
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import (
    JWT,
    OAUTH2,
    OPTIONS,
    Endpoint,
    EndpointOption,
    Header,
    authentication_of,
    is_pull,
    settings_text,
    shown_url,
)
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern

if TYPE_CHECKING:
    from cdc.dispatch.sender import Agreement


AUTHORIZATION = "authorization"


def header_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--header``, ``--bearer`` and ``--basic``."""
    options = [
        click.option(
            "--header", "header_texts", multiple=True, metavar="'NAME: VALUE'",
            help=f"Add this header (repeatable); give a secret VALUE as {PLACES}.",
        ),
        click.option("--bearer", metavar=PLACES, help="Send this token as Authorization: Bearer …"),
        click.option("--basic", metavar=PLACES, help="Send this user:password as Authorization: Basic …"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def parse_headers(header_texts: Sequence[str], bearer_from: str | None, basic_from: str | None) -> tuple[Header, ...]:
    """The headers given, with their values.  Raises `UsageError`."""
    given = [_parsed(text) for text in header_texts]
    if bearer_from is not None:
        given.append(bearer(secret_from(bearer_from, "the token for --bearer")))
    if basic_from is not None:
        given.append(basic(secret_from(basic_from, "user:password for --basic")))
    if sum(name.lower() == AUTHORIZATION for name, _ in given) > 1:
        raise UsageError(
            "An endpoint has one Authorization header.",
            "Give one of --bearer, --basic and --header 'Authorization: …'.",
        )
    return check_headers(given)


def _parsed(text: str) -> Header:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon:
        raise UsageError("A header was given without a colon.", "Write --header 'X-Tenant: 42'.")
    return name, secret_from(value, f"the header {name}") if is_place(value) else value


def changed_headers(
    present: Iterable[Header], given: Iterable[Header], removed: Iterable[str], *, none: bool
) -> tuple[Header, ...]:
    """``present`` with ``given`` on top and without ``removed``; ``none``: without all that are present."""
    kept = () if none else tuple(present)
    there = {name.lower() for name, _ in kept}
    gone = {name.lower() for name in removed}
    if unknown := gone - there:
        raise UsageError(f"The endpoint has no header {min(unknown)}.", "cdc endpoint show names those that it has.")
    return check_headers([*(header for header in kept if header[0].lower() not in gone), *given])


def unchanged_headers(changed: Iterable[Header], given: Iterable[Header]) -> tuple[str, ...]:
    """The names of those of the changed headers that were not given now."""
    entered = {name.lower() for name, _ in given}
    return tuple(name for name, _ in changed if name.lower() not in entered)


def authentication_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of OAuth2 and JWT to a command."""
    options = [
        click.option("--oauth2", metavar="TOKEN_URL", help="Send an access token of OAuth2 (client credentials)."),
        click.option("--client-id", metavar="ID", help="OAuth2: the client."),
        click.option("--client-secret", metavar=PLACES, help="OAuth2: its secret."),
        click.option(
            "--client-authentication", type=click.Choice(["basic", "body"]),
            help="OAuth2: send client id and secret in this part of the request [basic].",
        ),
        click.option("--scope", help="OAuth2: the scope to ask for."),
        click.option(
            "--token-parameter", "parameters", multiple=True, metavar="NAME=VALUE",
            help="OAuth2: another parameter of the request for a token (repeatable).",
        ),
        click.option("--jwt-key", metavar=PLACES, help="Send a JWT signed with this private key (PEM)."),
        click.option("--key-id", metavar="KID", help="JWT: the kid of the key [its thumbprint]."),
        click.option("--issuer", metavar="ISS", help="JWT: who signs it."),
        click.option("--audience", metavar="AUD", help="JWT: its audience; OAuth2: a parameter of the request."),
        click.option("--lifetime", type=click.IntRange(SHORTEST, LONGEST), metavar="SECONDS", help="JWT: [60]."),
        click.option("--jwt-header", "header", metavar="NAME", help="JWT: send it in this header [Authorization]."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


_AUTHENTICATION: Final = (
    "oauth2", "client_id", "client_secret", "client_authentication", "scope", "parameters", "jwt_key", "key_id",
    "issuer", "audience", "lifetime", "header",
)  # fmt: skip


def parse_authentication(given: dict[str, Any], *, none: bool = False) -> Callable[[str], dict[str, str]] | None:
    """Take the options of authentication out of those given, and read the secret.  Return what makes fields of the
    present settings, on top of which they are where the type stays; None without any option.  Raises `UsageError`."""
    taken = {name: given.pop(name, None) for name in _AUTHENTICATION}
    options = {name: value for name, value in taken.items() if value not in (None, ())}
    if none and options:
        raise UsageError("--no-authentication excludes the options of OAuth2 and JWT.", "Give one of them.")
    if none:
        return lambda _: {"authentication": ""}
    if not options:
        return None
    secret, key, url = (options.pop(name, None) for name in ("client_secret", "jwt_key", "oauth2"))
    if key is not None and (url is not None or secret is not None):
        raise UsageError("OAuth2 and JWT exclude each other.", "Give the options of one of them.")
    credential: dict[str, str] = {}
    if secret is not None:
        credential = {"credential": secret_from(secret, "the client secret")}
    if key is not None:
        credential = {"credential": secret_from(key, "the private key of the JWT")}
    options |= {} if url is None else {"token_url": url}
    options |= {"parameters": dict(map(_parameter, options["parameters"]))} if "parameters" in options else {}
    chosen = JWT if key is not None else OAUTH2 if url is not None else ""

    def fields(present: str) -> dict[str, str]:
        before = authentication_of(present)
        kind = chosen or (before.type if before else OAUTH2)
        kept = before.settings() if before is not None and before.type == kind else {}
        return {"authentication": settings_text({**kept, **options, "type": kind}), **credential}

    return fields


def _parameter(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise UsageError("A token parameter was given without =.", "Write --token-parameter resource=VALUE.")
    return name, value


_MOST_RETRIES = 50
_LONGEST_DELAY = 30 * 86_400.0  # seconds
_HOUR = 3600.0


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def transform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--transform``, ``--preset`` and ``--language``."""
    options = [
        click.option(
            "--transform", "transform_file", type=click.Path(path_type=Path), metavar="FILE",
            help="Make the body with the CEL expression in this file: a map or list becomes JSON, a text stays text.",
        ),
        click.option(
            "--preset", type=click.Choice(PRESETS), help="Use the transform for this chat: a message for each event."
        ),
        click.option("--language", type=click.Choice(LANGUAGES), help="Language of a transform's message [en]."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_transform(file: Path | None, chosen: str | None) -> str | None:
    """The expression given; None without any.  Raises `UsageError`."""
    if file is not None and chosen is not None:
        raise UsageError("--transform and --preset exclude each other.", "Give one of them.")
    if chosen is not None:
        return preset(chosen)
    return (
        None
        if file is None
        else read_text_file(file, "the transform", "It holds a CEL expression: docs/delivery.md, Transforms.")
    )


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that ``endpoint add`` and ``endpoint update`` share, by the names of fields; None when not given.
    An empty text takes away what was there."""
    for field, each in reversed(list(OPTIONS.items())):
        if field in _TOGETHER:
            command = _TOGETHER[field](command)
            continue
        metavar = f"{'|'.join(SCHEDULES)}|none|SECONDS,…" if field == "retry_schedule" else each.metavar
        kind: Any = str if get_origin(each.type) is tuple else each.type
        if issubclass(kind, StrEnum):
            kind = click.Choice([value.value for value in kind])
        elif kind is int and field != "batch_size":  # `check` says what batches are
            kind = click.IntRange(int(each.limits["ge"]), int(each.limits["le"]))
        flag = f"--{(each.flag or each.name).replace('_', '-')}"
        about: dict[str, Any] = {"type": kind, "multiple": each.repeatable, "metavar": metavar}
        command = click.option(flag, field, help=each.help, **about)(command)
        if each.former:
            command = click.option(f"--{each.former}", f"former_{field}", hidden=True, **about)(command)
    return command


#: Options that are more than one of the command line.
_TOGETHER: Final[Mapping[str, Decorator]] = {
    "transform": transform_options,
    "language": lambda command: command,
    "headers": header_options,
    "authentication": authentication_options,
}


def parse_fields(
    *, events: str | None = None, transform_file: Path | None = None, preset: str | None = None, **given: Any
) -> dict[str, Any]:
    """Return fields of `Endpoint` for what was given, but for headers.  Raises `UsageError`."""
    for name, renamed in OPTIONS.items():
        former = given.pop(f"former_{name}", None)
        if former is not None:
            say(f"--{renamed.former} is called --{renamed.name} now; the next version does not know it any more.")
            given[name] = former if given.get(name) is None else given[name]
    fields = {"events": None if events is None else parse_events(events), **given}
    fields["transform"] = read_transform(transform_file, preset)
    for name, value in given.items():
        each = OPTIONS.get(name)
        if each is None or value is None:
            continue
        if name == "retry_schedule":
            fields[name] = parse_retries(value)
        elif each.repeatable:
            fields[name] = tuple(value) or None
        elif get_origin(each.type) is tuple:
            fields[name] = tuple(dict.fromkeys(_pieces(value)))
        else:
            fields[name] = each.type(value * _HOUR if each.hours else value)
    return {name: value for name, value in fields.items() if value is not None}


def parse_events(text: str) -> tuple[str, ...]:
    """``invoice.paid, receipt.*`` → both patterns, each once."""
    patterns = [check_pattern(part) for part in _pieces(text)]
    if not patterns:
        raise UsageError("No event is named.", "Write --events invoice.paid,receipt.* or --events '*' for all.")
    return tuple(dict.fromkeys(patterns))


def _pieces(text: str) -> Iterator[str]:
    return (part for part in (piece.strip() for piece in text.split(",")) if part)


def parse_retries(text: str) -> tuple[float, ...]:
    """A preset's name, ``none``, or seconds to wait before each retry."""
    if text == "none":
        return ()
    if not any(character.isdigit() for character in text):
        return schedule(text)
    try:
        delays = tuple(float(part) for part in text.split(","))
    except ValueError:
        delays = (-1.0,)
    if len(delays) > _MOST_RETRIES or not all(0 <= delay <= _LONGEST_DELAY for delay in delays):
        raise UsageError(
            f"{text!r} is not a retry schedule.",
            f"Write {', '.join(SCHEDULES)}, none, or up to {_MOST_RETRIES} delays of at most 30 days in seconds: 5,60.",
        )
    return delays


def retries_text(delays: Sequence[float]) -> str:
    """The seconds, after the preset's name if they are one; ``--retries`` takes either."""
    seconds = ",".join(f"{delay:g}" for delay in delays) or "none"
    names = [name for name, preset in SCHEDULES.items() if preset == tuple(delays)]
    return f"{names[0]}: {seconds}" if names else seconds


Counts = dict[DeliveryState, int]


def _plain(value: Any, each: EndpointOption) -> object:
    """Return a value as shown to people; an empty list of sources or columns means all."""
    if get_origin(each.type) is tuple:
        return value or "all"
    return value if isinstance(value, bool | int | float) or each.name == "name" else value or "none"


def endpoint_fields(found: Endpoint, counts: Counts) -> list[tuple[str, object]]:
    """Return the fields as shown to people."""
    options: dict[str, list[tuple[str, object]]] = {
        name: [(each.name.replace("_", " "), _plain(getattr(found, name), each))] for name, each in OPTIONS.items()
    }
    batches = f"up to {found.batch_size} within {found.batch_wait:g} s" if found.batched else "none"
    options |= {
        "transform": [("transform", found.transform), ("language", found.language)] if found.transform else [],
        "language": [],
        "timeout": [("timeout", f"{found.timeout:g} s")],
        "retry_schedule": [("retries", retries_text(found.retry_schedule))],
        "rate": [("rate", f"{found.rate:g} a second" if found.rate else "no limit")],
        "batch_size": [("batches", batches)],
        "batch_wait": [],
        "headers": [("headers", [name for name, _ in found.headers] or "none")],
        "authentication": authentication_fields(found),
        "disable_after": [
            ("disabled after", f"{found.disable_after / _HOUR:g} h without success" if found.disable_after else "never")
        ],
    }
    return [
        ("id", found.id),
        ("url", shown_url(found)),
        ("events", found.events),
        ("enabled", found.enabled),
        *([("disabled because", found.disabled_reason)] if not found.enabled else []),
        *([("failing since", found.failing_since)] if found.failing_since else []),
        *([("filter failed", found.filter_problem)] if found.filter_problem else []),
        *(row for rows in options.values() for row in rows),
        *([("managed by", found.managed_by)] if found.managed else []),
        ("created", found.created_at),
        *signature_fields(found),
        ("deliveries", [f"{number} {state_word(state)}" for state, number in counts.items() if number] or "none"),
    ]


def authentication_fields(found: Endpoint) -> list[tuple[str, object]]:
    """Return the settings as shown to people, and the public key of a JWT; nothing secret."""
    settings = authentication_of(found.authentication)
    if settings is None:
        return []
    given = {name: value for name, value in settings.settings().items() if name != "type"}
    texts = [f"{name} {json.dumps(value) if isinstance(value, dict) else value}" for name, value in given.items()]
    public = public_jwk(found)
    return [
        ("authentication", [settings.type, *texts]),
        *([("public JWK", json.dumps(public))] if public else []),
    ]


def endpoint_json(found: Endpoint, counts: Counts | None = None) -> dict[str, Any]:
    """Return the endpoint as the HTTP API shows it, for programs."""
    from cdc.access.model import Scope  # noqa: PLC0415 - a list for people needs neither it nor the API
    from cdc.api.endpoints import EndpointResource  # noqa: PLC0415 - likewise: a quarter of a second

    left_out = {"deliveries"} if counts is None else None
    return EndpointResource.from_endpoint(found, counts or {}, Scope.MANAGE).model_dump(mode="json", exclude=left_out)


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
