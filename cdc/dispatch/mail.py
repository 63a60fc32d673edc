"""Sends what goes to ``mailto:`` endpoints: a plain-text mail for each request, by SMTP.

A mail has the same id whenever the same events are sent, so that a receiver recognises a repetition."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiosmtplib
import orjson
import structlog

from cdc.dispatch.failure import system_error
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import Deadline
from cdc.language import DEFAULT, terminal_messages
from cdc.model.endpoint import recipients
from cdc.model.event import OPERATIONS

#: How long the server may take to say good-bye (seconds): it has taken the mail by then.
_GOOD_BYE: Final = 1.0
_ACCEPTED: Final = 250
#: Longer headers are folded, which not every mail program undoes well; the standard has its limit at 998.
_LONGEST_HEADER: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MailServer:
    """``tls``: how the server's certificate is verified; None: the connection is not encrypted.  ``at_once``: it is
    from its beginning, not by STARTTLS.  ``user``: empty for none.  ``language``: of the mails.  ``page``: the address
    of the page, which mails about this program link to; empty for none."""

    host: str
    port: int
    sender: str
    tls: ssl.SSLContext | None
    at_once: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    language: str = DEFAULT
    page: str = ""

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self) -> aiosmtplib.SMTP:
        """Return a client for one connection."""
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
            message = _message(request, server, to)
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


def _message(request: WebhookRequest, server: MailServer, to: tuple[str, ...]) -> bytes:
    """``webhook-id`` and ``webhook-timestamp`` of the request are the mail's id and date."""
    content, sender = mail_text(request.body, server.language, server.page), server.sender
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
    """Return this machine's name for the greeting; looking up its full name could take seconds."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"


# -- failures ----------------------------------------------------------------------------------------------------------


_LONGEST = 300  # characters of what a server says


class MailFailure(NamedTuple):
    """``code``: the server's, None without one.  ``answer``: its words."""

    code: int | None
    answer: str
    sentence: str


def describe(error: Exception, where: str, seconds: float) -> MailFailure:
    """``where``: the server.  ``seconds``: the time that it had."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refused = {each.recipient: (each.code, each.message) for each in error.recipients}
        return _answered(error.recipients[0].code, refused_some(refused), f"{where} accepted the mail for no recipient")
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return _answered(error.code, error.message, f"{where} refused user and password")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _answered(error.code, error.message, f"{where} refused the mail")
    return MailFailure(None, "", _without_answer(error, where, seconds))


def refused_some(refused: Mapping[str, tuple[int, str]]) -> str:
    """``refused``: recipient → code and words."""
    return "; ".join(f"{recipient} refused: {code} {_words(text)}" for recipient, (code, text) in refused.items())


def _answered(code: int, text: str, what: str) -> MailFailure:
    words = _words(text)
    shown = words if words.startswith(str(code)) or " refused: " in words else f"{code} {words}".strip()
    status = code if code in _FAILURES and code != HTTPStatus.GONE else None  # which mail does not have
    return MailFailure(status, words, f"{what}: {shown.rstrip('.')}.")


_FAILURES = range(400, 600)


# The first that fits words it.
_SENTENCES: list[tuple[type[BaseException], str]] = [
    (ssl.SSLCertVerificationError, "The TLS certificate of {where} is not valid: {detail}."),
    (ssl.SSLError, "TLS with {where} failed: {detail}."),
    (TimeoutError, "{where} did not accept the mail within {seconds:g} s."),
    (ConnectionRefusedError, "{where} refused the connection."),
    (ConnectionError, "{where} closed the connection before it accepted the mail."),
    (aiosmtplib.SMTPException, "{where} does not accept mail as configured: {detail}."),
    (OSError, "{where} cannot be reached: {detail}."),
    (Exception, "The mail to {where} failed: {detail}."),
]


def _without_answer(error: Exception, where: str, seconds: float) -> str:
    cause = system_error(error)
    sentence = next(text for kind, text in _SENTENCES if isinstance(cause, kind))
    return sentence.format(where=where, seconds=seconds, detail=_detail(cause).rstrip("."))


def _detail(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    if isinstance(cause, aiosmtplib.SMTPException):
        return _words(cause.message)
    if isinstance(cause, OSError) and cause.errno:
        return (
            os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        )  # below 0: of a name that is unknown
    return type(cause).__name__


def _words(text: str) -> str:
    """Return the text on one line, cut to `_LONGEST` characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


# -- text --------------------------------------------------------------------------------------------------------------


#: Before each subject, so that mail can be sorted by it.
MARK: Final = "[facturascripts-cdc]"
#: A longer subject, value or list of values is cut; so is a text with more lines.
_LONGEST_SUBJECT: Final = 150
_LONGEST_VALUE: Final = 200
_MOST_VALUES: Final = 100
_MOST_LINES: Final = 5_000

Payload = Mapping[str, Any]


class MailText(NamedTuple):
    """``subject``: one line."""

    subject: str
    text: str


