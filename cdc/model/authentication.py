"""Authentication of an endpoint's requests at a gateway: an access token of OAuth2, or a JWT that is signed here.

The settings are stored as JSON text, without the secret that goes with them (`cdc.model.endpoint.Endpoint.credential`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, Final, NamedTuple

from yarl import URL

from cdc.model.errors import UsageError

OAUTH2: Final = "oauth2"
JWT: Final = "jwt"
#: Removes what there is.
NONE: Final = "none"
#: Settings by type, and those that must be there.
SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    OAUTH2: frozenset({"token_url", "client_id", "scope", "audience", "parameters", "client_authentication"}),
    JWT: frozenset({"issuer", "audience", "key_id", "lifetime", "header"}),
}
#: The name of the secret that goes with each.
SECRET_NAMES: Final[Mapping[str, str]] = {OAUTH2: "client_secret", JWT: "private_key"}


@dataclass(frozen=True, slots=True)
class Authentication:
    """``type``: ``oauth2`` or ``jwt``.

    OAuth2 (client credentials, RFC 6749): ``client_authentication``, ``basic`` or ``body``; ``parameters`` are sent
    with the request for a token.  JWT: ``lifetime``, seconds; ``header``, that carries it.
    """

    type: str
    token_url: str = ""
    client_id: str = ""
    scope: str = ""
    audience: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    client_authentication: str = "basic"
    issuer: str = ""
    key_id: str = ""
    lifetime: int = 60
    header: str = "Authorization"

    def given(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, with the type."""
        plain = asdict(Authentication(self.type))
        return {"type": self.type} | {name: value for name, value in asdict(self).items() if value != plain[name]}

    @property
    def text(self) -> str:
        """Return the settings as they are stored."""
        return json.dumps(self.given(), sort_keys=True)

    @property
    def audience_origin(self) -> tuple[str, str]:
        """Return the type of the secret and the origin that gets it; for a JWT no other one than the endpoint's."""
        try:
            return self.type, str(URL(self.token_url).origin()) if self.token_url else ""
        except ValueError:
            return self.type, self.token_url


class TokenGrant(NamedTuple):
    """The means of getting an access token for an endpoint.  ``settings``: as they are stored."""

    endpoint_id: str
    settings: str
    secret: str


@lru_cache(maxsize=1024)
def authentication_of(text: str) -> Authentication | None:
    """Return the settings of a stored text; None for an empty one."""
    if not text:
        return None
    known = {each.name for each in fields(Authentication)}
    return Authentication(**{name: value for name, value in json.loads(text).items() if name in known})


def settings_text(given: Mapping[str, Any]) -> str:
    """Return the text of these settings, empty for the type ``none``.  Raises `UsageError`."""
    kind = given.get("type", "")
    if kind == NONE and len(given) == 1:
        return ""
    if kind not in SETTINGS:
        raise UsageError("Settings of authentication need a type.", "Choose oauth2, jwt or, alone, none.")
    if others := sorted(given.keys() - SETTINGS[kind] - {"type"}):
        raise UsageError(
            f"Authentication of the type {kind} has no {others[0]}.",
            f"It has {SECRET_NAMES[kind]}, {', '.join(sorted(SETTINGS[kind]))}.",
        )
    return Authentication(**given).text
