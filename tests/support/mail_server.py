"""A mail server on loopback that keeps what it takes, and refuses what the test says."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from support.waiting import HANG_SECONDS

PASSWORD = "correct-horse-7"


@dataclass
class Mailbox:
    """``answers``: what is answered to the next mails instead of taking them.  ``unknown``: recipients that are
    refused, with the answer.  ``encrypted``: of each mail taken, whether its connection was."""

    answers: list[str] = field(default_factory=list)
    unknown: Mapping[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.unknown:
            return self.unknown[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message: Any = message_from_bytes(content, policy=default)
        self.mails.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        self.arrived.set()
        return "250 2.0.0 taken"

    def log_in(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(f"{data.login.decode()}:{data.password.decode()}")
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    async def until(self, count: int) -> None:
        """Wait until ``count`` mails have been taken."""
        async with asyncio.timeout(HANG_SECONDS):
            while len(self.mails) < count:
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def mail_server(
    mailbox: Mailbox, *, tls: ssl.SSLContext | None = None, at_once: bool = False, login: bool = False
) -> AsyncIterator[int]:
    """Run a mail server; yield its port.  ``tls``: by STARTTLS, or ``at_once``.  ``login``: with `PASSWORD`."""
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        upgraded: dict[str, Any] = {} if at_once else {"tls_context": tls, "require_starttls": tls is not None}
        if login:
            upgraded |= {"auth_required": True, "auth_require_tls": not at_once, "authenticator": mailbox.log_in}
        with warnings.catch_warnings(action="ignore"):  # of logins without STARTTLS: the connection is encrypted before
            connections.append(SMTP(mailbox, hostname="mail.example.com", loop=loop, **upgraded))
        return connections[-1]

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls if at_once else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            if connection.transport is not None:
                connection.transport.close()
        await server.wait_closed()
