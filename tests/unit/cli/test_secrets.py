"""Signing secrets, key pairs, the key that seals them, and endpoints that are asked first, as their users see them."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from cdc.dispatch.signing import new_secret, public_key, secret_key, verifying_key
from cdc.outbox.secret_box import new_key
from support.http_servers import served

URL = "http://127.0.0.1:9/hook"


def added(run_cdc: Callable, *options: str, stdin: str = "") -> dict:
    made: dict = json.loads(run_cdc("endpoint", "add", URL, "--events", "*", *options, "--json", stdin=stdin).stdout)
    return made


def shown(run_cdc: Callable, identity: str) -> dict:
    found: dict = json.loads(run_cdc("endpoint", "show", identity, "--json").stdout)
    return found


def stored_secrets(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "cdc.db")) as db:
        return [secret for (secret,) in db.execute("SELECT secret FROM endpoint ORDER BY number")]


def test_a_key_pair_is_made_and_only_its_public_half_is_ever_shown(run_cdc: Callable, folder: Path) -> None:
    made = added(run_cdc, "--signature", "v1a")
    assert (made["signature"], "secret" in made) == ("v1a", False)
    verifying_key(made["public_key"])
    identity = made["id"]
    assert shown(run_cdc, identity)["public_key"] == made["public_key"]
    (private,) = stored_secrets(folder)
    assert public_key(private) == made["public_key"]
    text = run_cdc("endpoint", "show", identity).output + run_cdc("endpoint", "list", "--json").output
    assert made["public_key"] in text
    assert private not in text
    by_hand = run_cdc("endpoint", "add", URL, "--events", "*", "--signature", "v1a").output
    assert "whpk_" in by_hand
    assert "whsk_" not in by_hand


def test_a_private_key_of_ones_own(run_cdc: Callable) -> None:
    private = "whsk_" + base64.b64encode(b"k" * 32).decode()
    made = added(run_cdc, "--secret", "-", stdin=private)
    assert made["public_key"] == public_key(private)
    refused = run_cdc("endpoint", "add", URL, "--events", "*", "--signature", "v1", "--secret", private, code=2)
    assert "does not fit the signature v1" in refused.stderr
    assert private not in refused.output


def test_rotation_keeps_the_kind_or_changes_it(run_cdc: Callable) -> None:
    made = added(run_cdc, "--signature", "v1a")
    identity, first = made["id"], made["public_key"]
    rotated = json.loads(run_cdc("endpoint", "rotate-secret", identity, "--json").stdout)
    assert rotated["public_key"] not in {None, first}
    assert (rotated["former_public_key"], "secret" in rotated) == (first, False)
    assert rotated["former_secret_until"]
    symmetric = json.loads(run_cdc("endpoint", "rotate-secret", identity, "--signature", "v1", "--json").stdout)
    assert secret_key(symmetric["secret"])
    assert (symmetric["signature"], symmetric["public_key"]) == ("v1", None)
    assert symmetric["former_public_key"] == rotated["public_key"]
    assert json.loads(run_cdc("endpoint", "rotate-secret", identity, "--json").stdout)["signature"] == "v1"
    assert "public key" in run_cdc("endpoint", "rotate-secret", identity, "--signature", "v1a").stdout
    run_cdc("endpoint", "rotate-secret", "ep_none", code=2)


def test_secrets_are_sealed_from_the_moment_a_key_is_there(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch, installer: object
) -> None:
    secret = added(run_cdc)["secret"]
    assert stored_secrets(folder) == [secret]
    assert (
        "WARNING  outbox: secrets: The endpoints' secrets and URLs are stored in plain text" in run_cdc("doctor").stdout
    )
    assert "no key to encrypt with" in run_cdc("outbox", "rekey", code=2).stderr

    first = run_cdc("outbox", "new-key").stdout.strip()
    (folder / "key").write_text(first)
    config = folder / "cdc.toml"
    config.write_text(config.read_text() + '[outbox]\nsecret_key_file = "key"\n')
    assert "OK       outbox: secrets: The secrets are encrypted." in run_cdc("doctor").stdout
    assert secret not in stored_secrets(folder)[0]

    second = new_key()
    monkeypatch.setenv("CDC_SECRET_KEY", f"{second},{first}")
    assert "3 secrets are encrypted with a former key" in run_cdc("doctor").stdout
    assert json.loads(run_cdc("outbox", "rekey", "--json").stdout) == {"encrypted": 3}, "and the key of the audit log"
    assert "the former one is not needed" in run_cdc("doctor").stdout
    assert installer


def test_a_missing_or_wrong_key_is_one_sentence(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch, installer: object
) -> None:
    key = new_key()
    monkeypatch.setenv("CDC_SECRET_KEY", key)
    identity = added(run_cdc)["id"]
    before = stored_secrets(folder)
    wrong = new_key()
    for variable, sentence in (("", "no key is configured"), (wrong, "another key than is configured")):
        monkeypatch.setenv("CDC_SECRET_KEY", variable)
        for command in (["endpoint", "list"], ["outbox", "rekey"], ["doctor"], ["run"]):
            if command == ["outbox", "rekey"] and not variable:
                continue
            told = run_cdc(*command, code=1)
            assert sentence in told.output
            assert len(told.output.splitlines()) <= 8
            assert not variable or variable not in told.output
    assert stored_secrets(folder) == before
    monkeypatch.setenv("CDC_SECRET_KEY", "hunter2")
    assert "CDC_SECRET_KEY holds something that is no key" in run_cdc("endpoint", "list", code=2).stderr
    monkeypatch.setenv("CDC_SECRET_KEY", key)
    assert shown(run_cdc, identity)["id"] == identity
    assert installer


@contextmanager
def answering(**headers: str) -> Iterator[str]:
    """The URL of a server, in a thread of its own, that answers OPTIONS with these headers (_ stands for -)."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={name.replace("_", "-"): value for name, value in headers.items()})

    app = web.Application()
    app.router.add_route("OPTIONS", "/any/path", answer)
    with ThreadPoolExecutor(1) as pool, asyncio.Runner() as runner:
        loop = runner.get_loop()
        server = served(app)
        done = asyncio.Event()
        url = loop.run_until_complete(server.__aenter__())
        running = pool.submit(loop.run_until_complete, done.wait())
        try:
            yield url
        finally:
            loop.call_soon_threadsafe(done.set)
            running.result()
            loop.run_until_complete(server.__aexit__(None, None, None))


