"""Checks of an endpoint's authentication, and the public key of one that signs JWTs."""

from __future__ import annotations

from typing import Final

from cdc.dispatch.address import EgressPolicy, check_spelling, check_url
from cdc.dispatch.headers import check_headers
from cdc.model.authentication import JWT, OAUTH2, SECRET_NAMES, Authentication, authentication_of
from cdc.model.endpoint import Endpoint
from cdc.model.errors import UsageError

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
    for name, value in settings.given().items():
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
