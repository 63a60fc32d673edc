"""The code that ``docs/signing.md`` gives receivers, run on requests that went through a socket.

A language that is not on this machine is named by a skipped test.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import Signature, new_secret, public_key, verify
from cdc.pages.views.endpoints import snippets
from support.http_servers import served
from support.signed import signed_request
from support.snippets import DOCUMENT, LANGUAGES, Case, Language, judged, snippet

Send = Callable[..., Awaitable[Case]]


@asynccontextmanager
async def sending() -> AsyncIterator[Send]:
    """A function that sends one signed request to a server, and gives it as it arrived there."""
    arrived: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        arrived.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    async with served(app) as url, HttpSender(allow_private=True) as sender:

        async def send(verifying: str, *, late: float = 0, **fields: Any) -> Case:
            at = datetime.now(UTC) - timedelta(seconds=late)
            answer = await sender.send(signed_request(at, url, **fields))
            assert answer.status == 204
            headers, body = arrived.pop()
            return Case(verifying, headers, body)

        yield send


def _changed(case: Case, **headers: str) -> Case:
    return Case(
        case.secret, {**case.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}, case.body
    )


async def _cases(signature: Signature) -> list[tuple[Case, bool]]:
    """Requests, and whether they are genuine."""
    secret, former = new_secret(signature), new_secret(signature)
    key, former_key, other = ((public_key(each) or each) for each in (secret, former, new_secret(signature)))
    rotated = {"secret": secret, "former_secret": former, "former_secret_until": datetime.now(UTC) + timedelta(hours=1)}
    async with sending() as send:
        right = await send(key, secret=secret)
        second = await send(key, secret=secret)
        return [
            (right, True),
            (await send(key, **rotated), True),
            (await send(former_key, **rotated), True),
            (await send(key, secret=secret, late=200), True),
            (await send(key, secret=secret, late=400), False),
            (await send(key, secret=secret, late=-400), False),
            (await send(other, secret=secret), False),
            (Case(key, right.headers, right.body + b" "), False),
            (_changed(right, webhook_id="evt_other"), False),
            (_changed(right, webhook_timestamp=str(int(right.headers["webhook-timestamp"]) + 1)), False),
            (_changed(right, webhook_timestamp="soon"), False),
            (_changed(right, webhook_timestamp=""), False),
            (_changed(right, webhook_signature="v1, v1a, , v2,x"), False),
            (_changed(second, webhook_signature=f"v9,x {second.headers['webhook-signature']}"), True),
        ]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.title)
async def test_the_code_of_the_document_verifies_real_requests(language: Language, tmp_path: Path) -> None:
    if not language.available():
        pytest.skip(f"{language.title}: not run, for there is no {language.program} on this machine.")
    judged(language, [], tmp_path)  # Go and C# compile for a minute on a busy machine: requests would grow too old
    for signature in language.signatures:
        cases = await _cases(Signature(signature))
        told = judged(language, [case for case, _ in cases], tmp_path)
        assert told == [genuine for _, genuine in cases], signature


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.title)
def test_without_a_secret_the_code_of_the_document_believes_nobody(language: Language, tmp_path: Path) -> None:
    """Anybody can sign with an empty or a short key: a variable that is not set must not open the receiver."""
    if not language.available():
        pytest.skip(f"{language.title}: not run, for there is no {language.program} on this machine.")
    cases = [_forged(secret, key) for secret, key in UNSET]
    assert judged(language, cases, tmp_path) == [False] * len(cases)


#: What a receiver has where its secret should be, and the key that follows from it.
UNSET = (("", b""), ("whsec_", b""), ("whpk_", b""), ("whsec_AAAA", b"\0\0\0"), ("whsec_====", b""), ("whsec", b""))


def _forged(secret: str, key: bytes) -> Case:
    body, seconds = b'{"event": "invoice.paid"}', int(datetime.now(UTC).timestamp())
    signed = b"evt_1.%d.%b" % (seconds, body)
    value = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{value} v1a,{value}",
    }
    return Case(secret, headers, body)


@pytest.mark.parametrize("signature", list(Signature))
async def test_our_own_receiver_agrees(signature: Signature) -> None:
    for case, genuine in await _cases(signature):
        headers = {name: value for name, value in case.headers.items() if name != "x-webhook-signature"}
        found = verify(case.secret, headers, case.body, datetime.now(UTC))
        if signature is Signature.V1A:
            assert found.verified is genuine
        else:
            assert found.reason == "The header x-webhook-signature is missing."


def test_each_language_of_the_document_is_run() -> None:
    titles = re.findall(r"^### (.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [language.title for language in LANGUAGES]


def test_the_page_shows_the_code_of_the_document() -> None:
    titles = {"Node.js": "Node"}
    for shown in snippets():
        assert shown.code.strip() == snippet(titles.get(shown.title, shown.title)).strip(), shown.title
