"""Checks of an endpoint's additional headers and authentication, and the public key of one that signs JWTs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from cdc.dispatch.address import EgressPolicy, check_spelling, check_url
from cdc.model.endpoint import JWT, OAUTH2, SECRET_NAMES, Authentication, Endpoint, Header, authentication_of
from cdc.model.errors import UsageError

#: The most headers of an endpoint, and the most characters of them all.
_MOST_HEADERS, _LONGEST_HEADERS = 50, 8000

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")
#: What a delivery says itself, and what belongs to the connection.
_TAKEN = frozenset(
    {
        *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"),
        *("connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-authorization", "proxy-connection"),
    }
)
_TAKEN_PREFIXES = ("webhook-", "x-webhook-")


def check_headers(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The headers themselves, each name once: of several the last.  Raises `UsageError`, which names no value."""
    kept = {name.lower(): (name, value) for name, value in map(_checked, headers)}
    if len(kept) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in kept.values()) > _LONGEST_HEADERS:
        most = f"At most {_MOST_HEADERS}, and {_LONGEST_HEADERS} characters in all."
        raise UsageError("The endpoint has too many headers.", most)
    return tuple(kept.values())


def _checked(header: Header) -> Header:
    name, value = header
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a header.", "Write Name: value, such as X-Tenant: 42.")
    if name.lower() in _TAKEN or name.lower().startswith(_TAKEN_PREFIXES):
        raise UsageError(f"The header {name} is set by every delivery itself.", "Choose another name.")
    if not _VALUE.fullmatch(value):
        raise UsageError(
            f"The value of the header {name} is empty, begins or ends with a space, or has a line break or characters "
            "beyond ASCII.",
            "Only printable ASCII goes into a header; encode the rest.",
        )
    return header


#: Seconds that a JWT may be valid for.
SHORTEST, LONGEST = 5, 3600
_LONGEST_TEXT, _MOST_PARAMETERS = 1000, 20
#: Parameters of the request for a token that have a setting of their own, or are given.
_OWN_PARAMETERS: Final = frozenset({"grant_type", "client_id", "client_secret", "scope", "audience"})


def check_authentication(endpoint: Endpoint, reach: EgressPolicy) -> None:
    """Raises `UsageError` for settings that do not hold, naming no secret."""
    settings = authentication_of(endpoint.authentication)
    if settings is None:
        if endpoint.credential:
            raise UsageError("A secret of authentication was given without settings.", "Choose oauth2 or jwt as well.")
        return
    secret_name = SECRET_NAMES[settings.type]
    if not endpoint.credential:
        raise UsageError(
            f"Authentication of the type {settings.type} needs a {secret_name}.", "It is stored, and never shown again."
        )
    for name, value in settings.settings().items():
        texts = [*value, *value.values()] if isinstance(value, dict) else [str(value)]
        if not all(text.isprintable() and len(text) <= _LONGEST_TEXT for text in texts):
            raise UsageError(
                f"The {name} of the authentication is too long or not printable.",
                "Write one line of at most 1000 characters.",
            )
    check_headers([(settings.header, "x")])
    check_header_names(endpoint)
    if settings.type == OAUTH2:
        _check_oauth2(settings, endpoint.credential, reach)
    else:
        from cdc.dispatch.jwt_signing import signing_key  # noqa: PLC0415 - PyJWT is loaded where a JWT is wanted

        signing_key(endpoint.credential)
        if not SHORTEST <= settings.lifetime <= LONGEST:
            raise UsageError(f"A JWT cannot be valid for {settings.lifetime} s.", f"Choose {SHORTEST} to {LONGEST} s.")


def check_header_names(endpoint: Endpoint) -> None:
    """Raise `UsageError` where headers and authentication set the same header."""
    settings = authentication_of(endpoint.authentication)
    if settings is not None and settings.header.lower() in {name.lower() for name, _ in endpoint.headers}:
        raise UsageError(
            f"The endpoint has a header {settings.header} already, which its authentication sets.",
            "Remove the header, or the authentication.",
        )


def _check_oauth2(settings: Authentication, secret: str, reach: EgressPolicy) -> None:
    if not settings.token_url.startswith(("https://", "http://")):
        raise UsageError("OAuth2 needs a token URL.", "Write the https URL that gives access tokens.")
    try:
        check_spelling(check_url(settings.token_url, reach))
    except UsageError as error:
        raise UsageError(f"The token URL cannot be used: {error.message}", error.hint) from None
    if not settings.client_id or not secret.isprintable() or len(secret) > _LONGEST_TEXT:
        raise UsageError("OAuth2 needs a client id and a client secret of printable characters.", "Enter both.")
    if settings.client_authentication not in ("basic", "body"):
        raise UsageError("The client authentication is neither basic nor body.", "Choose basic or body.")
    if own := sorted(_OWN_PARAMETERS & settings.parameters.keys()):
        raise UsageError(f"The parameter {own[0]} is set by the request for a token itself.", "Remove this parameter.")
    if len(settings.parameters) > _MOST_PARAMETERS or not all(settings.parameters):
        raise UsageError(
            "The token request has too many parameters, or one without a name.", f"At most {_MOST_PARAMETERS}."
        )


def public_jwk(endpoint: Endpoint) -> dict[str, str] | None:
    """Return the public key that receivers verify an endpoint's JWTs with; None where it sends none."""
    settings = authentication_of(endpoint.authentication)
    if settings is None or settings.type != JWT:
        return None
    from cdc.dispatch.jwt_signing import public_members  # noqa: PLC0415 - PyJWT is loaded where a JWT is wanted

    return public_members(endpoint.credential, settings.key_id)
