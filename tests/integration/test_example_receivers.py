"""The receivers of ``docs/examples``, run as their heads say: signature, each event once, the newest wins.

One whose language is not on this machine is named by a skipped test.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cdc.dispatch.request import WebhookRequest, build_batch, build_request
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint
from cdc.model.event import TESTS, event_payload
from support.outboxes import endpoint, event
from support.ports import free_port
from support.waiting import HANG_SECONDS

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@dataclass(frozen=True)
class Example:
    file: str
    program: str
    words: Callable[[str, str, int], list[str]]
    handled: Callable[[Path], list[str]]


def _lines(folder: Path) -> list[str]:
    path = folder / "handled"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def _rows(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "received.db")) as db:
        return [number for (number,) in db.execute("SELECT id FROM handled ORDER BY number")]


LANGUAGES = (
    Example("receiver.py", sys.executable, lambda program, file, port: [program, file, str(port)], _rows),
    Example("receiver.php", "php", lambda program, file, port: [program, "-S", f"127.0.0.1:{port}", file], _lines),
    Example("receiver.mjs", "node", lambda program, file, port: [program, file, str(port)], _lines),
)


@asynccontextmanager
async def running(example: Example, folder: Path, secret: str) -> AsyncIterator[str]:
    """Its URL, once it answers."""
    port = free_port()
    words = example.words(shutil.which(example.program) or example.program, str(EXAMPLES / example.file), port)
    named = {
        "WEBHOOK_SECRET": secret,
        "RECEIVER_FOLDER": str(folder),
        "RECEIVER_DATABASE": str(folder / "received.db"),
    }
    process = await asyncio.create_subprocess_exec(*words, env=os.environ | named)
    try:
        await _answers(port)
        yield f"http://127.0.0.1:{port}/hook"
    finally:
        process.kill()
        await process.wait()


async def _answers(port: int) -> None:
    for _ in range(2400):
        try:
            async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 401
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)  # a process of another language tells nobody that it listens
    raise AssertionError("It does not listen: what it says is above.")


def _leased(number: int, record: str, at: datetime, **fields: Any) -> LeasedDelivery:
    made = event(number, record, time=at, **fields)
    return LeasedDelivery(f"dlv_{number}", "ep_a", made.id, made.name, made.record, 1, at, event_payload(made))


@dataclass
class Sending:
    sender: HttpSender
    endpoint: Endpoint
    now: datetime

    def request(self, number: int, record: str = "facturascli:1", *, earlier: float = 0) -> WebhookRequest:
        leased = _leased(number, record, self.now - timedelta(seconds=earlier))
        return build_request(leased, self.endpoint, self.now)

    async def send(self, request: WebhookRequest) -> int | None:
        return (await self.sender.send(request)).status


@pytest.mark.parametrize("example", LANGUAGES, ids=lambda example: example.file)
async def test_a_receiver_takes_each_genuine_event_once_and_the_newest(example: Example, tmp_path: Path) -> None:
    if shutil.which(example.program) is None:
        pytest.skip(f"{example.file}: not run, for there is no {example.program} on this machine.")
    secret = new_secret()
    async with running(example, tmp_path, secret) as url, HttpSender(allow_private=True) as sender:
        sending = Sending(sender, endpoint(url=url, secret=secret), datetime.now(UTC))
        assert await sending.send(sending.request(1, earlier=60)) == 204
        assert await sending.send(sending.request(1, earlier=60)) == 204, "sent again"
        test = _leased(9, "facturascli:9", sending.now, source=TESTS)
        assert await sending.send(build_request(test, sending.endpoint, sending.now)) == 204, "a test changes nothing"
        assert await sending.send(sending.request(2)) == 204
        assert await sending.send(sending.request(3, earlier=30)) == 204, "older than 2 of the same record"
        assert await sending.send(sending.request(4, "facturascli:2", earlier=30)) == 204, "of another record"
        other = replace(sending.endpoint, secret=new_secret())
        forged = build_request(_leased(5, "facturascli:3", sending.now), other, sending.now)
        assert await sending.send(forged) == 401
        changed = sending.request(5)
        assert await sending.send(changed._replace(body=changed.body.replace(b"1.5", b"9.5"))) == 401
        old = sending.now - timedelta(minutes=10)
        assert await sending.send(build_request(_leased(5, "facturascli:3", old), sending.endpoint, old)) == 401
        rotated = replace(other, former_secret=secret, former_secret_until=sending.now + timedelta(hours=1))
        assert await sending.send(build_request(_leased(6, "clientes:ñ'1", sending.now), rotated, sending.now)) == 204
        batch = [_leased(number, f"productos:{number}", sending.now) for number in (6, 7, 8)]
        wanted = replace(sending.endpoint, batch_size=3)
        assert await sending.send(build_batch(batch, wanted, sending.now)) == 204
    assert example.handled(tmp_path) == ["evt_1", "evt_2", "evt_4", "evt_6", "evt_7", "evt_8"]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA"])
@pytest.mark.parametrize("example", LANGUAGES, ids=lambda example: example.file)
async def test_without_a_secret_a_receiver_takes_nothing(example: Example, secret: str, tmp_path: Path) -> None:
    """Anybody can sign with an empty or a short key."""
    if shutil.which(example.program) is None:
        pytest.skip(f"{example.file}: not run, for there is no {example.program} on this machine.")
    async with (
        running(example, tmp_path, secret) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=BODY, headers=_forged_headers(secret)) as answer,
    ):
        assert answer.status == 401
    assert not (tmp_path / "handled").exists()


async def test_two_lines_of_the_readme_take_nothing_without_a_secret(tmp_path: Path) -> None:
    program = shutil.which("php")
    if program is None:
        pytest.skip("The two lines of the README: not run, for there is no php on this machine.")
    readme = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    lines = readme.partition("```php\n")[2].partition("```")[0]
    (tmp_path / "two.php").write_text(f"<?php $secret = (string) getenv('WEBHOOK_SECRET');\n{lines}", encoding="utf-8")
    two = Example(str(tmp_path / "two.php"), "php", LANGUAGES[1].words, _lines)
    for secret in ("", "whsec_", "whsec_AAAA"):
        async with (
            running(two, tmp_path, secret) as url,
            aiohttp.ClientSession() as session,
            session.post(url, data=BODY, headers=_forged_headers(secret)) as answer,
        ):
            assert answer.status == 401


BODY = b'{"id": "evt_1", "event": "invoice.paid", "source": "main", "key": {}, "timestamp": "2026"}'


def _forged_headers(secret: str) -> dict[str, str]:
    """Signed with what an unset, empty or short secret gives as the key."""
    seconds, key = int(datetime.now(UTC).timestamp()), base64.b64decode(secret.removeprefix("whsec_"))
    value = base64.b64encode(hmac.digest(key, b"evt_1.%d.%b" % (seconds, BODY), "sha256")).decode()
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{value}",
        "X-Webhook-Signature": "sha256=" + hmac.digest(secret.encode(), BODY, "sha256").hex(),
    }


@pytest.mark.parametrize(("file", "program"), [("handler.py", sys.executable), ("handler.php", "php")])
def test_a_handler_takes_each_fetched_event_once_and_no_test(file: str, program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{file}: not run, for there is no {program} on this machine.")
    places = {"HANDLER_FOLDER": str(tmp_path), "HANDLER_DATABASE": str(tmp_path / "received.db")}
    for made in (event(1), event(1), event(2, source=TESTS, record=f"{TESTS}:1"), event(3)):
        subprocess.run(
            [program, str(EXAMPLES / file)],
            input=event_payload(made),
            check=True,
            timeout=HANG_SECONDS,
            env=os.environ | places,
        )
    assert (_rows if file == "handler.py" else _lines)(tmp_path) == ["evt_1", "evt_3"]


def test_each_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("receiver.*")} == {example.file for example in LANGUAGES}


def test_the_sketch_for_woocommerce_is_php() -> None:
    program = shutil.which("php")
    if program is None:
        pytest.skip("The sketch for WooCommerce: not looked at, for there is no php on this machine.")
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    code = text.partition("```php\n")[2].partition("```")[0]
    subprocess.run([program, "-l"], input=code, text=True, check=True, capture_output=True, timeout=HANG_SECONDS)


def test_the_workflow_of_n8n_is_whole() -> None:
    """Each connection joins nodes that there are, and its code is that of docs/signing.md."""
    workflow = json.loads((EXAMPLES / "n8n-workflow.json").read_text(encoding="utf-8"))
    names = {node["name"] for node in workflow["nodes"]}
    joined = {step["node"] for outputs in workflow["connections"].values() for row in outputs["main"] for step in row}
    assert set(workflow["connections"]) | joined == names
    (code,) = [node["parameters"]["jsCode"] for node in workflow["nodes"] if node["type"] == "n8n-nodes-base.code"]
    signing = (EXAMPLES.parent / "signing.md").read_text(encoding="utf-8")
    assert code.strip() in signing
