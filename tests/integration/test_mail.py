"""Mail to a real server: what arrives, what it refuses, and what the attempt says of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest
import trustme

from cdc.dispatch.mail import MailSender, MailServer
from cdc.dispatch.request import build_batch, build_request
from cdc.dispatch.retry import Answer, judge
from cdc.model.delivery import DeliveryState, LeasedDelivery
from cdc.model.endpoint import Endpoint, PayloadFormat
from cdc.model.event import Event, event_payload
from cdc.model.operation import examples
from support.dispatching import endpoint
from support.dispatching import event as row_event
from support.http_faults import receiver, refusing
from support.mail_server import PASSWORD, Mailbox, mail_server
from support.manual_clock import START

DISABLED = examples()["endpoint.disabled"]


def leased(event: Event) -> LeasedDelivery:
    return LeasedDelivery("dlv_1", "ep_1", event.id, event.name, event.record, 1, START, event_payload(event))


def ops(addresses: str = "ops@example.com", **changes: Any) -> Endpoint:
    return endpoint(f"mailto:{addresses}", **changes)


def plain(port: int, **changes: Any) -> MailServer:
    return replace(MailServer("127.0.0.1", port, "cdc@mail.example.com", None), **changes)


async def send(server: MailServer, to: Endpoint | None = None, event: Event = DISABLED) -> Answer:
    return await MailSender(server).send(build_request(leased(event), to or ops(), START))


def text(mail: EmailMessage) -> str:
    return mail.get_content()


async def test_an_operational_event_arrives_in_sentences() -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        answer = await send(plain(port), ops("ops@example.com,boss@example.com"))
    assert (answer.status, answer.body, answer.error) == (250, b"2.0.0 taken", "")
    (mail,) = mailbox.mails
    assert mailbox.recipients == [["ops@example.com", "boss@example.com"]]
    assert mail["To"] == "ops@example.com, boss@example.com"
    assert mail["From"] == "cdc@mail.example.com"
    subject = str(mail["Subject"])
    assert subject.startswith("[facturascripts-cdc] endpoint.disabled: endpoint ep_4f1d2c90ab37e856 (Shop): ")
    assert subject.endswith("shop.example.com refused the connection.")
    assert mail["Message-ID"] == f"<{DISABLED.id}@mail.example.com>"
    assert mail["Date"] == "Tue, 24 Nov 2026 21:48:00 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Webhook-Event"] == "endpoint.disabled"
    assert mail.get_content_type() == "text/plain"
    assert text(mail).startswith(
        "Endpoint ep_4f1d2c90ab37e856 (Shop) is disabled: It has accepted nothing for 5 days. "
        "Deliveries waiting: 37. cdc endpoint enable ep_4f1d2c90ab37e856 sends them."
    )


async def test_whatever_a_record_holds_stays_in_its_place() -> None:
    """No line of a key, a name or a value becomes a header, or an end of the mail."""
    hostile = "x\r\nBcc: victim@example.com\r\n\r\n.\r\nMAIL FROM:<y>"
    event = row_event(1)._replace(
        key={"codcliente": hostile}, data={"nombre": f"Ñandú “{hostile}”", "nota": ".\n..\n."}
    )
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        assert (await send(plain(port), event=event)).status == 250
    (mail,) = mailbox.mails
    assert mailbox.recipients == [["ops@example.com"]]
    assert "Bcc" not in mail
    assert "codcliente x Bcc: victim@example.com" in " ".join(str(mail["Subject"]).split()).replace("   ", " ")
    assert "Ñandú “x  Bcc" in text(mail)
    assert "nota: . .. ." in text(mail)


@pytest.mark.parametrize("wanted", list(PayloadFormat))
async def test_a_mail_is_the_same_whatever_the_format(wanted: PayloadFormat) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        assert (await send(plain(port), ops(format=wanted))).status == 250
    assert text(mailbox.mails[0]).startswith("Endpoint ep_4f1d2c90ab37e856 (Shop) is disabled")


async def test_a_batch_is_one_mail() -> None:
    events = [row_event(number) for number in range(3)] + [DISABLED]
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        request = build_batch([leased(event) for event in events], ops(batch_size=10), START)
        assert (await MailSender(plain(port)).send(request)).status == 250
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[facturascripts-cdc] 4 events: invoice.paid, endpoint.disabled"
    assert text(mail).count("invoice.paid: idfactura ") == 3
    assert mail["Message-ID"] == f"<{request.headers['webhook-id']}@mail.example.com>"


@pytest.mark.parametrize("at_once", [False, True])
async def test_encrypted_with_a_login(at_once: bool) -> None:
    async with encrypted(at_once=at_once, login=True) as (mailbox, server):
        assert (await send(replace(server, user="cdc", password=PASSWORD))).status == 250
        assert mailbox.logins == [f"cdc:{PASSWORD}"]
        assert mailbox.encrypted == [True]
        answer = await send(replace(server, user="cdc", password="planted"))
    assert answer.status == 535
    assert answer.error == f"{server.where} refused user and password: 535 5.7.8 Authentication credentials invalid."
    assert "planted" not in repr(server)


async def test_a_certificate_that_is_not_trusted() -> None:
    async with encrypted() as (mailbox, server):
        answer = await send(replace(server, tls=ssl.create_default_context()))
    assert answer.status is None
    assert (
        answer.error == f"The TLS certificate of {server.where} is not valid: unable to get local issuer certificate."
    )
    assert mailbox.mails == []


async def test_nothing_is_sent_unencrypted_when_it_should_not_be() -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        answer = await send(plain(port, tls=ssl.create_default_context(), user="cdc", password="planted"))
    assert answer.status is None
    assert answer.error.startswith(f"127.0.0.1:{port} does not accept mail as configured: ")
    assert (mailbox.mails, mailbox.logins) == ([], [])


@asynccontextmanager
async def encrypted(*, at_once: bool = False, login: bool = False) -> AsyncIterator[tuple[Mailbox, MailServer]]:
    """A server whose certificate is issued by an authority of its own, and how to reach it."""
    authority = trustme.CA()
    offered, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(offered)
    authority.configure_trust(trusted)
    mailbox = Mailbox()
    async with mail_server(mailbox, tls=offered, at_once=at_once, login=login) as port:
        yield mailbox, plain(port, tls=trusted, at_once=at_once)


@pytest.mark.parametrize("said", ["451 4.3.0 try again later", "554 5.7.1 not wanted here", "410 gone away"])
async def test_what_the_server_refuses_follows_the_schedule(said: str) -> None:
    mailbox = Mailbox(answers=[said])
    async with mail_server(mailbox) as port:
        answer = await send(plain(port))
        assert (await send(plain(port))).status == 250
    assert answer.status == (None if said.startswith("410") else int(said[:3]))  # 410 has a meaning of its own
    assert answer.error == f"127.0.0.1:{port} refused the mail: {said}."
    verdict = judge(answer, (5.0,), 1, START, lambda: 0.0)
    assert (verdict.state, verdict.error) == (DeliveryState.PENDING, answer.error)
    assert judge(answer, (5.0,), 2, START, lambda: 0.0).state is DeliveryState.DEAD


async def test_taken_for_some_is_delivered_and_says_for_whom_not() -> None:
    mailbox = Mailbox(unknown={"gone@example.com": "550 5.1.1 no such user"})
    async with mail_server(mailbox) as port:
        answer = await send(plain(port), ops("gone@example.com,ops@example.com"))
        assert mailbox.recipients == [["ops@example.com"]]
        nobody = await send(plain(port), ops("gone@example.com"))
    assert (answer.status, answer.error) == (250, "")
    assert answer.body == b"2.0.0 taken; gone@example.com refused: 550 5.1.1 no such user"
    assert nobody.status == 550
    assert nobody.error == (
        f"127.0.0.1:{port} accepted the mail for no recipient: gone@example.com refused: 550 5.1.1 no such user."
    )


async def test_a_server_that_is_not_there_hangs_or_hangs_up() -> None:
    hung = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        hung.set()
        await reader.read()

    async def shut_down(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with refusing() as port:
        answer = await send(plain(port))
        assert (answer.status, answer.error) == (None, f"127.0.0.1:{port} refused the connection.")
    async with receiver(hang) as port:
        answer = await send(plain(port), ops(timeout=0.2))
        assert (answer.status, answer.error) == (None, f"127.0.0.1:{port} did not accept the mail within 0.2 s.")
    async with receiver(shut_down) as port:
        answer = await send(plain(port))
        expected = f"127.0.0.1:{port} closed the connection before it accepted the mail."
        assert (answer.status, answer.error) == (None, expected)


async def test_without_a_server_it_says_so() -> None:
    answer = await MailSender(None).send(build_request(leased(DISABLED), ops(), START))
    assert (answer.status, answer.error) == (None, "No mail server is configured (host under [mail]).")


async def test_a_name_that_is_unknown() -> None:
    answer = await send(replace(plain(25), host="mail.invalid"))
    assert answer.status is None
    assert answer.error.startswith("mail.invalid:25 cannot be reached: ")
    assert answer.error != "mail.invalid:25 cannot be reached: gaierror."
