"""Sign-in by OpenID Connect: the authorization code flow with PKCE, and the checks of its answers.

A sign-in that has begun is stored nowhere: the browser's cookie holds a random secret, the time and the page to return
to, and ``state``, ``nonce`` and PKCE's verifier are derived from it.  So an answer counts only in the browser that
asked for it, and a ``nonce`` opens one session (`SignIn.with_oidc`).  The provider is asked when somebody signs in,
never at a start: while it does not answer, all other ways to sign in work.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from cdc.access.credential import Random, new_secret
from cdc.access.model import LONGEST_NAME, OIDC_NAME, Role, clean_name
from cdc.model.clock import Clock
from cdc.model.errors import AccessRefused, ProviderError

#: Signatures by key pairs only: the public key, which anybody has, must never be taken for a shared secret.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: Seconds: from the button to the answer; by which clocks may differ; for which documents of the provider are used;
#: between two requests for its keys because of an unknown one; after a failure, until it is asked again.
FLOW, LEEWAY, FRESH, KEYS_PAUSE, FAILURE_PAUSE = 600, 60, 3_600.0, 60.0, 5.0
_MOST_KEYS: Final = 50
_LEAST_RSA_BITS: Final = 2048
_LONGEST_TARGET: Final = 2_000
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}\.[0-9]{1,12}\.[A-Za-z0-9_-]*")
#: Codes of errors that the log may show; any other text of the provider stays out of it.
_CODES: Final = frozenset(
    {"access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "login_required"}
) | {"server_error", "temporarily_unavailable", "unauthorized_client", "interaction_required", "consent_required"}

log = structlog.get_logger()


class Fetch(Protocol):
    async def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Return status and body of an answer, bounded in time and size.  Raises `ProviderError`."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights that a group gives.  ``sources``: those that its members see and manage; empty: all."""

    role: Role
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """``groups``: in the order of the configuration.  ``second_factor``: values of ``amr`` or ``acr`` that prove one;
    empty: the provider always asks for one.  ``second_factor_for``: roles that need one."""

    issuer: str
    client_id: str
    redirect_uri: str
    groups: Mapping[str, Grant]
    client_secret: str = field(default="", repr=False)
    scopes: Sequence[str] = ()
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    second_factor: Sequence[str] = ()
    second_factor_for: frozenset[Role] = frozenset()


@dataclass(frozen=True, slots=True)
class OidcIdentity:
    """A person for whom the provider vouches.  ``stamp``: all that `OpenIdConnect.grant` needs to know.  ``to``: the
    page to return to."""

    name: str
    role: Role
    stamp: str
    nonce: str = field(repr=False)
    to: str = "/"


@dataclass(frozen=True, slots=True)
class _Flow:
    """A sign-in that has begun; ``cookie`` holds all of it."""

    cookie: str = field(repr=False)

    def derived(self, purpose: str) -> str:
        secret, _, rest = self.cookie.partition(".")
        return _text(hmac.digest(secret.encode(), f"{purpose}:{rest}".encode(), "sha256"))

    @property
    def begun(self) -> int:
        return int(self.cookie.split(".")[1])

    @property
    def to(self) -> str:
        text = self.cookie.split(".")[2]
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except ValueError:
            return "/"


