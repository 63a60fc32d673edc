"""Sends what goes to ``mailto:`` endpoints: a plain-text mail for each request, by SMTP.

A mail has the same id whenever the same events are sent: who gets it twice can tell.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Final

import aiosmtplib
import structlog

from cdc.dispatch.deadline import Deadline
from cdc.dispatch.mail_failure import describe, refused_some
from cdc.dispatch.mail_text import mail_text
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.mail_address import recipients

#: How long the server may take to say good-bye (seconds): it has taken the mail by then.
_GOOD_BYE: Final = 1.0
_ACCEPTED: Final = 250
#: Longer headers are folded, which not every mail program undoes well; the standard has its limit at 998.
_LONGEST_HEADER: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MailServer:
    """``tls``: how the server's certificate is verified; None: the connection is not encrypted.  ``at_once``: it is
    from its beginning, not by STARTTLS.  ``user``: empty for none."""

    host: str
    port: int
    sender: str
    tls: ssl.SSLContext | None
    at_once: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self) -> aiosmtplib.SMTP:
        """Of one connection."""
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user or None,
            password=self.password or None,
            local_hostname=_own_name(),
            timeout=None,  # one bound covers the whole exchange
            use_tls=self.tls is not None and self.at_once,
            start_tls=self.tls is not None and not self.at_once,
            tls_context=self.tls,
        )


class MailSender:
    """A `cdc.dispatch.sender.Sender`.  Each mail has a connection of its own.

    Where the server takes a mail for some of its recipients only, it is delivered: sent again, it would reach those
    twice.  The log and the attempt name the others.
    """

    def __init__(self, server: MailServer | None) -> None:
        self._server = server  # None: none is configured

    async def send(self, request: WebhookRequest) -> Answer:
        server = self._server
        if server is None:
            return Answer(None, 0.0, error="No mail server is configured (host under [mail]).")
        now = asyncio.get_running_loop().time
        started = now()
        client = server.client()
        try:
            to = recipients(request.url)
            message = _message(request, server.sender, to)
            with Deadline(request.timeout):
                await client.connect()
                refused, said = await client.sendmail(server.sender, to, message)
            duration = now() - started
            await _say_good_bye(client)
        except Exception as error:  # noqa: BLE001 - any error is a failed attempt; described by its type
            failure = describe(error, server.where, request.timeout)
            return Answer(failure.code, now() - started, body=failure.answer.encode(), error=failure.sentence)
        finally:
            client.close()
        if refused:
            said = f"{said}; {refused_some(refused)}"
            log.warning("mail refused for some recipients", server=server.where, answer=said)
        return Answer(_ACCEPTED, duration, body=said.encode("utf-8", "replace"))


def _message(request: WebhookRequest, sender: str, to: tuple[str, ...]) -> bytes:
    """``webhook-id`` and ``webhook-timestamp`` of the request are the mail's id and date."""
    content = mail_text(request.body)
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = content.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC))
    message["Message-ID"] = f"<{request.headers['webhook-id']}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # nobody's absence is to answer it
    message["X-Webhook-Event"] = request.headers["X-Webhook-Event"]
    message.set_content(content.text, cte="quoted-printable")
    return message.as_bytes(policy=SMTP_POLICY.clone(max_line_length=_LONGEST_HEADER))


async def _say_good_bye(client: aiosmtplib.SMTP) -> None:
    try:
        with Deadline(_GOOD_BYE):
            await client.quit()
    except (aiosmtplib.SMTPException, OSError) as error:  # a TimeoutError is an OSError
        log.debug("mail server gone without a good-bye", error=type(error).__name__)


def _own_name() -> str:
    """How this machine calls itself to the server; looking up its full name could take seconds."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"
