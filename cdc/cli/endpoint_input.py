"""Input of users about an endpoint, turned into its fields, with headers and the secrets that they carry."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from cdc.admin.endpoint_checks import basic, bearer
from cdc.dispatch.authentication import LONGEST, SHORTEST, check_headers
from cdc.dispatch.message import LANGUAGES
from cdc.dispatch.retry import SCHEDULES, schedule
from cdc.dispatch.transform import PRESETS, preset
from cdc.model.endpoint import JWT, OAUTH2, Header, Order, PayloadFormat, authentication_of, settings_text
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern

#: As the help writes them.
PLACES = "@FILE|env:NAME|-"
_HINT = "Write @ and a file, env: and a variable, or - for standard input (a prompt on a terminal)."


def is_place(text: str) -> bool:
    """Return whether the text names the place of a secret, and is none itself."""
    return text == "-" or text.startswith(("@", "env:"))


def secret_from(place: str, what: str) -> str:
    """``what``: for the prompt and for errors.  Raises `UsageError`, which does not repeat what is no place."""
    if place == "-":
        return _asked_for(what)
    if place.startswith("@"):
        return _from_file(Path(place[1:]), what)
    if place.startswith("env:"):
        name = place.removeprefix("env:")
        if not os.environ.get(name):
            raise UsageError(f"The variable {name} for {what} is not set.", _HINT)
        return os.environ[name]
    raise UsageError(f"Do not write {what} on the command line: other users see it.", _HINT)


def _asked_for(what: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(what[:1].upper() + what[1:], hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError(f"Standard input is empty: it should hold {what}.", _HINT)
    return line


def _from_file(path: Path, what: str, hint: str = _HINT) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The file {path} with {what} cannot be read: {reason}.", hint) from error


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


def given_headers(header_texts: Sequence[str], bearer_from: str | None, basic_from: str | None) -> tuple[Header, ...]:
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


def kept_headers(changed: Iterable[Header], given: Iterable[Header]) -> tuple[str, ...]:
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


def given_authentication(given: dict[str, Any], *, none: bool = False) -> Callable[[str], dict[str, str]] | None:
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
        kept = before.given() if before is not None and before.type == kind else {}
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


def given_transform(file: Path | None, chosen: str | None) -> str | None:
    """The expression given; None without any.  Raises `UsageError`."""
    if file is not None and chosen is not None:
        raise UsageError("--transform and --preset exclude each other.", "Give one of them.")
    if chosen is not None:
        return preset(chosen)
    return (
        None
        if file is None
        else _from_file(file, "the transform", "It holds a CEL expression: docs/delivery.md, Transforms.")
    )


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ``endpoint add`` and ``endpoint update`` share; None when not given.  An empty text takes away
    what was there."""
    schedules = "|".join(SCHEDULES)
    options: list[Decorator] = [
        click.option("--description", help="A name you will recognise; not sent."),
        click.option(
            "--source", "sources", multiple=True, metavar="NAME", help="Only events of this source (repeatable) [all]."
        ),
        click.option(
            "--format",
            "payload",
            type=click.Choice([each.value for each in PayloadFormat]),
            help="Payload format [facturascripts].",
        ),
        click.option("--timeout", type=float, metavar="SECONDS", help="Longest time of one attempt [10]."),
        click.option(
            "--retries",
            metavar=f"{schedules}|none|SECONDS,…",
            help="Waits before each retry [facturascripts: 5,25,125,…].",
        ),
        click.option("--concurrency", type=click.IntRange(1, 1000), help="Simultaneous requests at most [16]."),
        click.option(
            "--filter",
            "condition",
            metavar="EXPRESSION",
            help="Only events that match this CEL expression: data.total > 100.0",
        ),
        click.option("--fields", metavar="COLUMN,…", help="Only these columns in data and previous [all]."),
        transform_options,
        click.option(
            "--order",
            type=click.Choice([each.value for each in Order]),
            help="Keep the order of events per record, per endpoint, or not at all [record].",
        ),
        click.option("--rate", type=float, metavar="PER_SECOND", help="Requests per second at most; 0: no limit [0]."),
        click.option("--batch", type=int, metavar="EVENTS", help="Events in one request at most [1]."),
        click.option("--batch-wait", type=float, metavar="SECONDS", help="Longest wait for a full batch [1]."),
        header_options,
        authentication_options,
        click.option("--proxy", metavar="NAME", help="Send through this proxy of the configuration."),
        click.option("--client-certificate", metavar="NAME", help="Use this client certificate of the configuration."),
        click.option(
            "--disable-after",
            type=float,
            metavar="HOURS",
            help="Disable after this time without success; 0: never [120].",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def given_fields(
    *,
    url: str | None = None,
    events: str | None = None,
    description: str | None = None,
    sources: Sequence[str] = (),
    payload: str | None = None,
    retries: str | None = None,
    fields: str | None = None,
    order: str | None = None,
    batch: int | None = None,
    disable_after: float | None = None,
    transform_file: Path | None = None,
    preset: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Fields of `Endpoint` for what was given; ``others``: those that are taken as they come.  Raises `UsageError`.

    Headers are not among them."""
    given = {
        "url": url,
        "events": None if events is None else parse_events(events),
        "description": description,
        "sources": tuple(sources) or None,
        "format": None if payload is None else PayloadFormat(payload),
        "retry_schedule": None if retries is None else parse_retries(retries),
        "fields": None if fields is None else tuple(dict.fromkeys(_pieces(fields))),
        "order": None if order is None else Order(order),
        "batch_size": batch,
        "transform": given_transform(transform_file, preset),
        "disable_after": None if disable_after is None else disable_after * _HOUR,
        **others,
    }
    return {name: value for name, value in given.items() if value is not None}


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