class OpenIdConnect:
    def __init__(self, settings: OidcSettings, fetch: Fetch, clock: Clock) -> None:
        self._settings = settings
        self._fetch = fetch
        self._clock = clock
        self._metadata = _Document(clock)
        self._keys = _Document(clock)

    async def check(self) -> None:
        """Raise `ProviderError` when the provider does not answer, or its documents cannot be used."""
        await self._keys.get(self._fetch_keys)

    # -- begin and end ------------------------------------------------------------------------------------------------

    async def start(self, to: str, random: Random) -> tuple[str, str]:
        """Return the provider's address that the browser goes to, and the cookie of this sign-in.  Raises
        `ProviderError`."""
        target = _text(to.encode()) if len(to) <= _LONGEST_TARGET else ""
        flow = _Flow(f"{new_secret(random)}.{int(self._clock.now().timestamp())}.{target}")
        verifier = flow.derived("verifier")
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *self._settings.scopes))),
            "state": flow.derived("state"),
            "nonce": flow.derived("nonce"),
            "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return _with_query((await self._provider())["authorization_endpoint"], query), flow.cookie

    async def end(self) -> str:
        """Return the provider's address where the browser signs out there too; empty when it offers none, or does not
        answer."""
        try:
            where = (await self._provider()).get("end_session_endpoint", "")
        except ProviderError as error:
            log.warning("sign-out not sent to the identity provider", error=str(error))
            return ""
        back = self._settings.redirect_uri.removesuffix("/oidc/callback")
        query = {"client_id": self._settings.client_id, "post_logout_redirect_uri": back}
        return _with_query(where, query) if where else ""

    # -- the answer -------------------------------------------------------------------------------------------------

    async def finish(self, cookie: str, answer: Mapping[str, Sequence[str]]) -> OidcIdentity:
        """Return the person for whom the provider's answer vouches.  ``answer``: the values of each query parameter.
        Raises `AccessRefused`, and `ProviderError` when the provider cannot be asked."""
        flow = self._flow(cookie, answer)
        code = await self._code(answer)
        claims = await self._claims(code, flow)
        settings = self._settings

        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not 0 < len(clean_name(name)) <= LONGEST_NAME or not name.isprintable():
            raise AccessRefused(
                "The identity provider gave no usable name for you.",
                f"name_claim under [oidc] names a claim of 1 to {LONGEST_NAME} characters.",
            )
        member_of, proofs = _texts(claims.get(settings.groups_claim)), _texts(claims.get("amr"))
        proofs |= _texts(claims.get("acr"))
        stamp = {
            "issuer": settings.issuer,
            "client": settings.client_id,
            "groups": [each for each in settings.groups if each in member_of],
            "second_factor": not proofs.isdisjoint(settings.second_factor),
        }
        text = json.dumps(stamp)
        granted = self.grant(text)
        if granted is not None:
            return OidcIdentity(OIDC_NAME + clean_name(name), granted.role, text, flow.derived("nonce"), flow.to)
        if stamp["groups"]:
            raise AccessRefused(
                "A second factor is required here, and the identity provider did not ask you for one.",
                "Turn it on there, then sign in again.",
            )
        raise AccessRefused(
            "Your account is in no group that may use this page.", "An administrator adds it to one, or the group here."
        )

    def grant(self, stamp: str) -> Grant | None:
        """Return the rights of a session by the present configuration; None: it has ended.  The first group decides the
        role; its sources are joined by those of the other groups with that role."""
        known, settings = json.loads(stamp), self._settings
        if (known["issuer"], known["client"]) != (settings.issuer, settings.client_id):
            return None
        grants = [grant for group, grant in settings.groups.items() if group in known["groups"]]
        if not grants:
            return None
        role = grants[0].role
        if role in settings.second_factor_for and settings.second_factor and not known["second_factor"]:
            return None
        equal = [grant.sources for grant in grants if grant.role is role]
        joined = tuple(dict.fromkeys(source for sources in equal for source in sources))
        return Grant(role, joined if all(equal) else ())

    def _flow(self, cookie: str, answer: Mapping[str, Sequence[str]]) -> _Flow:
        now, flow = self._clock.now().timestamp(), _Flow(cookie)
        state = answer.get("state", ())
        present = _COOKIE.fullmatch(cookie) and -LEEWAY <= now - flow.begun <= FLOW and len(state) == 1
        if present and hmac.compare_digest(flow.derived("state").encode(), state[0].encode()):
            return flow
        raise AccessRefused(
            "This sign-in was not begun in this browser, or more than ten minutes ago.",
            f"Sign in again, at {self._settings.redirect_uri.removesuffix('/oidc/callback')}",
        )

    async def _code(self, answer: Mapping[str, Sequence[str]]) -> str:
        """Return the authorization code, where this provider gave one (RFC 9207)."""
        if any(len(values) != 1 for values in answer.values()):
            raise _unusable("a parameter comes twice")
        single = {name: values[0] for name, values in answer.items()}
        demanded = (await self._provider()).get("authorization_response_iss_parameter_supported") is True
        if single.get("iss", "" if demanded else self._settings.issuer) != self._settings.issuer:
            raise _unusable("it is from another issuer")
        if "error" in single or not single.get("code"):
            reason = single["error"] if single.get("error") in _CODES else "it has no code"
            raise _unusable(reason)
        return single["code"]

    async def _claims(self, code: str, flow: _Flow) -> dict[str, Any]:
        """Return the claims about the person: of the ID token, and what it lacks of the user info."""
        settings, provider = self._settings, await self._provider()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": flow.derived("verifier"),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        methods = _texts(provider.get("token_endpoint_auth_methods_supported", "client_secret_basic"))
        if settings.client_secret and "client_secret_basic" in methods:
            account = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
        else:
            form["client_id"] = settings.client_id
            form |= {"client_secret": settings.client_secret} if settings.client_secret else {}
        status, body = await self._fetch("POST", provider["token_endpoint"], headers, urlencode(form).encode())
        tokens = _object(body)
        if status != HTTPStatus.OK or not isinstance(tokens.get("id_token"), str):
            raise _unusable(
                f"the token endpoint answered {status} {tokens['error']}"
                if tokens.get("error") in _CODES
                else f"the token endpoint answered {status} without an ID token"
            )
        claims = await self._verified(tokens["id_token"], flow.derived("nonce"))

        missing = not {settings.name_claim, settings.groups_claim} <= claims.keys()
        access = tokens.get("access_token")
        if missing and "userinfo_endpoint" in provider and isinstance(access, str) and re.fullmatch(r"[!-~]+", access):
            headers = {"Accept": "application/json", "Authorization": f"Bearer {access}"}
            _, body = await self._fetch("GET", provider["userinfo_endpoint"], headers, b"")
            info = _object(body)
            if info.get("sub") != claims["sub"]:
                raise _unusable("the user info is about another person")
            claims = info | claims
        return claims

    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core, section 3.1.3.7)."""
        try:
            head = jwt.get_unverified_header(token)
            algorithm = head.get("alg")
            if algorithm not in ALGORITHMS:
                raise _unusable("its ID token is not signed by a key pair")
            claims: dict[str, Any] = jwt.decode(
                token,
                await self._key(head.get("kid"), algorithm),
                algorithms=[algorithm],
                audience=self._settings.client_id,
                issuer=self._settings.issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat"],
                    "verify_exp": False,  # times are compared below, by the clock of the program
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise _unusable(f"its ID token is not valid ({type(error).__name__})") from error
        now, audience = self._clock.now().timestamp(), claims["aud"]
        times = [claims["exp"], claims["iat"], claims.get("nbf", claims["iat"])]
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in times):
            raise _unusable("a time of its ID token is no number")
        expires, issued, valid_from = times
        if not (expires > now - LEEWAY and issued < now + LEEWAY and valid_from < now + LEEWAY):
            raise _unusable("its ID token has expired, or a clock is wrong")
        several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if several else self._settings.client_id) != self._settings.client_id:
            raise _unusable("its ID token is for another client")
        if not isinstance(claims.get("nonce"), str) or not hmac.compare_digest(
            claims["nonce"].encode(), nonce.encode()
        ):
            raise _unusable("its ID token is of another sign-in")
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise _unusable("its ID token names nobody")
        return claims

    # -- the provider's documents -----------------------------------------------------------------------------------

    async def _provider(self) -> dict[str, Any]:
        """Return the provider's metadata (OpenID Connect Discovery 1.0).  Raises `ProviderError`."""
        return await self._metadata.get(self._discover)

    async def _discover(self) -> dict[str, Any]:
        issuer = self._settings.issuer
        found = await self._document(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderError(
                "The identity provider's configuration names another issuer than the configuration here.",
                "Write the issuer under [oidc] exactly as the provider does.",
            )
        needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        for name in (*needed, "userinfo_endpoint", "end_session_endpoint"):
            if (name in found or name in needed) and not _is_secure(found.get(name), issuer):
                raise ProviderError(f"The {name} of the identity provider's configuration is no https address.")
        return found

    async def _key(self, key_id: object, algorithm: str) -> jwt.PyJWK:
        """Return the key that signed.  An unknown id has the keys fetched again, which may have been replaced."""
        keys = await self._keys.get(self._fetch_keys)
        for attempt in range(2):
            fitting = [each for each in keys["keys"] if _fits(each, key_id, algorithm)]
            if len(fitting) == 1:
                key = jwt.PyJWK(fitting[0], algorithm)
                if isinstance(key.key, RSAPublicKey) and key.key.key_size < _LEAST_RSA_BITS:
                    raise _unusable("the key of its ID token is too short")
                return key
            if not attempt:
                keys = await self._keys.get(self._fetch_keys, older_than=KEYS_PAUSE)
        raise _unusable("its ID token is signed with an unknown key")

    async def _fetch_keys(self) -> dict[str, Any]:
        found = await self._document((await self._provider())["jwks_uri"])
        keys = found.get("keys")
        if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
            raise ProviderError("The identity provider's keys cannot be read.")
        return {"keys": [each for each in keys if isinstance(each, dict)]}

    async def _document(self, url: str) -> dict[str, Any]:
        status, body = await self._fetch("GET", url, {"Accept": "application/json"}, b"")
        found = _object(body)
        if status != HTTPStatus.OK or not found:
            raise ProviderError(f"The identity provider answered {status} without a document that can be read.")
        return found


class _Document:
    """A document of the provider, which is fetched by one request at a time, and after a failure not at once again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free = asyncio.Lock()
        self._found: dict[str, Any] = {}
        self._fetched = 0.0
        self._failure: tuple[float, ProviderError] | None = None

    async def get(self, fetch: Callable[[], Awaitable[dict[str, Any]]], older_than: float = FRESH) -> dict[str, Any]:
        """Return the document, fetched if it is ``older_than`` so many seconds.  Raises `ProviderError`."""
        async with self._free:
            now = self._clock.monotonic()
            if self._found and now - self._fetched < older_than:
                return self._found
            if self._failure is not None and now < self._failure[0]:
                raise ProviderError(self._failure[1].message, self._failure[1].hint)
            try:
                self._found = await fetch()
            except ProviderError as error:
                self._failure = self._clock.monotonic() + FAILURE_PAUSE, error
                raise
            self._fetched = self._clock.monotonic()
            return self._found


def _fits(key: Mapping[str, Any], key_id: object, algorithm: str) -> bool:
    """Return whether a key of the provider may have made a signature; without ``key_id`` every one of its kind."""
    kind = {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm != "EdDSA" else "OKP"
    named = key_id is None or key.get("kid") == key_id
    return (
        named and key.get("kty") == kind and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    )


def _is_secure(url: object, issuer: str) -> bool:
    """Return whether the provider may be asked there: by https, or as the issuer is."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        bool(host)
        and "@" not in parts.netloc
        and not parts.fragment
        and parts.scheme in ("https", urlsplit(issuer).scheme)
    )


def _texts(value: object) -> set[str]:
    """Return the texts of a claim that is one or a list of them."""
    return {each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)}


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"


def _object(body: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _unusable(reason: str) -> AccessRefused:
    """``reason``: for the log; it holds nothing that the provider or the browser wrote."""
    log.warning("sign-in refused", by="oidc", reason=reason)
    return AccessRefused(
        "The identity provider's answer cannot be used.", "Sign in again; the log of the program says why."
    )


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