def test_an_endpoint_is_asked_and_agrees(run_cdc: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_DISPATCH_ORIGIN", "events.example.com")
    with answering(webhook_allowed_origin="events.example.com", webhook_allowed_rate="60") as url:
        result = run_cdc("endpoint", "add", url, "--events", "*", "--validate", "--json")
        assert "agrees to get events from events.example.com, at up to 60 requests a minute." in result.stderr
        identity = json.loads(result.stdout)["id"]
        assert shown(run_cdc, identity)["origin"] == "events.example.com"
        assert "events.example.com" in run_cdc("endpoint", "show", identity).stdout
        run_cdc("endpoint", "update", identity, "--url", f"{url}?x=1")
        assert json.loads(run_cdc("endpoint", "update", identity, "--no-validate", "--json").stdout)["origin"] is None
        run_cdc("endpoint", "update", identity, "--validate")
        assert shown(run_cdc, identity)["origin"] == "events.example.com"
    refused = run_cdc("endpoint", "update", identity, "--url", URL, code=1)
    assert "not validated" in refused.stderr
    assert shown(run_cdc, identity)["url"] == f"{url}?x=1", "nothing was changed"
    run_cdc("endpoint", "update", identity, "--url", URL, "--no-validate")
    assert shown(run_cdc, identity)["origin"] is None


@pytest.mark.parametrize(("allowed", "given", "rate"), [("60", [], 1.0), ("60", ["--rate", "5"], 5.0), ("*", [], 0.0)])
def test_the_rate_that_is_allowed_is_kept_to_unless_one_is_given(
    run_cdc: Callable, allowed: str, given: list[str], rate: float
) -> None:
    with answering(webhook_allowed_origin="*", webhook_allowed_rate=allowed) as url:
        result = run_cdc("endpoint", "add", url, "--events", "*", "--validate", "--json", *given)
        assert json.loads(result.stdout)["rate"] == rate
        identity = json.loads(result.stdout)["id"]
        run_cdc("endpoint", "update", identity, "--rate", "0.5")
        run_cdc("endpoint", "update", identity, "--validate")
        assert shown(run_cdc, identity)["rate"] == 0.5, "lower than what is allowed"


def test_an_endpoint_that_does_not_agree_is_not_added(run_cdc: Callable) -> None:
    with answering(allow="POST") as url:
        refused = run_cdc("endpoint", "add", url, "--events", "*", "--validate", code=1)
    assert "does not agree" in refused.stderr
    assert "no endpoint yet" in run_cdc("endpoint", "list").stderr


def test_listen_takes_a_public_key(run_cdc: Callable) -> None:
    assert "does not start with whsec_" in run_cdc("listen", "--secret", "whsk_x", code=2).stderr
    assert "not 32" in run_cdc("listen", "--secret", "whpk_" + base64.b64encode(b"x").decode(), code=2).stderr
    assert new_secret() not in run_cdc("listen", "--help").output


def test_lists_show_no_secret_of_a_chat(run_cdc: Callable) -> None:
    url = "https://api.telegram.org/bot123:SECRET/sendMessage?chat_id=5"
    added = run_cdc("endpoint", "add", url, "--preset", "telegram", "--events", "invoice.paid", "--name", "Chat")
    identity = added.stdout.split()[1]
    for text in (
        added.output,
        run_cdc("endpoint", "list").output,
        run_cdc("endpoint", "update", identity, "--rate", "1").output,
    ):
        assert "SECRET" not in text
    assert "bot123:SECRET" in run_cdc("endpoint", "show", identity, "--json").stdout