#: Operational event → what waits, and the page that shows it.
_CONSEQUENCES: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint.failing": ("They are tried again.", "/endpoints/{endpoint}"),
    "endpoint.disabled": ("", "/endpoints/{endpoint}"),
    "endpoint.recovered": ("What waited is being sent.", "/endpoints/{endpoint}"),
    "source.stalled": ("Nothing is lost: its changes wait in the database until they can be read.", "/sources"),
    "source.resumed": ("What waited is being read.", "/sources"),
    "source.gap": ("", "/sources"),
}


def mail_text(body: bytes, language: str = DEFAULT, page: str = "") -> MailText:
    """``body``: one payload as JSON, or an array of them.  ``page``: the page's address, for links to it."""
    spoken = terminal_messages(language).translate
    parsed = orjson.loads(body)
    events: list[Payload] = parsed if isinstance(parsed, list) else [parsed]
    lines = [line for event in events for line in (*_event(event, spoken, page), "")]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], spoken(f"… and {len(lines) - _MOST_LINES} lines more")]
    return MailText(_cut(f"{MARK} {_subject(events, spoken)}", _LONGEST_SUBJECT), "\n".join(lines))


def _subject(events: Sequence[Payload], spoken: Callable[[str], str]) -> str:
    """Return what happened to what; of an endpoint in trouble, also the cause."""
    if len(events) > 1:
        names = ", ".join(dict.fromkeys(event["event"] for event in events))
        return f"{spoken(f'{len(events)} events')}: {names}"
    (event,) = events
    subject, data = f"{event['event']}: {_key(event, spoken)}", event["data"]
    if event["source"] != OPERATIONS:
        return subject
    named = f" ({data['description']})" if data.get("description") else ""
    cause = data.get("last_error") if event["event"] in ("endpoint.failing", "endpoint.disabled") else ""
    return f"{subject}{named}" + (f": {_line(spoken(cause))}" if cause else "")


def _event(event: Payload, spoken: Callable[[str], str], page: str) -> Iterator[str]:
    if event["source"] == OPERATIONS:
        yield from _operational(event, spoken, page)
    else:
        yield from _of_record(event, spoken)
    yield ""
    yield f"{spoken('time')}: {event['timestamp']}"
    yield f"{spoken('event')}: {event['id']}"


def _operational(event: Payload, spoken: Callable[[str], str], page: str) -> Iterator[str]:
    """Yield the message, which has the cause, what waits, and where to see it; and then the other fields."""
    data = dict(event["data"])
    waiting, place = _CONSEQUENCES.get(event["event"], ("", "/"))
    yield _line(spoken(data.pop("message", event["event"])))
    if waiting:
        yield spoken(waiting)
    if page:
        yield f"{spoken('See')}: {page.rstrip('/')}{place.format_map(event['key'])}"
    yield ""
    yield event["event"]
    yield from _values({name: spoken(each) if isinstance(each, str) else each for name, each in data.items()}, spoken)


def _of_record(event: Payload, spoken: Callable[[str], str]) -> Iterator[str]:
    yield f"{event['event']}: {_key(event, spoken)} ({spoken('source')} {event['source']})"
    yield ""
    if (days := event.get("days")) is not None:
        yield spoken(
            f"{days} days after the date." if days > 0 else f"{-days} days before the date." if days else "Today."
        )
    if event.get("inferred"):
        yield spoken("A conclusion: the row alone cannot tell for certain.")
    if event.get("test"):
        yield spoken("A test of this endpoint: no record was changed.")
    if event.get("observed"):
        yield spoken("Found by comparing: what the row was in between is not known.")
    if (previous := event.get("previous")) is not None:
        data = event["data"]
        yield from _values({name: _Changed(former, data.get(name)) for name, former in previous.items()}, spoken)
    else:
        yield from _values(event["data"], spoken)


class _Changed(NamedTuple):
    former: Any
    present: Any


def _values(values: Mapping[str, Any], spoken: Callable[[str], str]) -> Iterator[str]:
    """Yield a line for each value that is not empty."""
    shown = [(name, value) for name, value in values.items() if value is not None and value not in ("", [])]
    for name, value in shown[:_MOST_VALUES]:
        yield f"{name}: {_value(value, spoken)}"
    if len(shown) > _MOST_VALUES:
        yield spoken(f"… and {len(shown) - _MOST_VALUES} more")


def _value(value: Any, spoken: Callable[[str], str]) -> str:
    if isinstance(value, _Changed):
        return f"{_value(value.former, spoken)} → {_value(value.present, spoken)}"
    if isinstance(value, list):
        return spoken(f"{len(value)} rows" if len(value) != 1 else "1 row")
    return _cut(_line(value if isinstance(value, str) else orjson.dumps(value).decode()), _LONGEST_VALUE) or '""'


def _key(event: Payload, spoken: Callable[[str], str]) -> str:
    named = ((spoken(name) if event["source"] == OPERATIONS else name, value) for name, value in event["key"].items())
    return _line(" ".join(f"{name} {value}" for name, value in named)) or spoken("all")


def _line(text: str) -> str:
    """Return the text on one line, without characters that move a cursor or begin a header."""
    return "".join(char if char.isprintable() else " " for char in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
