"""Sign-in by OpenID Connect, attacked by other browsers, other sites, other clients, and a provider that misbehaves."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from cdc.access.model import AuditFilter
from cdc.cli.doctor import check_oidc
from cdc.config import Config
from cdc.model.audit import AuditEntry
from cdc.model.finding import Severity
from cdc.pages.session_auth import COOKIE, FLOW_COOKIE
from cdc.runtime import access as runtime_access
from support.browsing import Shown, Visitor, visiting
from support.identity_provider import (
    CLIENT,
    SECRET,
    Answering,
    Claims,
    IdentityProvider,
    Key,
    begun,
    ec_key,
    identity_provider,
    query_of,
    rsa_key,
    through,
    unsigned,
)
from support.managing import CONFIGURATION, PASSWORD, Managed, managing
from support.manual_clock import START
from support.memory_outbox import MemoryAccess, MemoryOutbox

SOURCES = {name: {"url": f"postgresql://cdc@db.example.com/{name}"} for name in ("main", "shop")}
GROUPS: Mapping[str, Any] = {
    "admins": {"role": "manager"},
    "shop-managers": {"role": "manager", "sources": ["shop"]},
    "main-managers": {"role": "manager", "sources": ["main"]},
    "readers": {"role": "viewer"},
}
LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as provider:
        yield provider


@asynccontextmanager
async def site(
    provider: IdentityProvider, folder: Path, *, access: MemoryAccess | None = None, web: Any = None, **oidc: Any
) -> AsyncIterator[Managed]:
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    section = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": secret, "groups": GROUPS}
    section |= {"allow_networks": LOOPBACK, "name": "Example SSO"} | oidc
    if access is not None:  # of a former site: all but the sessions
        entry = AuditEntry(START, "cli:root", "site.remove", "site")
        for user in await access.users():
            await access.remove_user(user.name, entry)
        for token in await access.tokens():
            await access.remove_token(token.id, entry)
    async with managing(MemoryOutbox(), access=access, source=SOURCES, oidc=section, web=web or {}) as managed:
        provider.clock = managed.clock
        yield managed


def is_in(shown: Shown) -> bool:
    return shown.status == 200 and 'http-equiv="refresh"' in shown.text


async def refuses(managed: Managed, visitor: Visitor, provider: IdentityProvider, what: object) -> None:
    """The person comes back from the provider, and is not let in."""
    shown = await through(visitor, provider)
    assert shown.status == 401, (what, shown.text)
    assert visitor.cookie == "", what
    assert (await visitor.get("/endpoints")).status == 303, what
    managed.clock.advance(2 * 3600)  # the pauses of this address


# -- the way in --------------------------------------------------------------------------------------------------------


async def test_button_leads_in_with_the_rights_of_the_groups(provider: IdentityProvider, tmp_path: Path) -> None:
    provider.person["groups"] = ["shop-managers", "main-managers", "readers", "unknown"]
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for code, text in (("en", "Sign in with Example SSO"), ("es", "Iniciar sesión con Example SSO")):
            shown = await visitor.get("/sign-in?to=/sources", headers={"Accept-Language": code})
            assert f'href="/sign-in/oidc?to=%2Fsources">{text}' in shown.text
        sent = await visitor.get("/sign-in/oidc?to=/sources")
        asked = query_of(sent.headers["Location"])
        assert asked["redirect_uri"] == "http://127.0.0.1:8600/sign-in/oidc/callback"
        assert asked["scope"].split() == ["openid", "profile", "groups"]
        (flow,) = (each for each in sent.headers.getall("Set-Cookie") if FLOW_COOKIE in each)  # type: ignore[attr-defined]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(flow.split("; "))
        shown = await visitor.get(await provider.callback(sent.headers["Location"]))
        assert is_in(shown)
        assert 'content="0; url=/sources"' in shown.text
        assert (await visitor.get("/endpoints")).status == 200
        assert (await visitor.get("/people")).status == 403, "not of all sources"
        (entry,) = await managed.access.audit(AuditFilter(action="session.begin"), 1)
        assert (entry.entry.actor, entry.entry.detail["by"]) == ("oidc:eva", "oidc")
        assert "oidc:" not in (await visitor.get("/endpoints")).text
        assert "managed elsewhere" in (await visitor.get("/account")).text


async def test_other_key_types_and_claims_of_the_user_info_work(provider: IdentityProvider, tmp_path: Path) -> None:
    provider.keys = [ec_key(), rsa_key()]
    del provider.person["groups"]
    provider.user_info = {"sub": "1", "groups": "readers", "preferred_username": "not eva"}
    provider.altered = lambda claims: claims.update(aud=[CLIENT, "other"], azp=CLIENT)
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider))
        assert (await visitor.get("/replays")).status == 403, "a viewer"
        (entry,) = await managed.access.audit(AuditFilter(action="session.begin"), 1)
        assert entry.entry.actor == "oidc:eva", "the ID token takes precedence"
        provider.user_info["sub"] = "2"
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        await refuses(managed, visitor, provider, "the user info of somebody else")


async def test_session_ends_in_time_with_its_group_and_at_the_provider(
    provider: IdentityProvider, tmp_path: Path
) -> None:
    access = MemoryAccess()
    async with site(provider, tmp_path, access=access, session_minutes=30) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider))
        managed.clock.advance(29 * 60)
        assert (await visitor.get("/people")).status == 200
        managed.clock.advance(60)
        assert (await visitor.get("/people")).status == 303
        assert is_in(await through(visitor, provider))
        cookie = {"Cookie": f"{COOKIE}={visitor.cookie}"}
        demoted, gone = {"admins": {"role": "viewer"}}, {"readers": GROUPS["readers"]}
        for changed, status in (
            ({}, 200),
            ({"groups": demoted}, 403),
            ({"groups": gone}, 303),
            ({"client_id": "other"}, 303),
            ({"issuer": "http://127.0.0.1:1"}, 303),
            ({"issuer": ""}, 303),
        ):
            async with site(provider, tmp_path, access=access, **changed) as later, visiting(later) as again:
                assert (await again.get("/people", headers=cookie)).status == status, changed
        ended = await visitor.send("/sign-out")
        (where,) = re.findall(r'content="0; url=([^"]+)"', ended.text)
        assert where.startswith(f"{provider.issuer}/end?")
        assert "post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A8600%2Fsign-in" in where
        assert (await visitor.get("/people", headers=cookie)).status == 303


async def test_name_of_a_user_of_ours_gives_nothing_of_theirs(provider: IdentityProvider, tmp_path: Path) -> None:
    provider.person |= {"preferred_username": "ann", "groups": ["readers"]}
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider))
        assert (await visitor.get("/people")).status == 403, "ann is a manager"
        for path, form in (
            ("/account/password", {"present": PASSWORD, "password": "another password", "again": "another password"}),
            ("/account/totp-on", {"secret": "A" * 32, "code": "000000"}),
            ("/account/totp-off", {"present": PASSWORD}),
        ):
            csrf = await visitor.csrf("/endpoints")
            assert (await visitor.post(path, {"csrf": csrf, **form})).status == 422, path
        async with visiting(managed, "ann") as ann:
            assert (await ann.get("/people")).status == 200
            await managed.accounts.remove_user("cli:root", "ann")
            assert (await ann.get("/people")).status == 303
        assert (await visitor.get("/endpoints")).status == 200


# -- forged tokens -----------------------------------------------------------------------------------------------------


def _with_public_key(encoding: Encoding, form: PublicFormat) -> Callable[[Claims], str]:
    """Sign with the public key as if it were a shared secret."""
    public = rsa_key().private.public_key().public_bytes(encoding, form)

    def sign(claims: Claims) -> str:
        head, body = (base64url(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "first"}, claims))
        mac = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
        return f"{head}.{body}.{base64url(mac)}"

    return sign


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _forgeries(provider: IdentityProvider) -> dict[str, Callable[[Claims], str]]:
    stranger = Key("first", "RS256", rsa_key("stranger").private)

    def altered(claims: Claims) -> str:
        head, _, signature = provider.signed(claims).split(".")
        return f"{head}.{base64url(json.dumps(claims | {'groups': ['admins']}).encode())}.{signature}"

    return {
        "none": unsigned,
        "none, spelt otherwise": lambda claims: unsigned(claims, alg="nOnE"),
        "none, by the key's name": lambda claims: unsigned(claims, kid="first"),
        "no algorithm": lambda claims: unsigned(claims, alg=""),
        "an algorithm that is no text": lambda claims: unsigned(claims, alg=["RS256"]),
        "RS256 without a signature": lambda claims: unsigned(claims, alg="RS256", kid="first"),
        "HS256 with the public key (PEM)": _with_public_key(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "HS256 with the public key (DER)": _with_public_key(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "HS256 with the client's secret": lambda claims: jwt.encode(claims, SECRET.ljust(32, "x"), "HS256"),
        "another key of the same name": lambda claims: provider.signed(claims, stranger),
        "its own key in the head": lambda claims: provider.signed(claims, stranger, jwk=stranger.public),
        "the address of its key in the head": lambda claims: provider.signed(claims, stranger, jku="https://a.example"),
        "a key of another type by that name": lambda claims: provider.signed(
            claims, Key("first", "ES256", ec_key().private)
        ),
        "an unknown critical extension": lambda claims: provider.signed(claims, crit=["x"], x=1),
        "claims that were altered": altered,
        "two parts": lambda claims: provider.signed(claims).rpartition(".")[0],
        "no token": lambda _claims: "é.\0.x",
        "deep JSON": lambda _claims: ".".join(base64url(each) for each in (b"[" * 50_000, b"{}", b"")),
    }


async def test_forged_tokens_open_nothing(provider: IdentityProvider, tmp_path: Path) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for name, sign in _forgeries(provider).items():
            provider.sign = sign
            await refuses(managed, visitor, provider, name)
        short = rsa_key("short", 1024)
        provider.sign, provider.keys = None, [short]
        await refuses(managed, visitor, provider, "a key of 1024 bits")
        provider.keys = [rsa_key()]
        managed.clock.advance(3_600)
        assert is_in(await through(visitor, provider))


async def test_tokens_of_others_and_of_other_times_open_nothing(provider: IdentityProvider, tmp_path: Path) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        changes: list[Claims] = [
            {"iss": "https://other.example.com"},
            {"iss": f"{provider.issuer}/"},
            {"iss": [provider.issuer]},
            {"aud": "other"},
            {"aud": []},
            {"aud": [CLIENT, "other"]},
            {"aud": [CLIENT, "other"], "azp": "other"},
            {"azp": "other"},
            {"nonce": "of another sign-in"},
            {"nonce": ""},
            {"nonce": None},
            {"nonce": ["x"]},
            {"exp": -61},
            {"exp": "never"},
            {"exp": True},
            {"exp": float("nan")},
            {"iat": 3_600},
            {"nbf": 3_600},
            {"nbf": "now"},
            {"sub": ""},
            {"sub": 1},
            *({name: ...} for name in ("iss", "sub", "aud", "exp", "iat", "nonce")),
        ]
        for change in changes:

            def alter(claims: Claims, change: Claims = change) -> None:
                for name, value in change.items():
                    moved = name in ("exp", "iat", "nbf") and type(value) is int
                    claims[name] = int(managed.clock.now().timestamp()) + value if moved else value
                    if value is ...:
                        del claims[name]

            provider.altered = alter
            await refuses(managed, visitor, provider, change)
        provider.altered = lambda claims: claims.update(exp=claims["iat"] - 59, nbf=claims["iat"] + 59)
        assert is_in(await through(visitor, provider)), "clocks may differ by a minute"


# -- other browsers, other providers -----------------------------------------------------------------------------------


async def test_answer_counts_once_and_in_the_browser_that_asked(provider: IdentityProvider, tmp_path: Path) -> None:
    provider.lenient = True
    access, addresses = MemoryAccess(), count(1)
    proxied = {"trusted_proxies": ["127.0.0.1/32"]}

    async def answered(visitor: Visitor, path: str, flow: str) -> int:
        head = {"Cookie": f"{FLOW_COOKIE}={flow}", "X-Forwarded-For": f"198.51.100.{next(addresses)}"}
        visitor.session.cookie_jar.clear()
        shown = await visitor.get(path, headers=head)
        assert bool(visitor.cookie) is is_in(shown), path
        assert "Too many" not in shown.text
        return shown.status

    async with (
        site(provider, tmp_path, access=access, web=proxied) as managed,
        visiting(managed) as victim,
        visiting(managed) as attacker,
    ):
        theirs = await begun(attacker, provider)
        assert await answered(victim, theirs, "") == 401, "no sign-in was begun in this browser"
        mine = await begun(victim, provider)
        flow = next(each.value for each in victim.session.cookie_jar if each.key == FLOW_COOKIE)
        state, code = query_of(mine)["state"], query_of(theirs)["code"]
        callback, issuer = "/sign-in/oidc/callback", urlencode({"iss": provider.issuer})
        for path in (
            theirs,
            f"{callback}?code={code}&state={state}",  # the nonce is of the attacker's sign-in
            f"{callback}?code=1&state={state}",
            f"{callback}?code=1&state={state[:-1]}",
            f"{callback}?code=1&state=",
            f"{callback}?code=1&state=%00%C3%A9",
            f"{callback}?code=1",
            callback,
            f"{mine}&state={state}",
            f"{mine}&code=1",
            f"{mine}&{issuer}",
            f"{callback}?state={state}",
            f"{callback}?code=&state={state}",
            f"{callback}?error=access_denied&state={state}",
            f"{mine}&error=%0Aplanted",
            mine.replace(issuer, "iss=https%3A%2F%2Fother.example.com"),
            mine.replace(issuer, f"{issuer}%2F"),
            mine.replace(issuer, "iss="),
            mine.replace(state, "A" * 43),
            mine.replace(state, state[:-1] + ("A" if state[-1] != "A" else "B")),
        ):
            assert await answered(victim, path, flow) == 401, path
        secret, time, target = flow.split(".")
        for forged in (
            f"{secret}.{time}.{base64url(b'/people')}",
            f"{secret}.{int(time) + 1}.{target}",
            f"{secret}.{time}",
            f"{secret}.{time}.{target}.",
            f"{secret[1:]}A.{time}.{target}",
            f"{secret}.{'9' * 5_000}.{target}",
            f"{secret}.-{time}.{target}",
            "..",
        ):
            assert await answered(victim, mine, forged) == 401, forged
        provider.metadata = {"authorization_response_iss_parameter_supported": True}
        managed.clock.advance(3_600)
        late = await begun(victim, provider)
        flow = next(each.value for each in victim.session.cookie_jar if each.key == FLOW_COOKIE)
        assert await answered(victim, late.replace(issuer, "x=1"), flow) == 401, "the issuer that was promised"
        managed.clock.advance(600)
        assert await answered(victim, late, flow) == 200
        assert await answered(victim, late, flow) == 401, "a second time, although the provider takes the code again"
        async with site(provider, tmp_path, access=access, web=proxied) as other, visiting(other) as again:
            other.clock.advance((managed.clock.now() - START).total_seconds())
            assert await answered(again, late, flow) == 401, "in another process"
        provider.clock = managed.clock
        late = await begun(victim, provider)
        flow = next(each.value for each in victim.session.cookie_jar if each.key == FLOW_COOKIE)
        managed.clock.advance(601)
        assert await answered(victim, late, flow) == 401, "after more than ten minutes"


async def test_planted_cookies_are_worth_nothing_after_a_sign_in(provider: IdentityProvider, tmp_path: Path) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed, "ann") as visitor:
        former = visitor.cookie
        shown = await through(visitor, provider)
        assert is_in(shown)
        assert visitor.cookie not in ("", former)
        cookies = " ".join(shown.headers.getall("Set-Cookie"))  # type: ignore[attr-defined]
        assert f"{FLOW_COOKIE}=;" in cookies.replace('""', "")
        for planted in (former, "A" * 43, "", "x", visitor.cookie[:-1]):
            async with visiting(managed) as attacker:
                head = {"Cookie": f"{COOKIE}={planted}"}
                assert (await attacker.get("/endpoints", headers=head)).status == 303, planted
                shown = await attacker.get("/sign-in/oidc", headers=head)
                back = await provider.callback(shown.headers["Location"])
                await attacker.get(back, headers=head)
                assert attacker.cookie not in ("", planted)
        secure = {"X-Forwarded-Proto": "https"}
    async with (
        site(provider, tmp_path, web={"trusted_proxies": ["127.0.0.1/32"]}) as managed,
        visiting(managed) as visitor,
    ):
        flow = (await visitor.get("/sign-in/oidc", headers=secure)).headers["Set-Cookie"]
        assert flow.startswith(f"__Host-{FLOW_COOKIE}=")
        assert {"Secure", "HttpOnly", "Path=/"} <= set(flow.split("; "))


async def test_return_target_is_a_page_of_this_site(provider: IdentityProvider, tmp_path: Path) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for to in (
            "https://evil.example.com/",
            "//evil.example.com/",
            "/\\evil.example.com",
            "\\\\evil.example.com",
            "javascript:alert(1)",
            "/a\nb",
            "/\u2028",
            "evil",
            "/" + "a" * 3_000,
        ):
            assert 'content="0; url=/"' in (await through(visitor, provider, to)).text, to
        shown = await through(visitor, provider, "/events?x=%22&y=;'\"><script>")
        assert "<script>" not in shown.text
        assert 'content="0; url=/events?x=%22&amp;y=;&#39;&#34;&gt;&lt;script&gt;"' in shown.text


# -- a provider that misbehaves ----------------------------------------------------------------------------------------


def says(body: bytes, status: int = 200, **headers: str) -> Answering:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


def hostile_documents(provider: IdentityProvider) -> list[Answering]:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await provider.released.wait()
        return web.Response()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not provider.released.is_set():
            await response.write(b" " * 65_536)
        return response

    bodies = (
        b"",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"issuer": "x"}',
        b"\xff",
        b'{"a": "' + b"x" * 300_000 + b'"}',
    )
    redirected = says(b"", 302, Location=f"{provider.issuer}/inside")
    return [silent, endless, redirected, *map(says, bodies), says(b"{}", 500)]


async def tried(visitor: Visitor, provider: IdentityProvider) -> Shown:
    """Press the button and go as far as one comes."""
    shown = await visitor.get("/sign-in/oidc")
    if shown.status == 303:
        shown = await visitor.get(await provider.callback(shown.headers["Location"]))
    return shown


async def test_hostile_documents_are_bounded_and_local_users_sign_in(
    provider: IdentityProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_access, "_PROVIDER_SECONDS", 0.5)
    provider.answers["/realm/inside"] = says(b"{}")
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for path in ("/realm/.well-known/openid-configuration", "/realm/jwks", "/realm/token"):
            for number, document in enumerate(hostile_documents(provider)):
                managed.clock.advance(2 * 3_600)
                provider.answers[path] = document
                shown = await tried(visitor, provider)
                assert (shown.status in (401, 503), visitor.cookie) == (True, ""), (path, number)
                assert 'name="password"' in shown.text, "the way in for users of ours"
                async with visiting(managed, "ann") as ann:
                    assert (await ann.get("/people")).status == 200
            del provider.answers[path]
        managed.clock.advance(2 * 3_600)
        assert is_in(await through(visitor, provider))
    assert "/realm/inside" not in provider.asked, "no redirect was followed"


async def test_addresses_of_the_provider_that_are_not_its_own_are_refused(
    provider: IdentityProvider, tmp_path: Path
) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for fields in (
            {"issuer": "https://other.example.com"},
            {"issuer": f"{provider.issuer}/"},
            {"token_endpoint": "http://169.254.169.254/latest"},
            {"token_endpoint": "https://[::1"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": "http://10.0.0.1/keys"},
            {"jwks_uri": None},
            {"jwks_uri": "https:///x"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"authorization_endpoint": "https://user@evil.example.com/"},
            {"end_session_endpoint": "data:text/html,x"},
            {"padding": "x" * 300_000},
        ):
            managed.clock.advance(2 * 3_600)
            provider.metadata = fields
            assert (await tried(visitor, provider)).status == 503, fields


async def test_unreachable_or_inside_provider_locks_nobody_out(tmp_path: Path) -> None:
    for issuer, networks in (
        ("http://127.0.0.1:1", LOOPBACK),  # nothing listens
        ("http://127.0.0.1:1", []),
        ("http://localhost:1", []),
        ("https://169.254.169.254/", LOOPBACK),
        ("https://10.0.0.1/", LOOPBACK),
        ("https://0x7f000001/", []),
    ):
        gone = IdentityProvider(issuer)
        async with site(gone, tmp_path, allow_networks=networks) as managed, visiting(managed, "ann") as visitor:
            assert (await visitor.get("/people")).status == 200
            for _ in range(2):
                shown = await visitor.get("/sign-in/oidc")
                assert shown.status == 503, issuer
            assert (await visitor.get("/people")).status == 200, "the session continues"
    async with (
        identity_provider() as provider,
        site(provider, tmp_path, allow_networks=[]) as managed,
        visiting(managed) as visitor,
    ):
        shown = await visitor.get("/sign-in/oidc")
        assert shown.status == 503
        assert "loopback address" in shown.text
        assert provider.asked == []


async def test_doctor_says_whether_the_provider_can_be_used(provider: IdentityProvider, tmp_path: Path) -> None:
    section = {"issuer": provider.issuer, "client_id": CLIENT, "groups": GROUPS, "allow_networks": LOOPBACK}
    for changed, severity, detail in (
        ({}, Severity.OK, provider.issuer),
        ({"issuer": "http://127.0.0.1:1"}, Severity.WARNING, "does not answer"),
        ({"issuer": f"{provider.issuer}/"}, Severity.WARNING, "another issuer"),
        ({"allow_networks": []}, Severity.WARNING, "loopback address"),
        ({"client_secret_file": tmp_path / "none"}, Severity.WRONG, "cannot be read"),
        ({"ca_file": tmp_path / "none"}, Severity.WRONG, "ca_file"),
    ):
        check = await check_oidc(Config.model_validate({"source": SOURCES, "oidc": section | changed}))
        assert (check.finding.severity, detail in check.finding.detail) == (severity, True), check


async def test_unknown_keys_are_fetched_again_at_a_bounded_rate(provider: IdentityProvider, tmp_path: Path) -> None:
    proxied = {"trusted_proxies": ["127.0.0.1/32"]}
    async with site(provider, tmp_path, web=proxied) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider))
        provider.asked.clear()
        for number in range(30):
            stranger = Key(f"key-{number}", "RS256", rsa_key("stranger").private)
            provider.sign = lambda claims, key=stranger: provider.signed(claims, key)  # type: ignore[misc]
            path = await begun(visitor, provider)
            shown = await visitor.get(path, headers={"X-Forwarded-For": f"198.51.100.{number}"})
            assert shown.status == 401
            managed.clock.advance(1)
        assert provider.asked.count("/realm/jwks") <= 1
        provider.sign, provider.keys = None, [rsa_key("stranger"), rsa_key()]
        managed.clock.advance(60)
        assert is_in(await through(visitor, provider)), "the new key"
        provider.keys = [Key("huge", "RS256", rsa_key().private)] * 51
        managed.clock.advance(3_600)
        assert (await through(visitor, provider)).status == 503


# -- groups, names and the second factor -------------------------------------------------------------------------------


async def test_people_without_group_or_usable_name_are_refused(provider: IdentityProvider, tmp_path: Path) -> None:
    async with site(provider, tmp_path) as managed, visiting(managed) as visitor:
        for groups in (
            [],
            ["Admins"],
            "admin",
            ["admins "],
            {"admins": True},
            [["admins"]],
            [1, None],
            7,
            None,
            "admins,readers",
        ):
            provider.person["groups"] = groups
            shown = await through(visitor, provider)
            assert (shown.status, visitor.cookie) == (401, ""), groups
            assert "in no group that may use this page" in shown.text
            managed.clock.advance(2 * 3_600)
        provider.person["groups"] = ["admins"]
        for name in ("", " ", "a\nb", "a\0b", "x" * 65, 7, None, ["eva"], "\u202eeva"):
            provider.person["preferred_username"] = name
            await refuses(managed, visitor, provider, name)
        refused = await managed.access.audit(AuditFilter(action="session.refused"), 10)
        assert refused
        assert {each.entry.detail["by"] for each in refused} == {"oidc"}


async def test_required_second_factor_is_one_that_the_provider_states(
    provider: IdentityProvider, tmp_path: Path
) -> None:
    access = MemoryAccess()
    for rule, asked in (("all", True), ("managers", True), ("none", False)):
        async with site(provider, tmp_path, access=access, web={"require_2fa": rule}) as managed:
            for claims in (
                {},
                {"amr": "pwd"},
                {"amr": ["pwd"]},
                {"amr": ["MFA", ["mfa"], 1]},
                {"acr": "1"},
                {"mfa": True},
            ):
                provider.person = {"sub": "1", "preferred_username": "eva", "groups": ["admins"], **claims}
                async with visiting(managed) as visitor:
                    shown = await through(visitor, provider)
                    assert is_in(shown) is not asked, (rule, claims)
                    assert ("A second factor is required here" in shown.text) is asked
                    managed.clock.advance(2 * 3_600)
            for claims in ({"amr": ["pwd", "mfa"]}, {"acr": "mfa"}):
                provider.person = {"sub": "1", "preferred_username": "eva", "groups": ["admins"], **claims}
                async with visiting(managed) as visitor:
                    assert is_in(await through(visitor, provider)), (rule, claims)
    provider.person = {"sub": "1", "preferred_username": "eva", "groups": ["admins"]}
    async with site(provider, tmp_path, access=access) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider))
        cookie = {"Cookie": f"{COOKIE}={visitor.cookie}"}
    strict = {"require_2fa": "all"}
    async with site(provider, tmp_path, access=access, web=strict) as managed, visiting(managed) as visitor:
        assert (await visitor.get("/endpoints", headers=cookie)).status == 303, "begun before it was required"
    async with site(provider, tmp_path, web=strict, second_factor=[]) as managed, visiting(managed) as visitor:
        assert is_in(await through(visitor, provider)), "the provider always asks for one"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"issuer": "http://sso.example.com"}, "https"),
        ({"issuer": "https://sso.example.com/?a=b"}, "https"),
        ({"issuer": "https://user@sso.example.com"}, "https"),
        ({"client_id": ""}, "client_id"),
        ({"groups": {}}, "groups"),
        ({"groups": {"a": {"role": "viewer", "sources": ["nowhere"]}}}, "nowhere"),
        ({"groups": {"a": {"role": "root"}}}, "viewer"),
        ({"groups": {"a": {"sources": []}}}, "role"),
    ],
)
def test_unsafe_configuration_is_refused(section: Any, problem: str) -> None:
    safe = {"issuer": "https://sso.example.com", "client_id": "cdc", "groups": GROUPS}
    Config.model_validate({**CONFIGURATION, "source": SOURCES, "oidc": safe})
    with pytest.raises(ValidationError, match=problem):
        Config.model_validate({**CONFIGURATION, "source": SOURCES, "oidc": safe | section})
