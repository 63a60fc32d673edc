"""Headers of an endpoint's own, as ``endpoint`` commands take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from cdc.cli.secret_input import PLACES, is_place, secret_from
from cdc.dispatch.own_headers import basic, bearer, check_headers
from cdc.model.endpoint import Header
from cdc.model.errors import UsageError

AUTHORIZATION = "authorization"


def header_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--header``, ``--bearer`` and ``--basic``."""
    options = [
        click.option(
            "--header", "header_texts", multiple=True, metavar="'NAME: VALUE'",
            help=f"Send this header too (repeatable); a secret VALUE is better {PLACES}.",
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
