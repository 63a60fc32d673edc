"""Why a mail server did not take a mail, as one sentence for the attempt log."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import aiosmtplib

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
        return _answered(error.recipients[0].code, refused_some(refused), f"{where} took the mail for nobody")
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
    (TimeoutError, "{where} did not take the mail within {seconds:g} s."),
    (ConnectionRefusedError, "{where} refused the connection."),
    (ConnectionError, "{where} closed the connection before it took the mail."),
    (aiosmtplib.SMTPException, "{where} does not take mail as it is configured: {detail}."),
    (OSError, "{where} cannot be reached: {detail}."),
    (Exception, "The mail to {where} failed: {detail}."),
]


def _without_answer(error: Exception, where: str, seconds: float) -> str:
    cause = _cause(error)
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


def _cause(error: BaseException) -> BaseException:
    """The system's error within the library's, where there is one."""
    inner = error.__cause__ or error.__context__
    while inner is not None:
        if isinstance(inner, ssl.SSLError) or (isinstance(inner, OSError) and inner.errno):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def _words(text: str) -> str:
    """On one line, cut."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
