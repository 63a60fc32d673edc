"""Users, tokens and the audit log, as whoever administers them sees them."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyotp
import pytest

from cdc.access.sign_in import SignIn
from cdc.config import load_config
from cdc.model.clock import SystemClock
from cdc.model.errors import AccessRefused
from cdc.outbox.secret_box import new_key
from cdc.runtime.access import open_access
from support.manual_clock import ManualClock

GOOD = "correct horse battery"


def signed_in(folder: Path, name: str, password: str, code: str = "", now: datetime | None = None) -> str:
    """As whom: ``name role``; `no` when refused."""

    async def enter() -> str:
        store = open_access(load_config(environment={}, folder=folder))
        await store.open()
        try:
            clock = ManualClock(now or datetime.now(UTC))
            session = (await SignIn(store, clock).with_password(name, password, code, address="192.0.2.1")).session
        except AccessRefused:
            return "no"
        finally:
            await store.close()
        return f"{session.user} {session.role}"

    return asyncio.run(enter())


def scope_of(folder: Path, token: str) -> str | None:
    async def ask() -> str | None:
        store = open_access(load_config(environment={}, folder=folder))
        await store.open()
        found = await SignIn(store, SystemClock()).token(token, address="192.0.2.1")
        await store.close()
        return found and found.scope

    return asyncio.run(ask())


def test_a_token_from_beginning_to_end(run_cdc: Callable, folder: Path) -> None:
    assert "no token yet" in run_cdc("token", "list").stderr
    added = json.loads(run_cdc("token", "add", "shop", "--scope", "manage", "--expires", "30", "--json").stdout)
    assert re.fullmatch(r"cdct_[A-Za-z0-9_-]{43}", added["token"])
    assert (added["name"], added["scope"], added["last_used_at"]) == ("shop", "manage", None)
    expires = datetime.fromisoformat(added["expires_at"]) - datetime.fromisoformat(added["created_at"])
    assert expires.days == 30
    assert scope_of(folder, added["token"]) == "manage"

    for_people = run_cdc("token", "add", "till", "--scope", "read")
    text = re.search(r"cdct_\S+", for_people.stdout)
    assert text is not None
    assert "not shown again" in for_people.stderr
    for command in (["list"], ["list", "--json"]):
        shown = run_cdc("token", *command).stdout
        assert added["id"] in shown
        assert "till" in shown
        assert "cdct_" not in shown
    listed = json.loads(run_cdc("token", "list", "--json").stdout)["tokens"]
    assert [(each["name"], each["last_used_at"] is None) for each in listed] == [("shop", False), ("till", True)]

    assert "already" in run_cdc("token", "add", "Shop", "--scope", "read", code=2).stderr
    assert "(shop): Removed" in run_cdc("token", "remove", added["id"]).stderr
    run_cdc("token", "remove", "TILL")
    assert "no token" in run_cdc("token", "remove", "till", code=2).stderr
    assert scope_of(folder, added["token"]) is scope_of(folder, text[0]) is None


@pytest.mark.parametrize(
    "arguments",
    [["shop"], ["shop", "--scope", "all"], ["shop", "--scope", "read", "--expires", "0"], ["", "--scope", "read"]],
)
def test_tokens_that_cannot_be(run_cdc: Callable, arguments: list[str]) -> None:
    run_cdc("token", "add", *arguments, code=2)
    assert json.loads(run_cdc("token", "list", "--json").stdout) == {"tokens": []}


def test_a_token_in_the_place_of_a_name_is_not_repeated(run_cdc: Callable) -> None:
    text = json.loads(run_cdc("token", "add", "shop", "--scope", "read", "--json").stdout)["token"]
    for command in (["remove", text], ["add", text, "--scope", "read"]):
        assert text not in run_cdc("token", *command, code=2).output


def test_a_user_from_beginning_to_end(run_cdc: Callable, folder: Path) -> None:
    assert "no user yet" in run_cdc("user", "list").stderr
    asked = run_cdc("user", "add", "Ann", "--role", "viewer", stdin=f"{GOOD}\n{GOOD}\n")
    assert (asked.stdout, "Added as viewer" in asked.stderr) == ("", True)
    assert GOOD not in asked.output
    assert signed_in(folder, "ann", GOOD) == "Ann viewer"
    run_cdc("user", "role", "ann", "--role", "manager")
    assert signed_in(folder, "ann", GOOD) == "Ann manager"

    (folder / "password").write_text("another good one\n")
    run_cdc("user", "password", "ann", "--password-file", "password")
    assert (signed_in(folder, "ann", GOOD), signed_in(folder, "ann", "another good one")) == ("no", "Ann manager")
    run_cdc("user", "password", "ann", "--password-file", "-", stdin=f"{GOOD}\nmore\n")
    assert signed_in(folder, "ann", GOOD) == "Ann manager"

    listed = json.loads(run_cdc("user", "list", "--json").stdout)["users"]
    assert [(each["name"], each["role"], each["password"], each["totp"]) for each in listed] == [
        ("Ann", "manager", True, False)
    ]
    assert run_cdc("user", "list").stdout.split("\n")[1].split()[:5] == ["Ann", "manager", "all", "yes", "no"]
    run_cdc("user", "remove", "ANN")
    assert signed_in(folder, "ann", GOOD) == "no"
    for command in (["role", "ann", "--role", "viewer"], ["remove", "ann"], ["totp", "ann"]):
        assert "no user" in run_cdc("user", *command, code=2).stderr


def test_a_user_of_some_sources(run_cdc: Callable, folder: Path) -> None:
    (folder / "cdc.toml").write_text('[source.shop]\nurl = "postgresql://cdc@db.example.com/shop"\n')
    new = ("user", "add", "ann", "--role", "viewer", "--no-password")
    assert "There are: shop." in run_cdc(*new, "--source", "nobody", code=2).stderr

    def sources() -> list[str]:
        return list(json.loads(run_cdc("user", "list", "--json").stdout)["users"][0]["sources"])

    run_cdc(*new, "--source", "shop")
    assert sources() == ["shop"]
    run_cdc("user", "role", "ann", "--role", "manager")
    assert sources() == ["shop"], "a new role leaves them as they are"
    run_cdc("user", "role", "ann", "--role", "manager", "--all-sources")
    assert sources() == []
    both = run_cdc("user", "role", "ann", "--role", "viewer", "--all-sources", "--source", "shop", code=2)
    assert "exclude each other" in both.stderr


def test_a_user_without_a_password_and_what_excludes_it(run_cdc: Callable, folder: Path) -> None:
    made = json.loads(run_cdc("user", "add", "ann", "--role", "viewer", "--no-password", "--json").stdout)
    assert made["password"] is False
    assert signed_in(folder, "ann", "") == "no"
    both = ["--no-password", "--password-file", "x"]
    assert "exclude each other" in run_cdc("user", "add", "bob", "--role", "viewer", *both, code=2).stderr


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("ann", "short\nshort\n", "at least 10 characters"),
        ("annabella", "annabella1\nannabella1\n", "too easy to guess"),
        ("a b", f"{GOOD}\n{GOOD}\n", "cannot be used"),
    ],
)
def test_users_that_cannot_be(run_cdc: Callable, name: str, typed: str, message: str) -> None:
    refused = run_cdc("user", "add", name, "--role", "viewer", stdin=typed, code=2)
    assert message in refused.stderr
    assert typed.split("\n", maxsplit=1)[0] not in refused.stdout
    assert json.loads(run_cdc("user", "list", "--json").stdout) == {"users": []}


def test_a_password_that_is_typed_differently_the_second_time_is_asked_for_again(
    run_cdc: Callable, folder: Path
) -> None:
    run_cdc("user", "add", "ann", "--role", "viewer", stdin=f"{GOOD}\nother\n{GOOD}\n{GOOD}\n")
    assert signed_in(folder, "ann", GOOD) == "ann viewer"


def test_a_password_file_that_cannot_be_read(run_cdc: Callable, folder: Path) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe")
    for name, reason in (("nowhere", "No such file"), ("binary", "not UTF-8")):
        refused = run_cdc("user", "add", "ann", "--role", "viewer", "--password-file", name, code=2)
        assert reason in refused.stderr


def test_the_second_factor(run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    (folder / "key").write_text(key)
    (folder / "cdc.toml").write_text('[outbox]\nsecret_key_file = "key"\n')
    run_cdc("user", "add", "ann", "--role", "viewer", "--password-file", "-", stdin=GOOD)
    shown = json.loads(run_cdc("user", "totp", "ann", "--json").stdout)
    now = datetime.now(UTC)
    code = pyotp.TOTP(shown["secret"]).at(now)
    assert shown["uri"] == pyotp.parse_uri(shown["uri"]).provisioning_uri()
    assert signed_in(folder, "ann", GOOD) == "no"
    assert signed_in(folder, "ann", GOOD, code, now) == "ann viewer"
    assert signed_in(folder, "ann", GOOD, code, now) == "no", "a code is taken once, by all processes"
    with closing(sqlite3.connect(folder / "cdc.db")) as db:
        assert shown["secret"] not in "\n".join(db.iterdump())

    monkeypatch.setenv("CDC_SECRET_KEY", f"{new_key()},{key}")
    assert json.loads(run_cdc("outbox", "rekey", "--json").stdout) == {"encrypted": 2}, "and the audit log's key"
    monkeypatch.delenv("CDC_SECRET_KEY")
    assert "encrypted with another key" in run_cdc("user", "list", code=1).stderr


def test_the_second_factor_is_switched_off(run_cdc: Callable, folder: Path) -> None:
    run_cdc("user", "add", "ann", "--role", "viewer", "--password-file", "-", stdin=GOOD)
    assert "otpauth://totp/" in run_cdc("user", "totp", "ann").stdout
    run_cdc("user", "totp", "ann", "--off")
    assert signed_in(folder, "ann", GOOD) == "ann viewer"


def test_the_audit_log(run_cdc: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No entry fits." in run_cdc("audit", "list").stderr
    monkeypatch.setenv("LOGNAME", "rosa")
    text = json.loads(run_cdc("token", "add", "shop", "--scope", "read", "--json").stdout)["token"]
    monkeypatch.setenv("LOGNAME", "ev\x1bil")
    run_cdc("user", "add", "ann", "--role", "viewer", "--password-file", "-", stdin=GOOD)

    def listed(*filters: str) -> list[tuple[str, str, str]]:
        entries = json.loads(run_cdc("audit", "list", "--json", *filters).stdout)["entries"]
        return [(each["actor"], each["action"], each["subject"]) for each in entries]

    both = [("cli:ev?il", "user.add", "user:ann"), ("cli:rosa", "token.add", "token:shop")]
    assert listed() == both
    assert (
        listed("--actor", "cli:rosa")
        == listed("--action", "token.add")
        == listed("--subject", "token:shop")
        == both[1:]
    )
    assert listed("--limit", "1") == both[:1]
    newest = json.loads(run_cdc("audit", "list", "--json").stdout)["entries"][0]
    assert listed("--before", str(newest["number"])) == both[1:]
    assert newest["detail"] == {"role": "viewer"}
    shown = run_cdc("audit", "list").output
    assert '{"role":"viewer"}' in shown
    assert text not in shown + run_cdc("audit", "list", "--json").stdout


def test_changes_of_endpoints_are_in_the_log(run_cdc: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "rosa")
    url = "http://127.0.0.1:9/hook"
    made = json.loads(run_cdc("endpoint", "add", url, "--events", "*", "--json").stdout)["id"]
    for command in (["update", "--timeout", "3"], ["disable"], ["enable"], ["rotate-secret"], ["remove"]):
        run_cdc("endpoint", command[0], made, *command[1:])
    run_cdc("endpoint", "remove", made, code=2)
    entries = json.loads(run_cdc("audit", "list", "--subject", made, "--json").stdout)["entries"]
    assert {each["actor"] for each in entries} == {"cli:rosa"}
    assert [each["action"].removeprefix("endpoint.") for each in reversed(entries)] == [
        "add", "update", "disable", "enable", "rotate-secret", "remove",
    ]  # fmt: skip


def test_nothing_that_opens_a_door_is_in_the_outbox(run_cdc: Callable, folder: Path) -> None:
    run_cdc("user", "add", "ann", "--role", "viewer", "--password-file", "-", stdin=GOOD)
    text = json.loads(run_cdc("token", "add", "shop", "--scope", "read", "--json").stdout)["token"]
    signed_in(folder, "ann", GOOD)
    content = b"".join(path.read_bytes() for path in folder.glob("cdc.db*"))
    assert b"$argon2id$" in content
    for secret in (GOOD, text, text.removeprefix("cdct_")):
        assert secret.encode() not in content
    assert (folder / "cdc.db").stat().st_mode & 0o077 == 0


def test_a_portal_link_is_printed_once_opens_and_is_revoked(run_cdc: Callable, folder: Path) -> None:
    (folder / "cdc.toml").write_text(
        '[source.shop]\nurl = "postgresql://a@localhost/x"\n[web]\nhosts = ["cdc.example.com"]\n'
    )
    add = ("portal-link", "add", "acme", "--source", "shop")
    url = run_cdc(*add).stdout.strip()
    assert re.fullmatch(r"https://cdc\.example\.com/portal/[A-Za-z0-9_-]{43}", url)
    shown = json.loads(run_cdc(*add, "--read-only", "--json").stdout)
    assert (shown["tenant"], shown["sources"], shown["read_only"]) == ("acme", ["shop"], True)
    assert "no source 'nope'" in run_cdc("portal-link", "add", "acme", "--source", "nope", code=2).stderr

    async def open_it() -> str:
        store = open_access(load_config(environment={}, folder=folder))
        await store.open()
        try:
            opened = await SignIn(store, SystemClock()).with_portal_link(url[-43:], address="192.0.2.1")
        finally:
            await store.close()
        return f"{opened.session.user} {opened.session.role} {opened.session.sources}"

    assert asyncio.run(open_it()) == "portal:acme manager ('shop',)"
    assert "Links and sessions ended: 2." in run_cdc("portal-link", "revoke", "acme").stderr
    listed = json.loads(run_cdc("audit", "list", "--json").stdout)
    assert url[-43:] not in json.dumps(listed)


def test_the_audit_log_is_exported_and_verified(run_cdc: Callable, folder: Path) -> None:
    for name in ("shop", "till"):
        run_cdc("token", "add", name, "--scope", "read", "--network", "192.0.2.0/24", "--network", "2001:db8::/48")
    run_cdc("token", "add", "endless", "--scope", "read", "--no-expiry")
    assert (
        "is no network" in run_cdc("token", "add", "x", "--scope", "read", "--network", "192.0.2.1/24", code=2).stderr
    )
    listed = {each["name"]: each for each in json.loads(run_cdc("token", "list", "--json").stdout)["tokens"]}
    assert listed["shop"]["networks"] == ["192.0.2.0/24", "2001:db8::/48"]
    assert (listed["shop"]["expires_at"] is None, listed["endless"]["expires_at"]) == (False, None)
    file = folder / "audit.jsonl"
    file.write_text(run_cdc("audit", "export").stdout, encoding="utf-8")
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4
    assert "3 entries, 1 to 3: none was changed." in run_cdc("audit", "verify", str(file)).stdout
    assert "3 entries are chained, without a key" in run_cdc("audit", "verify").stdout
    narrowed = run_cdc("audit", "export", "--subject", "token:till", "--since", "1h", "--format", "csv").stdout
    assert [line.split(",")[4] for line in narrowed.splitlines()] == ["subject", "token:till"]
    assert run_cdc("audit", "export", "--until", "1h").stdout.count("\n") == 1, "only the end"
    assert "is no entry" in run_cdc("audit", "verify", str(folder / "cdc.toml"), code=2).stderr
    changed = file.read_text(encoding="utf-8").replace("token:till", "token:tell", 1)
    file.write_text(changed, encoding="utf-8")
    assert "entry 2 was changed" in run_cdc("audit", "verify", str(file), code=1).stdout
    with closing(sqlite3.connect(folder / "cdc.db")) as db:
        db.execute("UPDATE audit SET subject = 'token:tell' WHERE number = 2")
        db.commit()
    assert run_cdc("audit", "verify", code=1).stdout.startswith("Entry 2 (")
    doctor = run_cdc("doctor", code=1).stdout
    assert "WRONG    audit log: chain: Entry 2 (" in doctor
    assert "OK       tokens: expiry: Without an end: endless" in doctor
