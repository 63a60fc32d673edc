"""Deliveries to receivers that ask who sends (mTLS): with the certificate that the endpoint names, and only with it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender, client_context
from cdc.model.errors import ConfigError
from support.http_faults import read_request, receiver
from support.signed import signed_request

SERVERS = trustme.CA()
CLIENTS = trustme.CA()
STRANGERS = trustme.CA()


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """The certificate of ``sender``, with its key."""
    path = tmp_path / "bank.pem"
    CLIENTS.issue_cert("sender", common_name="sender").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def presenting(path: Path) -> ssl.SSLContext:
    context = client_context("bank", path)
    SERVERS.configure_trust(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    SERVERS.configure_trust(context)
    return context


@asynccontextmanager
async def asking(visitors: list[str]) -> AsyncIterator[str]:
    """The URL of a receiver that takes requests only with a certificate of `CLIENTS`; it notes their names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    SERVERS.issue_cert("localhost").configure_cert(context)
    CLIENTS.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            subject = dict(pair for (pair,) in writer.get_extra_info("peercert")["subject"])
            visitors.append(subject["commonName"])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()

    async with receiver(behave, context) as port:
        yield f"https://localhost:{port}/"


def sender_with(*certificates: tuple[str, ssl.SSLContext]) -> HttpSender:
    return HttpSender(allow_private=True, tls=trusting(), client_certificates=dict(certificates))


async def test_a_receiver_that_asks_gets_the_certificate_named(pem: Path) -> None:
    visitors: list[str] = []
    async with asking(visitors) as url, sender_with(("bank", presenting(pem))) as sender:
        for _ in range(2):
            answered = await sender.send(signed_request(url=url, client_certificate="bank"))
            assert (answered.status, answered.error) == (204, "")
    assert visitors == ["sender", "sender"]


async def test_connections_with_and_without_it_are_not_mixed_up(pem: Path) -> None:
    """The pool holds a connection that the certificate opened: an endpoint without it must not get that one."""
    visitors: list[str] = []
    async with asking(visitors) as url, sender_with(("bank", presenting(pem))) as sender:
        await sender.send(signed_request(url=url, client_certificate="bank"))
        without = await sender.send(signed_request(url=url))
    assert without.status is None
    assert visitors == ["sender"]


async def without_and_strange(tmp_path: Path) -> list[Answer]:
    strange = tmp_path / "strange.pem"
    STRANGERS.issue_cert("stranger").private_key_and_cert_chain_pem.write_to_path(str(strange))
    async with asking([]) as url, sender_with(("strange", presenting(strange))) as sender:
        return [await sender.send(signed_request(url=url, client_certificate=name)) for name in ("", "strange")]


async def test_without_the_right_one_the_attempt_fails_with_a_sentence(tmp_path: Path) -> None:
    for answered in await without_and_strange(tmp_path):
        assert answered.status is None
        assert "localhost:" in answered.error


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="not made for this platform")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [each.status for each in runner.run(without_and_strange(tmp_path))] == [None, None]


async def test_a_certificate_that_the_configuration_does_not_have() -> None:
    async with HttpSender() as sender:
        answered = await sender.send(signed_request(url="https://shop.example/", client_certificate="bank"))
    assert answered.error == "The configuration has no client certificate named 'bank', which the endpoint names."


def encrypted(path: Path) -> str:
    text = path.read_bytes()
    key = serialization.load_pem_private_key(text, None)
    hidden = serialization.BestAvailableEncryption(b"hunter2")
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return private.decode() + CLIENTS.cert_pem.bytes().decode()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("missing", "cannot be read: No such file or directory"),
        ("garbage", "is not usable: "),
        ("certificate alone", "is not usable: "),
        ("another key", "is not usable: key values mismatch"),
        ("encrypted", "has a private key that is encrypted"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, pem: Path, what: str, told: str) -> None:
    path = tmp_path / "bad.pem"
    key_of_another = CLIENTS.issue_cert("other").private_key_pem.bytes().decode()
    texts = {
        "garbage": "hunter2",
        "certificate alone": CLIENTS.cert_pem.bytes().decode(),
        "another key": key_of_another + CLIENTS.issue_cert("sender").cert_chain_pems[0].bytes().decode(),
        "encrypted": encrypted(pem),
    }
    if what in texts:
        path.write_text(texts[what])
    with pytest.raises(ConfigError) as refused:
        client_context("bank", path)
    assert f"The client certificate 'bank' in {path} {told}" in str(refused.value)
    assert "PEM without a password" in str(refused.value)
    assert "hunter2" not in str(refused.value)
